"""The OHEM of the official code, in numpy."""

import numpy as np


def ohem_by_numpy(logits, label, thresh, min_kept, factor=8, ignore=255):
    """-> labels of the kept pixels (the others are `ignore`), threshold."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)

    def interpolate(values, grid):
        low = np.minimum(np.floor(grid).astype(int), values.shape[-1] - 1)
        high, part = np.minimum(low + 1, values.shape[-1] - 1), grid - low
        return values[..., low] * (1 - part) + values[..., high] * part

    grids = [np.arange(o) * (n - 1) / max(o - 1, 1) for n in label.shape[1:] for o in [max(round(n / factor), 1)]]
    coarse = interpolate(interpolate(p, grids[1]).swapaxes(2, 3), grids[0]).swapaxes(2, 3)
    near = [np.floor(grid + 0.5).astype(int) for grid in grids]
    small = label[:, near[0]][:, :, near[1]]
    valid, wanted = small != ignore, min_kept // factor**2
    candidates = np.take_along_axis(coarse, np.where(valid, small, 0)[:, None], 1)[:, 0][valid]
    threshold = thresh
    if wanted >= len(candidates):
        threshold = 1.0
    elif wanted > 0:
        threshold = max(thresh, np.sort(candidates)[wanted - 1])
    probability = np.take_along_axis(p, np.where(label == ignore, 0, label)[:, None], 1)[:, 0]
    return np.where((label != ignore) & (probability <= threshold), label, ignore), threshold
