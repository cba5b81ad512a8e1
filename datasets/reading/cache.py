"""A cache of decoded samples in memory: shared by the worker processes of a run, filled when a sample is first read."""

import mmap
import os
import sys

import numpy as np
from PIL import Image

from datasets.reading.headers import free_memory
from datasets.reading.image_io import DataError


class RamCache:
    """`attach` prints how much memory a dataset needs, refuses it if that is not free, and reserves it."""

    def attach(self, data):
        sizes = []
        for image, _ in data.pairs:
            try:
                with Image.open(image) as file:  # reads the header only
                    sizes.append(file.width * file.height)
            except (OSError, Image.DecompressionBombError):
                sizes.append(0)  # reading it later raises the error
        need = sum(sizes) * 4  # 3 bytes of image, 1 byte of label
        ranks = int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
        free = free_memory()
        text = f"{len(sizes)} decoded samples need {need / 1e9:.2f} GB" + (
            f" on each of {ranks} ranks" if ranks > 1 else ""
        )
        print(f"cache: {text}; {free / 1e9:.2f} GB are free", file=sys.stderr, flush=True)
        if need * ranks > 0.9 * free:
            raise DataError(
                f"--cache ram: {text}, and {free / 1e9:.2f} GB are free; pack the dataset on disk "
                "(scripts/data/pack.py), which all ranks share, or use --cache off"
            )
        self.starts = np.concatenate([[0], np.cumsum(np.array(sizes, np.int64) * 4)])
        self.memory = np.frombuffer(
            mmap.mmap(-1, max(need, 1)), np.uint8
        )  # shared with processes that are forked later
        self.shapes = np.frombuffer(mmap.mmap(-1, max(len(sizes), 1) * 8), np.int32).reshape(-1, 2)  # 0: not read yet

    def open_pair(self, data, index):
        start, size = self.starts[index], self.starts[index + 1] - self.starts[index]
        if not self.shapes[index].all():
            read, label = data.decode_pair(index)
            image = read()
            if label.size * 4 != size:  # the header states another size
                return (lambda rows=None: image), label
            self.memory[start : start + image.size] = image.reshape(-1)
            self.memory[start + image.size : start + size] = label.reshape(-1)
            self.shapes[index] = label.shape  # last: from now on other processes use the sample
        height, width = self.shapes[index]
        pixels = height * width
        image = self.memory[start : start + 3 * pixels].reshape(height, width, 3)
        label = self.memory[start + 3 * pixels : start + size].reshape(height, width)
        return (lambda rows=None: image), label
