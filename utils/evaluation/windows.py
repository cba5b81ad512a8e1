"""Sizes of scaled images, and the windows into which they are cut; cutting and padding on the device."""

import math

import jittor as jt
import numpy as np

from utils.evaluation.protocol import OVERLAP

LEAST = 32  # a network of stride 32 needs an input of one cell; smaller ones are padded


def starts(length, tile, overlap=OVERLAP):
    """Where tiles begin along one side: every 2/3 of a tile, the last one moved back to end with the image."""
    stride = math.ceil(tile * (1 - overlap))
    count = max(math.ceil((length - tile) / stride), 0) + 1
    return [max(min(k * stride, length - tile), 0) for k in range(count)]


def cut(size, tile=None, overlap=OVERLAP):
    """The windows (top, left, height, width) into which an image of this size is cut."""
    height, width = size
    if tile is None:
        return [(0, 0, height, width)]
    return [
        (top, left, min(tile[0], height), min(tile[1], width))
        for top in starts(height, tile[0], overlap)
        for left in starts(width, tile[1], overlap)
    ]


def padded(length, multiple):
    return max(-(-length // multiple) * multiple, LEAST)


def scaled_size(size, scale, short_side=None, long_side=None):
    """With a short side: of that length times `scale`, unless the long side would exceed `long_side` times `scale`."""
    if not short_side:
        return tuple(max(round(side * scale), 1) for side in size)
    factor = min(short_side / min(size), (long_side or math.inf) / max(size))
    return tuple(max(int(side * factor * scale + 0.5), 1) for side in size)


def tile_count(size, tile=None, scales=(1.0,), overlap=OVERLAP, short_side=None, long_side=None):
    """The number of tiles of an image."""
    return sum(len(cut(scaled_size(size, scale, short_side, long_side), tile, overlap)) for scale in scales)


def tiles_of(image, windows, shape):
    """(C, H, W), windows (top, left, height, width) -> (B, C, *shape); padding is 0, the mean colour."""
    places = jt.array(np.array(windows, np.int32))
    beyond = ["i2>=@e0(i0,2)", "i3>=@e0(i0,3)"]
    at = ["i1", "@e0(i0,0)+i2", "@e0(i0,1)+i3"]
    return image.reindex([len(windows), image.shape[0], *shape], at, 0.0, beyond, [places])
