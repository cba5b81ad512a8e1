"""Classes without a pixel in the training labels, which the network cannot learn: they are reported.

Reading every label at the start would take minutes. The labels of a small split are all read before the first step; in
a larger one the labels of the first epoch are counted during training.
"""

import time

import numpy as np

from utils import distributed

SMALL_SPLIT = 64  # labels: a split of at most so many is read before the first step
SIZES = 16  # labels of a larger split that are read, for the sizes of their images
MIN_CROPS = 64  # a run that ends within its first epoch reports nothing about fewer crops


def sample(read_label, count, seconds=2.0):
    """-> (sizes of some images, number of pixels of each value if all labels of the split were read, else None).

    `read_label(index)` -> (H, W) uint8. A label that cannot be read is left out: training reports it.
    """
    sizes, pixels, began = [], np.zeros(256, np.int64), time.monotonic()
    chosen = range(count) if count <= SMALL_SPLIT else sorted(distributed.spread(range(count), SIZES))
    for index in chosen:
        if time.monotonic() - began > seconds:
            break
        try:
            label = read_label(index)
        except (ValueError, OSError):
            continue
        sizes.append(label.shape)
        pixels += np.bincount(label.ravel(), minlength=256)
    return sizes, pixels if len(sizes) == count else None


def absent(pixels, names):
    return [name for index, name in enumerate(names) if not pixels[index]]


def warning(missing, where):
    """The line for classes without a pixel; `where`: the labels that were counted."""
    shown = ", ".join(missing[:12]) + (f" and {len(missing) - 12} more" if len(missing) > 12 else "")
    return (
        f"warning: no pixel of {len(missing)} class{'es' * (len(missing) > 1)} in {where}: {shown}; the "
        "network cannot learn them (scripts/data/verify.py counts the values of all labels)"
    )


class FirstEpoch:
    """Counts the labels of the first epoch of this process, on every rank. `known`: classes already reported."""

    def __init__(self, names, total, known=()):
        self.names, self.total, self.known = names, total, list(known)
        self.pixels, self.crops, self.over = np.zeros(256, np.int64), 0, False

    def add(self, batch, crops):
        """`batch`: a list of (images, labels, names) of this rank; `crops`: their number on all ranks. Every rank calls
        it after each step. -> lines, at the end of the epoch"""
        if self.over:
            return []
        for _, labels, _ in batch:
            self.pixels += np.bincount(labels.ravel(), minlength=256)
        self.crops += crops
        return self.end("the first epoch") if self.crops >= self.total else []

    def end(self, name="this run"):
        """Every rank calls it after the last step. -> lines"""
        if self.over or self.crops < min(self.total, MIN_CROPS):
            return []
        self.over = True
        missing = absent(distributed.all_sum(self.pixels), self.names)
        if not missing or missing == self.known:
            return []
        return [warning(missing, f"the {self.crops} crops of {name}")]
