"""The base class of all datasets: a jittor Dataset of (image, label) pairs. Order and augmentation depend on (seed,
epoch, index) alone, whatever the number of ranks and worker processes.

Jittor's own iteration ignores the seed when it shuffles, has one random generator per worker, repeats samples in a
short last batch under MPI, and hangs when a worker dies. So `__iter__` is replaced (workers.py); the names of methods
and attributes are Jittor's.
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

cv2.setNumThreads(0)  # worker processes and Jittor use the cores already
SLOT_BYTES = 32 << 20  # shared memory for a sample of unknown size; larger ones go through the pipe


REPORTED = set()


def report_once(text):
    """Print a remark about the data once in a run, on one rank."""
    if jt.rank == 0 and text not in REPORTED:
        REPORTED.add(text)
        print(f"data: {text}", file=sys.stderr, flush=True)


class Batch(NamedTuple):
    """This rank's part of a batch. If images differ in size, images and labels are lists."""

    images: np.ndarray  # (B, [T,] H, W, 3) uint8 BGR
    labels: np.ndarray  # (B, H, W) uint8
    boxes: np.ndarray  # (B, 4) int32: see transforms.Sample
    indices: np.ndarray  # (B,) int64: data.sample_name(index)


class SegmentationDataset(Dataset):
    """A subclass defines `names`, `palette` (RGB), `ignore_label` and `open_pair(index)`.

    `transform(image, label, rng) -> Sample` gets a random generator that depends on (seed, epoch, index) alone.
    Iterating yields the batches of one epoch, `forever(start)` yields batches without end. `batch_size` counts the
    samples of all ranks together. `len(dataset)` counts batches, as in Jittor; `dataset.total_len` counts samples.
    `on_bad_sample="skip"` replaces unreadable samples by others (`forever`) or leaves them out (one epoch), up to a
    limit: one sample, or 1 in 100 of more than 100. `num_workers=None`: up to 8 with a GPU, and not more than
    `cpu_limit`, the processors that a container allows; 0 on a CPU, whose cores compute the network.
    """

    dataset_name, names, palette, ignore_label, flip_pairs = "", (), (), 255, ()  # dataset_name: its key in DATASETS
    scales, sides, longest = CITYSCAPES_SCALES, None, None  # what --random-scale does with this dataset
    channels, value_range = 3, None  # of the images; other numbers than 3: reading/bands.py
    categories, instance_remark = None, ""  # groups of classes that are scored as well; why instances are not
    instance_sizes, ids = {}, ()  # {class: average pixels of an instance}; ids of the classes in the instance files

    def __init__(self, count, transform=None, seed=0, on_bad_sample="error", cpu_limit=None, **options):
        if on_bad_sample not in ("error", "skip"):
            raise ValueError(f"unknown on_bad_sample {on_bad_sample!r}; choose error or skip")
        if options.get("num_workers", 0) is None:
            cores = workers.cores(cpu_limit) // int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
            options["num_workers"] = max(1, min(8, cores)) if jt.flags.use_cuda else 0
        super().__init__(keep_numpy_array=True, **options)
        self.transform, self.order_seed, self.on_bad_sample = transform, seed, on_bad_sample
        self.rank, self.world_size = jt.rank, jt.world_size
        self.counts, self.bad = Counter(), {}  # notices by topic; index -> error message
        self.epoch = 0
        self.set_attrs(total_len=count)

    def open_pair(self, index):
        """-> (function(rows=None) that reads the image (H, W, 3), or the clip (T, H, W, 3), uint8 BGR; label (H, W)
        uint8)."""
        raise NotImplementedError

    def instance_file(self, index):
        """The file of instances that belongs to a label file, or None."""
        return None

    def sample_name(self, index):
        """The stem of the files that are written for this sample."""
        return f"{index:06d}"

    def read(self, index):
        """The whole pair, not augmented: image (H, W, 3) uint8 BGR, label (H, W) uint8."""
        image, label = self.open_pair(int(index))
        return image(), label

    def state(self):
        """What identifies the labels of this dataset, for caches: changed files give another value."""
        return [type(self).__name__, self.total_len, *map(str, getattr(self, "drawing", ()))]

    def label_counts(self):
        """The pixels of each label value, (256,), of each sample in order. on_bad_sample="skip": 0 if unreadable."""

        def count(index):
            try:
                return np.bincount(self.open_pair(index)[1].ravel(), minlength=256)
            except DataError:
                if self.on_bad_sample == "error":
                    raise
                return np.zeros(256, np.int64)

        return workers.run(count, range(self.total_len), self.num_workers, name=self.sample_name)

    def set_epoch(self, epoch):
        """Set the order and augmentation of the next iteration. A finished iteration increments the epoch."""
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
        """(from, to): this rank's part of a batch of `count` samples. Each sample belongs to exactly one rank."""
        return count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size

    def __iter__(self):
        """One epoch: len(self) batches, the last one short unless drop_last. A rank may have no part in it."""
        epoch, order = self.epoch, self.order(self.epoch)
        groups = []
        for first in range(0, len(self) * self.batch_size, self.batch_size):
            batch = order[first : first + self.batch_size]
            low, high = self.share(len(batch))
            groups.append([(epoch, int(index)) for index in batch[low:high]])
        yield from self.batches((group for group in groups if group), replace=False)
        self.epoch = epoch + 1

    def forever(self, start=0):
        """Batches without end: the epochs one after another, cut into batches, no sample left out. `start`: the number
        of batches that an earlier run took; their samples are not decoded again."""
        yield from self.batches(self.stream(start), replace=True)

    def stream(self, start):
        low, high = self.share(self.batch_size)
        if high == low:
            ranks = self.world_size
            raise ValueError(
                f"--batch-size {self.batch_size} is less than the {ranks} ranks; use a multiple of {ranks}"
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
        slot_bytes = (
            int(np.prod(size)) * (self.channels + 1) * getattr(self, "frames", 1) + 4096 if size else SLOT_BYTES
        )
        name = lambda task: self.sample_name(task[1])  # noqa: E731
        wanted = 2 * self.batch_size // self.world_size  # read in advance, so that workers never wait for a step
        ahead = max(3, -(-wanted // max(self.num_workers, 1)))
        results = workers.run(self.load, tasks(), self.num_workers, slot_bytes, ahead, name)
        try:
            for first in results:
                group = [first, *islice(results, sizes.popleft() - 1)]
                for *_, notices, problems in group:
                    self.report(notices, problems)
                if kept := [result for result in group if result[0] is not None]:
                    yield assemble(kept)
        finally:
            results.close()

    def load(self, task):
        """Called in a worker: -> (image or None, label, box, index, notices, problems)."""
        epoch, index, replace = task
        problems, original = [], index
        for attempt in range(1, 12):
            try:
                sample = self.augmented(epoch, index)
                break
            except DataError as error:
                if self.on_bad_sample == "error":
                    raise
                problems.append((index, str(error)))
                if not replace:
                    return None, None, None, original, [], problems
                rng = np.random.default_rng([self.order_seed, epoch, original, attempt])
                index = int(rng.integers(self.total_len))
        else:
            raise DataError(f"{problems[-1][1]}; ten other samples were tried in its place and failed, too")
        if (sample.label == self.ignore_label).all():
            image_io.NOTICES.append(("void", ""))  # no labelled pixel: the loss must not divide by their number
        notices = image_io.NOTICES[:]
        image_io.NOTICES.clear()
        return *sample, index, notices, problems

    def report(self, notices, problems):
        """Print the notices of the workers, each topic once; raise an error when too many samples are unreadable."""
        for topic, text in notices:
            self.counts[topic] += 1
            if text and self.counts[topic] == 1:
                print(f"data: {text}; further cases are not reported", file=sys.stderr, flush=True)
        for index, text in problems:
            if index in self.bad:
                continue
            self.bad[index] = text
            print(f"data: skipped ({len(self.bad)} so far): {text}", file=sys.stderr, flush=True)
            self.check_share(len(self.bad), text)

    def check_share(self, count, text):
        """Raise an error if `count` skipped samples are more than --on-bad-sample skip allows."""
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
