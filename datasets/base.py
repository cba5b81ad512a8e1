"""The jittor Dataset under every data set here: pairs of picture and label, in an order and with an augmentation that
depend on (seed, epoch, index) alone, shared out over ranks and worker processes without changing either.

Jittor's own iteration shuffles without the seed, draws from worker-bound generators, repeats samples in a short last
batch under MPI, and hangs when a worker dies: `__iter__` here is ours (workers.py), names and attributes are Jittor's.
"""

import os
import sys
from collections import Counter, deque
from itertools import islice
from typing import NamedTuple

import cv2
import jittor as jt
import numpy as np
from jittor.dataset import Dataset

from datasets.reading import image_io, workers
from datasets.reading.image_io import DataError
from datasets.transforms import CITYSCAPES_SCALES, EvalTransform

cv2.setNumThreads(0)  # processes and Jittor share the cores; OpenCV's own threads would only be in the way
SLOT_BYTES = 32 << 20  # shared memory for a sample of unknown size; larger ones go through the pipe


SAID = set()


def say(text):
    """Print a remark on the data once in a run, on one rank."""
    if jt.rank == 0 and text not in SAID:
        SAID.add(text)
        print(f"data: {text}", file=sys.stderr, flush=True)


class Batch(NamedTuple):
    """This rank's part of a batch. Where pictures differ in size, images and labels are lists."""

    images: np.ndarray  # (B, [T,] H, W, 3) uint8 BGR
    labels: np.ndarray  # (B, [T,] H, W) uint8
    boxes: np.ndarray  # (B, 4) int32: see transforms.Sample
    indices: np.ndarray  # (B,) int64: data.sample_name(index)


class SegmentationDataset(Dataset):
    """A subclass says `names`, `palette` (RGB), `ignore_label`, and how to open a pair: `open_pair(index)`.

    `transform(image, label, rng) -> Sample` gets a generator that depends on (seed, epoch, index) alone. Iterating
    gives one epoch of Batch; `forever(start)` gives batches without end. `batch_size` is that of all ranks together.
    `len(dataset)` counts batches, as everywhere in Jittor; `dataset.total_len` counts samples.
    `on_bad_sample="skip"` replaces unreadable samples by others (`forever`) or leaves them out (one epoch): one of
    them, or 1 in 100 where there are more than 100 samples. `num_workers=None`: up to 8 where a GPU computes, else 0,
    because the cores are busy with the network.
    """

    kind, names, palette, ignore_label, flip_pairs = "", (), (), 255, ()  # kind: its name in DATASETS
    scales, sides, longest = CITYSCAPES_SCALES, None, None  # what --random-scale means for this data set

    def __init__(self, count, transform=None, seed=0, on_bad_sample="error", **options):
        if on_bad_sample not in ("error", "skip"):
            raise ValueError(f"on_bad_sample is {on_bad_sample!r}; choose error or skip")
        if options.get("num_workers", 0) is None:
            cores = workers.cores() // int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
            options["num_workers"] = max(1, min(8, cores)) if jt.flags.use_cuda else 0
        super().__init__(keep_numpy_array=True, **options)
        self.transform, self.order_seed, self.on_bad_sample = transform, seed, on_bad_sample
        self.rank, self.world_size = jt.rank, jt.world_size
        self.counts, self.bad = Counter(), {}  # notices by kind; index -> what was wrong
        self.epoch = 0
        self.set_attrs(total_len=count)

    def open_pair(self, index):
        """-> (function of rows that reads the picture (H, W, 3) uint8 BGR, label (H, W) uint8)."""
        raise NotImplementedError

    def sample_name(self, index):
        """A file stem for what is written about this sample."""
        return f"{index:06d}"

    def read(self, index):
        """The whole pair, as it is: image (H, W, 3) uint8 BGR, label (H, W) uint8."""
        image, label = self.open_pair(int(index))
        return image(), label

    def set_epoch(self, epoch):
        """Order and augmentation of the next iteration; every finished one counts up by itself."""
        self.epoch = epoch

    def __getitem__(self, index):
        return self.augmented(self.epoch, int(index))

    def augmented(self, epoch, index):
        image, label = self.open_pair(index)
        transform = self.transform or EvalTransform()
        return transform(image, label, np.random.default_rng([self.order_seed, epoch, index]))

    def order(self, epoch):
        if not self.shuffle:
            return np.arange(self.total_len)
        return np.random.default_rng([self.order_seed, epoch]).permutation(self.total_len)

    def share(self, count):
        """(from, to): this rank's part of a batch of `count`. Together the ranks have each sample once."""
        return count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size

    def __iter__(self):
        """One epoch: len(self) batches, the last one short unless drop_last. A rank may get no part of a short one."""
        epoch, order = self.epoch, self.order(self.epoch)
        groups = []
        for first in range(0, len(self) * self.batch_size, self.batch_size):
            batch = order[first : first + self.batch_size]
            low, high = self.share(len(batch))
            groups.append([(epoch, int(index)) for index in batch[low:high]])
        yield from self.batches((group for group in groups if group), replace=False)
        self.epoch = epoch + 1

    def forever(self, start=0):
        """Batches without end: epoch after epoch in one stream, cut into batches, nothing left out. `start`: how many
        batches an earlier run took; none of their samples is decoded again."""
        yield from self.batches(self.stream(start), replace=True)

    def stream(self, start):
        low, high = self.share(self.batch_size)
        if high == low:
            raise ValueError(
                f"--batch-size {self.batch_size} is less than the {self.world_size} ranks; take a multiple"
            )
        known, order = None, None
        while True:
            group = []
            for position in range(start * self.batch_size + low, start * self.batch_size + high):
                epoch, place = divmod(position, self.total_len)
                if epoch != known:
                    known, order = epoch, self.order(epoch)
                group.append((epoch, int(order[place])))
            yield group
            start += 1

    def batches(self, groups, replace):
        """Lists of (epoch, index) -> Batch, loaded by `num_workers` processes."""
        sizes = deque()

        def tasks():
            for group in groups:
                sizes.append(len(group))
                yield from ((epoch, index, replace) for epoch, index in group)

        size = getattr(self.transform, "size", None)
        slot_bytes = int(np.prod(size)) * 4 * getattr(self, "frames", 1) + 4096 if size else SLOT_BYTES
        name = lambda task: self.sample_name(task[1])  # noqa: E731
        wanted = 2 * self.batch_size // self.world_size  # samples read in advance, so that workers never wait for a step
        ahead = max(3, -(-wanted // max(self.num_workers, 1)))
        results = workers.run(self.load, tasks(), self.num_workers, slot_bytes, ahead, name)
        try:
            for first in results:
                group = [first, *islice(results, sizes.popleft() - 1)]
                for *_, notices, problems in group:
                    self.hear(notices, problems)
                if kept := [result for result in group if result[0] is not None]:
                    yield assemble(kept)
        finally:
            results.close()

    def load(self, task):
        """Runs in a worker: -> (image or None, label, box, index, notices, problems)."""
        epoch, index, replace = task
        problems, wanted = [], index
        for attempt in range(1, 12):
            try:
                sample = self.augmented(epoch, index)
                break
            except DataError as error:
                if self.on_bad_sample == "error":
                    raise
                problems.append((index, str(error)))
                if not replace:
                    return None, None, None, wanted, [], problems
                rng = np.random.default_rng([self.order_seed, epoch, wanted, attempt])
                index = int(rng.integers(self.total_len))
        else:
            raise DataError(f"{problems[-1][1]}; nor could ten others be read in its place")
        if (sample.label == self.ignore_label).all():
            image_io.NOTICES.append(("void", ""))  # nothing to learn here: the loss must not divide by it
        notices = image_io.NOTICES[:]
        image_io.NOTICES.clear()
        return *sample, index, notices, problems

    def hear(self, notices, problems):
        """Say what the workers noticed, each kind once; stop when too much is unreadable."""
        for kind, text in notices:
            self.counts[kind] += 1
            if text and self.counts[kind] == 1:
                print(f"data: {text}; others like it are not mentioned", file=sys.stderr, flush=True)
        for index, text in problems:
            if index in self.bad:
                continue
            self.bad[index] = text
            print(f"data: skipped ({len(self.bad)} so far): {text}", file=sys.stderr, flush=True)
            self.check_share(len(self.bad), text)

    def check_share(self, count, text):
        """--on-bad-sample skip goes on past so many samples and no more."""
        allowed = max(1, self.total_len // 100)
        if count > allowed:
            raise DataError(
                f"{count} of {self.total_len} samples cannot be read, and --on-bad-sample skip leaves out {allowed} "
                f"(one, or 1 in 100 of more than 100): {text}; run scripts/data/verify.py on the data"
            )


def assemble(results):
    images, labels, boxes, indices = zip(*(result[:4] for result in results))
    if len({image.shape for image in images}) == 1:
        images, labels = np.stack(images), np.stack(labels)
    return Batch(images, labels, np.stack(boxes), np.array(indices))
