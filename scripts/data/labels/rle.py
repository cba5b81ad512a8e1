"""Run lengths -> masks. The counts are those of zeros and ones in turn: along columns in COCO, along rows in CVAT."""

import numpy as np

from datasets.reading.image_io import DataError


def mask(counts, size, columns):
    """-> (H, W) of bool. `columns`: the runs go down the columns, else along the rows."""
    counts = np.asarray(counts)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise DataError("the RLE has counts that are not whole numbers of at least 0")
    height, width = size
    if counts.sum() != height * width:
        raise DataError(f"the RLE has {counts.sum()} pixels, and its mask of {height}x{width} {height * width}")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(width, height).T if columns else flat.reshape(height, width)


def decompress(text):
    """The counts of COCO's compressed string. A character holds 5 bits, the lowest first, and a sixth that is set if
    the number goes on; the highest bit of a number is its sign. From the fourth count on, the number is the difference
    to the count two before."""
    counts, number, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise DataError(f"the compressed RLE has the character {character!r}")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number, shift = 0, 0
    if shift:
        raise DataError("the compressed RLE ends within a number")
    return counts
