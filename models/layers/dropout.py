"""Dropout that depends only on (seed, step, layer, sample), so that runs are reproducible and can be resumed.

The masks are drawn with numpy, because Jittor's random numbers depend on the order in which operators run. Each rank
takes its rows of the mask of the global batch, so the result does not depend on the number of ranks.
"""

from contextlib import contextmanager

import jittor as jt
import numpy as np
from jittor import nn

now = {"seed": 0, "step": 0, "first": 0, "calls": 0}


def at(seed, step, first=0):
    """Start a step. `first`: index in the global batch of the first sample that the next forward pass gets."""
    now.update(seed=seed, step=step, first=first, calls=0)


@contextmanager
def rows(count):
    """Inside, each sample of the batch has `count` rows: the frames of a clip."""
    first = now["first"]
    now["first"] = first * count
    try:
        yield
    finally:
        now["first"] = first


def kept(batch, channels, rate):
    """A mask (batch, channels) float32: 0 with probability `rate`, else 1 / (1 - rate); different for each call."""
    rng = np.random.default_rng([now["seed"], now["step"], now["calls"]])
    now["calls"] += 1
    draws = rng.random((now["first"] + batch, channels), dtype=np.float32)[now["first"] :]
    return (draws >= rate).astype(np.float32) / np.float32(1 - rate)


class Dropout2d(nn.Module):
    """Drops whole channels of (B, C, H, W), independently for each sample, in training only."""

    def __init__(self, rate=0.1):
        if not 0 <= rate < 1:
            raise ValueError(f"the dropout rate must be at least 0 and below 1, got {rate}")
        self.rate, self.is_train = rate, True

    def execute(self, x):
        factor = self.factor(x)
        return x if factor is None else x * factor.broadcast(x.shape, dims=[2, 3])

    def factor(self, x):
        """What each channel of each sample is multiplied by, (B, C); None: nothing is dropped."""
        if not self.is_train or self.rate == 0:
            return None
        return jt.array(self.mask(x)).cast(x.dtype)

    def mask(self, x):
        return kept(x.shape[0], x.shape[1], self.rate)


class DropPath(Dropout2d):
    """Drops the whole residual branch of a sample (stochastic depth)."""

    def mask(self, x):
        return kept(x.shape[0], 1, self.rate).repeat(x.shape[1], axis=1)
