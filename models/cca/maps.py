"""Attention maps of a trained layer, after any number of passes.

The weights of one pass have shape (H, W, H + W): for pixel (y, x), entry j < H is the weight of pixel (j, x) in its
column, and entry H + j that of pixel (y, j) in its row. They form a sparse matrix A (HW x HW) whose rows sum to 1. With
fixed weights, R passes of the attention are the product A_R .. A_1, and the attention map of pixel u is its row u.
Residual, gamma and the value convolution are not included.
"""

import numpy as np

from .module import CrissCrossAttention
from .reference import attention_weights


def attention_passes(layer, x, recurrence):
    """x: (1, C, H, W), the input of a CrissCrossAttention or RCCA -> the weights of each pass, (H, W, H + W) numpy.

    Queries and keys of each pass are computed from the output of the pass before (with gamma and residual).
    """
    if len(x.shape) != 4 or x.shape[0] != 1:
        raise ValueError(f"attention maps need one image at a time, (1, C, H, W); the input is {tuple(x.shape)}")
    layer.check(x)
    passes = []
    for _ in range(recurrence):
        passes.append(attention_weights(layer.query_conv(x), layer.key_conv(x)).numpy()[0])
        x = CrissCrossAttention.execute(layer, x)
    return passes


def attention_map(passes, y, x):
    """Row (y, x) of A_R .. A_1 -> (H, W) float64, with sum 1. Use `passes[:r]` for the map after r passes."""
    height, width = passes[0].shape[:2]
    result = np.zeros((height, width))
    result[y, x] = 1
    for weights in reversed(passes):  # row vector times matrix: each pixel distributes its value over column and row
        ys, xs = np.nonzero(result)
        shares = result[ys, xs, None] * weights[ys, xs]  # (pixels reached so far, H + W)
        result = np.zeros((height, width))
        np.add.at(result.T, xs, shares[:, :height])
        np.add.at(result, ys, shares[:, height:])
    return result


def strongest_path(passes, y, x):
    """The strongest path from (y, x) to the pixel with the largest weight other than itself: [(y, x), .., target].

    A path has one step per pass, along a row or column. Its strength is the product of the weights of its steps.
    """
    height, width = passes[0].shape[:2]
    if height * width == 1:
        return [(y, x)]
    target = attention_map(passes, y, x)
    target[y, x] = -1
    end = tuple(int(i) for i in np.unravel_index(target.argmax(), target.shape))

    best = np.zeros((height, width))
    best[y, x] = 1
    previous = []
    for weights in reversed(passes):
        through = best[..., None] * weights  # (H, W, H + W)
        column, row = through[..., :height], through[..., height:]  # from (y, x) to (j, x); from (y, x) to (y, j)
        by_column, by_row = column.max(0).T, row.max(1)  # (H, W), of the last step's target
        previous.append((by_column >= by_row, column.argmax(0).T, row.argmax(1)))
        best = np.maximum(by_column, by_row)
    path = [end]
    for vertical, from_y, from_x in reversed(previous):
        i, j = path[0]
        path.insert(0, (int(from_y[i, j]), j) if vertical[i, j] else (i, int(from_x[i, j])))
    return [p for k, p in enumerate(path) if k == 0 or p != path[k - 1]]
