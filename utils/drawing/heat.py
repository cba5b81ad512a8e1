"""The colour map of attention weights, dark to bright: the same table in figures and pages."""

import numpy as np

ANCHORS = (  # sampled from "inferno": perceptually uniform, also in grey
    (0, 0, 4),
    (31, 12, 72),
    (85, 15, 109),
    (136, 34, 106),
    (186, 54, 85),
    (227, 89, 51),
    (249, 140, 10),
    (249, 201, 50),
    (252, 255, 164),
)


def heat_table():
    """(256, 3) RGB uint8."""
    at = np.linspace(0, 255, len(ANCHORS))
    return np.stack([np.rint(np.interp(np.arange(256), at, c)) for c in zip(*ANCHORS)], 1).astype(np.uint8)


def heat(weights, top=None):
    """(H, W) -> (H, W, 3) RGB uint8: the square root of weights / top. `top`: default: the largest weight.

    Attention spans orders of magnitude: on a linear scale, one bright pixel would leave all others black.
    """
    top = max(weights.max() if top is None else top, 1e-30)
    level = np.rint(255 * np.sqrt(np.clip(weights / top, 0, 1))).astype(np.uint8)
    return heat_table()[level]
