"""Shapes in continuous coordinates -> pixels: a pixel belongs to a shape if its centre (x + 0.5, y + 0.5) lies inside.

Polygons follow the even-odd rule, so neighbours with a common edge neither overlap nor leave a gap. The results are
(top, left, mask) of the pixels within the image.
"""

import math

import numpy as np

EMPTY = (0, 0, np.zeros((0, 0), bool))


def polygon(points, size):
    """`points`: (N, 2) coordinates x, y."""
    top, left, bottom, right = bounds(points, size)
    if top >= bottom or left >= right:
        return EMPTY
    one, two = points, np.roll(points, -1, axis=0)
    swap = (one[:, 1] > two[:, 1])[:, None]  # both directions of a common edge give the same numbers
    one, two = np.where(swap, two, one), np.where(swap, one, two)
    first, last = (np.clip(np.ceil(end[:, 1] - 0.5), top, bottom).astype(int) for end in (one, two))
    counts = last - first  # rows that each edge crosses
    edge = np.repeat(np.arange(len(points)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    (x1, y1), (x2, y2) = one[edge].T, two[edge].T
    crossings = x1 + (rows + 0.5 - y1) * ((x2 - x1) / (y2 - y1))
    columns = np.clip(np.ceil(crossings - 0.5), left, right).astype(int)  # the first pixel right of the edge
    wide = right - left + 1
    toggles = np.bincount((rows - top) * wide + columns - left, minlength=(bottom - top) * wide)
    inside = np.cumsum(toggles.reshape(bottom - top, wide), axis=1) % 2 == 1
    return top, left, inside[:, :-1]


def bounds(points, size):
    """(top, left, bottom, right) of the pixels whose centres can lie inside."""
    low, high = points.min(axis=0), points.max(axis=0)
    left, top = (max(math.ceil(value - 0.5), 0) for value in low)
    right, bottom = (math.ceil(value - 0.5) for value in high)
    return top, left, min(bottom, size[0]), min(right, size[1])


def polygons(rings, size):
    """The union of several polygons."""
    parts = [part for part in (polygon(ring, size) for ring in rings) if part[2].size]
    if len(parts) <= 1:
        return parts[0] if parts else EMPTY
    top, left = min(part[0] for part in parts), min(part[1] for part in parts)
    bottom = max(part[0] + part[2].shape[0] for part in parts)
    right = max(part[1] + part[2].shape[1] for part in parts)
    union = np.zeros((bottom - top, right - left), bool)
    for y, x, mask in parts:
        union[y - top : y - top + mask.shape[0], x - left : x - left + mask.shape[1]] |= mask
    return top, left, union


def box(left, top, right, bottom, rotation, size):
    """A rectangle that is rotated clockwise about its centre by `rotation` degrees."""
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
    if rotation:
        centre, turn = corners.mean(axis=0), math.radians(rotation)
        matrix = np.array([(math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))])
        corners = (corners - centre) @ matrix + centre
    return polygon(corners, size)


def ellipse(x, y, rx, ry, rotation, size):
    """`rotation` in degrees, clockwise."""
    reach = max(rx, ry)
    top, left, bottom, right = bounds(np.array([(x - reach, y - reach), (x + reach, y + reach)]), size)
    if top >= bottom or left >= right or min(rx, ry) <= 0:
        return EMPTY
    dy, dx = np.mgrid[top:bottom, left:right] + 0.5 - np.array([y, x])[:, None, None]
    cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    along, across = (dx * cos + dy * sin) / rx, (dy * cos - dx * sin) / ry
    return top, left, along**2 + across**2 < 1
