"""Bilinear resizing of score maps, also of bands of rows of them, with align_corners as in PyTorch and Jittor."""

import jittor as jt
import numpy as np


def between(have, want, first, last, align_corners=True):
    """Along one side: the two neighbours of each of the positions first..last, and the share of the second."""
    at = np.arange(first, last)
    if align_corners:
        at = at * ((have - 1) / (want - 1) if want > 1 else 0.0)
    else:  # the centres of pixels, which lie outside of the outermost centres at the border
        at = np.clip((at + 0.5) * (have / want) - 0.5, 0, have - 1)
    low = np.minimum(at.astype(np.int32), have - 1)
    return low, np.minimum(low + 1, have - 1), (at - low).astype(np.float32)


def resize(x, size, rows=None, height=None, offset=0, align_corners=True):
    """(C, h, w) -> (C, H, W), bilinear; or only rows (first, last) of the result.

    If x is itself a band, `height` is that of the whole and `offset` its first row.
    """
    first, last = rows or (0, size[0])
    height = height or x.shape[1]
    if (first, last) == (offset, offset + x.shape[1]) and size == (height, x.shape[2]):
        return x
    if size[0] == height:
        x = x[:, first - offset : last - offset]
    else:
        low, high, share = between(height, size[0], first, last, align_corners)
        share = jt.array(share).reshape(-1, 1)
        x = x[:, jt.array(low - offset)] * (1 - share) + x[:, jt.array(high - offset)] * share  # (C, rows, w)
    if size[1] == x.shape[2]:
        return x
    low, high, share = between(x.shape[2], size[1], 0, size[1], align_corners)
    share = jt.array(share)
    return x[:, :, jt.array(low)] * (1 - share) + x[:, :, jt.array(high)] * share  # (C, rows, W)
