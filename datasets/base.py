"""The jittor Dataset under every data set here: pairs of picture and label, augmented by a repeatable rule."""

import multiprocessing

import numpy as np
from jittor.dataset import Dataset


class SegmentationDataset(Dataset):
    """A subclass says `names`, `palette` (RGB), `ignore_label`, and how to `read(index)` a pair:

    image (H, W, 3) uint8 in BGR order, label (H, W) uint8.

    `transform(image, label, rng) -> (image, label)` gets a generator that depends on (seed, epoch, index) alone: a
    sample looks the same with any number of workers or ranks. Iterating gives numpy batches: images (B, ...), labels
    (B, H, W). `len(dataset)` counts batches, as everywhere in Jittor; `dataset.total_len` counts samples.
    """

    names, palette, ignore_label = (), (), 255

    def __init__(self, count, transform=None, seed=0, **options):
        super().__init__(keep_numpy_array=True, **options)
        self.set_attrs(total_len=count)
        self.transform = transform
        self.order_seed = seed
        self._epoch = multiprocessing.Value("q", 0)  # shared, so that worker processes see the next epoch, too
        self.set_epoch(0)

    def read(self, index):
        raise NotImplementedError

    def sample_name(self, index):
        """A file stem for what is written about this sample."""
        return f"{index:06d}"

    def set_epoch(self, epoch):
        """Order and augmentation of the epoch that the next iteration starts."""
        self._epoch.value = epoch
        self._shuffle_rng = np.random.default_rng([self.order_seed, epoch])  # jittor's own starts at 1, always

    def __getitem__(self, index):
        index = int(index)
        image, label = self.read(index)
        if self.transform is None:
            return image, label
        return self.transform(image, label, np.random.default_rng([self.order_seed, self._epoch.value, index]))

    def forever(self, start_epoch=0):
        """Batches without end, epoch after epoch."""
        epoch = start_epoch
        while True:
            self.set_epoch(epoch)
            yield from self
            epoch += 1
