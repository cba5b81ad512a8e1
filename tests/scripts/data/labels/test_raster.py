"""scripts/data/labels/raster.py: pixels whose centres lie inside a shape, against plain definitions."""

import math

import cv2
import numpy as np
import pytest
from support.label_exports import centres, filled

from scripts.data.labels import raster


def whole(region, size):
    top, left, mask = region
    result = np.zeros(size, bool)
    result[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return result


@pytest.mark.parametrize("grid", [1, 2, 0], ids=["integers", "halves", "any"])
def test_polygons_are_the_pixels_whose_centres_are_inside(rng, grid):
    """Also self-intersecting ones, corners on centres and edges, and parts outside the image."""
    size = (13, 17)
    for _ in range(60):
        polygon = rng.uniform(-4, 20, (rng.integers(3, 9), 2))
        polygon = np.round(polygon * grid) / grid if grid else polygon
        wanted = centres(polygon.tolist(), size)
        np.testing.assert_array_equal(whole(raster.polygon(polygon, size), size), wanted)


def test_neighbours_neither_overlap_nor_leave_a_gap(rng):
    size = (41, 53)
    for _ in range(20):
        corners = np.array([(0, 0), (53, 0), (53, 41), (0, 41)], float)
        middle = rng.uniform(5, 35, 2)
        parts = [np.array([corners[k], corners[(k + 1) % 4], middle]) for k in range(4)]
        total = sum(whole(raster.polygon(part, size), size).astype(int) for part in parts)
        assert (total == 1).all()


def test_polygons_differ_from_opencv_only_at_the_border(rng):
    size = (60, 80)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * math.pi, 9))
        polygon = np.stack([40 + 35 * np.cos(angles), 30 + 25 * np.sin(angles)], axis=1)
        ours, theirs = whole(raster.polygon(polygon, size), size), filled(polygon, size)
        border = cv2.morphologyEx(theirs.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        assert (ours == theirs)[~border].all() and abs(ours.sum() / theirs.sum() - 1) < 0.1


def test_whole_rectangles_have_their_area():
    assert whole(raster.box(2, 3, 7, 9, 0, (20, 20)), (20, 20)).sum() == 5 * 6
    assert raster.polygon(np.array([(30.0, 5), (40, 5), (35, 9)]), (20, 20))[2].size == 0
    assert whole(raster.box(-1e6, -1e6, 1e6, 1e6, 0, (20, 20)), (20, 20)).all()


@pytest.mark.parametrize("rotation", [0, 30, -75, 90])
def test_rotated_boxes_and_ellipses(rotation):
    """Clockwise in an image, whose y points down."""
    size, (x, y), (rx, ry) = (50, 60), (28.3, 24.9), (20.2, 8.1)
    rows, columns = np.mgrid[:50, :60] + 0.5
    turn = -math.radians(rotation)
    along = (columns - x) * math.cos(turn) - (rows - y) * math.sin(turn)
    across = (columns - x) * math.sin(turn) + (rows - y) * math.cos(turn)
    box = raster.box(x - rx, y - ry, x + rx, y + ry, rotation, size)
    np.testing.assert_array_equal(whole(box, size), (abs(along) < rx) & (abs(across) < ry))
    ellipse = raster.ellipse(x, y, rx, ry, rotation, size)
    np.testing.assert_array_equal(whole(ellipse, size), (along / rx) ** 2 + (across / ry) ** 2 < 1)
    assert not raster.ellipse(x, y, 0, 5, 0, size)[2].any()


def test_several_rings_are_united():
    size = (30, 40)
    rings = [
        np.array(r, float)
        for r in ([(1, 1), (9, 1), (9, 9), (1, 9)], [(20, 15), (35, 15), (35, 25)], [(5, 5), (12, 5), (12, 12)])
    ]
    wanted = centres(rings[0].tolist(), size) | centres(rings[1].tolist(), size) | centres(rings[2].tolist(), size)
    np.testing.assert_array_equal(whole(raster.polygons(rings, size), size), wanted)
    np.testing.assert_array_equal(whole(raster.polygons(rings[:1], size), size), centres(rings[0].tolist(), size))
    assert raster.polygons([rings[0] + 100], size) is raster.EMPTY
