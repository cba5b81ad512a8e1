"""Who looks at whom: the attention of a trained layer as maps, after one pass, after two, after any number.

The weights of a pass are (H, W, H + W): pixel (y, x) gives entry j < H to pixel (j, x) of its column and entry H + j
to pixel (y, j) of its row. They form a matrix A of HW x HW, mostly zeros, whose rows sum to 1. With the weights held
fixed, R passes of the attention are the product A_R .. A_1, and the map of pixel u is row u of it: what the last pass
collects for u, it collects from pixels that have collected before. Residual, gamma and the value convolution are left
out.
"""

import numpy as np

from .module import CrissCrossAttention
from .reference import attention_weights


def attention_passes(layer, x, recurrence):
    """x: (1, C, H, W), the input of a CrissCrossAttention or RCCA -> the weights of each pass, (H, W, H + W) numpy.

    Queries and keys of the second pass come from what the first one put out (with gamma and residual), and so on.
    """
    if len(x.shape) != 4 or x.shape[0] != 1:
        raise ValueError(f"maps are made of one picture at a time, (1, C, H, W); this input is {tuple(x.shape)}")
    layer.check(x)
    passes = []
    for _ in range(recurrence):
        passes.append(attention_weights(layer.query_conv(x), layer.key_conv(x)).numpy()[0])
        x = CrissCrossAttention.execute(layer, x)
    return passes


def attention_map(passes, y, x):
    """Row (y, x) of A_R .. A_1 -> (H, W) float64, summing to 1. `passes[:r]` gives the map of R = r."""
    height, width = passes[0].shape[:2]
    seen = np.zeros((height, width))
    seen[y, x] = 1
    for weights in reversed(passes):  # each pixel hands what it is looked at on to its column and its row
        ys, xs = np.nonzero(seen)
        shares = seen[ys, xs, None] * weights[ys, xs]  # (pixels seen so far, H + W)
        seen = np.zeros((height, width))
        np.add.at(seen.T, xs, shares[:, :height])
        np.add.at(seen, ys, shares[:, height:])
    return seen


def strongest_path(passes, y, x):
    """The pixel that (y, x) looks at most, itself aside, and the way there: [(y, x), .., target].

    Of all ways to the target, the one along which most is handed on: one step a pass, in a row or a column.
    """
    height, width = passes[0].shape[:2]
    if height * width == 1:
        return [(y, x)]
    target = attention_map(passes, y, x)
    target[y, x] = -1
    at = tuple(int(i) for i in np.unravel_index(target.argmax(), target.shape))

    best = np.zeros((height, width))
    best[y, x] = 1
    came_from = []
    for weights in reversed(passes):
        through = best[..., None] * weights  # (H, W, H + W)
        column, row = through[..., :height], through[..., height:]  # from (y, x) to (j, x); from (y, x) to (y, j)
        by_column, by_row = column.max(0).T, row.max(1)  # (H, W), at the pixel reached
        came_from.append((by_column >= by_row, column.argmax(0).T, row.argmax(1)))
        best = np.maximum(by_column, by_row)
    path = [at]
    for vertical, from_y, from_x in reversed(came_from):
        i, j = path[0]
        path.insert(0, (int(from_y[i, j]), j) if vertical[i, j] else (i, int(from_x[i, j])))
    return [p for k, p in enumerate(path) if k == 0 or p != path[k - 1]]
