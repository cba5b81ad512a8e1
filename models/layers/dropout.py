"""Dropout as a function of (seed, step, layer, sample) alone, so that a run can be repeated, resumed and shared.

The masks here are small (a number per channel, or per sample), so numpy draws them: Jittor's own random numbers depend
on the order in which operators happen to run. A rank takes its rows of the mask of the global batch: N ranks drop what
one would drop.
"""

import jittor as jt
import numpy as np
from jittor import nn

now = {"seed": 0, "step": 0, "first": 0, "calls": 0}


def at(seed, step, first=0):
    """Say which step begins, and at which sample of the global batch this process (or this piece of a batch) starts."""
    now.update(seed=seed, step=step, first=first, calls=0)


def kept(batch, channels, rate):
    """(batch, channels) float32: 0 with probability `rate`, else 1 / (1 - rate). Each call in a step draws anew."""
    rng = np.random.default_rng([now["seed"], now["step"], now["calls"]])
    now["calls"] += 1
    draws = rng.random((now["first"] + batch, channels), dtype=np.float32)[now["first"] :]
    return (draws >= rate).astype(np.float32) / np.float32(1 - rate)


class Dropout2d(nn.Module):
    """Whole channels of (B, C, H, W), each sample for itself; only in training."""

    def __init__(self, rate=0.1):
        if not 0 <= rate < 1:
            raise ValueError(f"a dropout rate is at least 0 and below 1, not {rate}")
        self.rate, self.is_train = rate, True

    def execute(self, x):
        if not self.is_train or self.rate == 0:
            return x
        return x * jt.array(self.mask(x)).cast(x.dtype).broadcast(x.shape, dims=[2, 3])

    def mask(self, x):
        return kept(x.shape[0], x.shape[1], self.rate)


class DropPath(Dropout2d):
    """The whole branch of a sample: stochastic depth."""

    def mask(self, x):
        return kept(x.shape[0], 1, self.rate).repeat(x.shape[1], axis=1)
