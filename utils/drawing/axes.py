"""What PNG and SVG charts share: ticks, running means, thinned curves, and data coordinates mapped to pixels."""

import math

import numpy as np


class Axes:
    """Maps data coordinates to the pixels of a rectangle.

    x_range, y_range: (low, high) on the scale of the axes, so of log10 of the values if `log` is set.
    """

    def __init__(self, left, right, top, bottom, x_range, y_range, log=False):
        self.left, self.right, self.top, self.bottom = left, right, top, bottom
        self.x_range, self.y_range, self.log = x_range, y_range, log

    def scale(self, value):
        return math.log10(value) if self.log else value

    def x(self, value):
        low, high = self.x_range
        return self.left + (self.scale(value) - low) / ((high - low) or 1) * (self.right - self.left)

    def y(self, value):
        low, high = self.y_range
        fraction = (self.scale(value) - low) / ((high - low) or 1)
        return self.bottom - min(max(fraction, 0), 1) * (self.bottom - self.top)


def nice_ticks(low, high, count=5):
    """Round numbers that cover [low, high], about `count` of them."""
    span = max(high - low, 1e-12)
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= count)
    return [k * step for k in range(math.floor(low / step), math.ceil(high / step) + 1)]


def step_ticks(values, count):
    """Ticks that cover `values`; only integers if all values are integers, as steps of training are."""
    ticks = nice_ticks(min(values), max(values), count)
    if all(value == round(value) for value in values):
        ticks = [tick for tick in ticks if abs(tick - round(tick)) < 1e-9]
    return ticks


def log_ticks(low, high):
    """1, 2, 5 times powers of ten that cover [low, high]; powers alone where the range is wide."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 3 else (1,)
    ticks = [m * 10.0**p for p in powers for m in factors]
    inside = [t for t in ticks if low / 1.001 <= t <= high * 1.001]
    before, after = [t for t in ticks if t < low / 1.001][-1:], [t for t in ticks if t > high * 1.001][:1]
    return before + inside + after


def clean(xs, ys, positive=False):
    """-> xs, ys sorted by x, without missing values, NaN and infinity; only those above 0 if `positive` is set."""
    pairs = [(float(x), float(y)) for x, y in zip(xs, ys) if y is not None and math.isfinite(y)]
    pairs = sorted(p for p in pairs if not positive or (p[0] > 0 and p[1] > 0))
    return [x for x, _ in pairs], [y for _, y in pairs]


def all_values(curves):
    """{name: (xs, ys)} -> every x, every y."""
    return [x for xs, _ in curves.values() for x in xs], [y for _, ys in curves.values() for y in ys]


def running_mean(values, weight):
    """Exponential moving average, corrected for its start at 0."""
    mean, total, means = 0.0, 0.0, []
    for value in values:
        mean, total = weight * mean + (1 - weight) * value, weight * total + 1 - weight
        means.append(mean / total)
    return means


def thin(xs, ys, count=240):
    """At most 2 * count points: the lowest and the highest of each part of the curve, so that no spike is lost."""
    if len(xs) <= 2 * count:
        return xs, ys
    keep = []
    for part in np.array_split(np.arange(len(xs)), count):
        values = [ys[i] for i in part]
        keep += sorted({int(part[int(np.argmin(values))]), int(part[int(np.argmax(values))])})
    return [xs[i] for i in keep], [ys[i] for i in keep]
