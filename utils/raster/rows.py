"""What the readers of PNG and TIFF by rows share: a window of rows that moves downwards."""

import os

import numpy as np


class RowReader:
    """A subclass sets `size` (H, W) and defines `bands()`, which yields (rows, W, 3) uint8 BGR from top to bottom."""

    size = (0, 0)

    def __init__(self):
        self.waiting, self.first, self.kept = self.bands(), 0, []

    def bands(self):
        raise NotImplementedError

    def rows(self, top, bottom):
        """-> rows top..bottom, (bottom - top, W, 3). Rows above `top` are forgotten: `top` must never decrease."""
        if top < self.first:
            raise ValueError(f"row {top} was read already; rows from {self.first} on are kept")
        while self.first + sum(map(len, self.kept)) < bottom:
            self.kept.append(next(self.waiting))
        pixels = self.kept[0] if len(self.kept) == 1 else np.concatenate(self.kept)
        self.first, self.kept = top, [pixels[top - self.first :]]
        return self.kept[0][: bottom - top]


def read_exactly(file, count, path):
    """The next `count` bytes. A count beyond the end of the file is an error before memory is taken for it."""
    data = file.read(count) if count <= os.fstat(file.fileno()).st_size else b""
    if len(data) < count:
        raise ValueError(f"{path} is truncated or damaged: it should have {count} more bytes; copy it again")
    return data


def bgr(image):
    """A Pillow image of 8-bit samples -> (H, W, 3) uint8 BGR; alpha is dropped, not blended."""
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
