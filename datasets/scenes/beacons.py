"""Beacons: a generated dataset whose answer lies farther away than a shallow network can see.

Each image has one grey square, the region, and one coloured disc, the beacon. The class of the region's pixels is the
colour of the beacon; all other pixels are void. Image numbers alternate between two halves:

    cross     the beacon lies on the rows, or on the columns, of the region
    anywhere  it shares neither rows nor columns with the region

Along each axis on which they differ, more than FAR pixels lie between the two. The colours take turns in each half, and
nothing else in an image depends on them: without the beacon in view, a constant answer is right for one third of the
pixels, exactly, and no other answer is better on average.
"""

import cv2
import numpy as np

from datasets.scenes.dataset import IGNORE, Scenes

NAMES = ("red", "green", "blue")
PALETTE = ((230, 50, 50), (50, 200, 80), (60, 110, 240))  # RGB, of the beacons and of the classes
SIDE = 9  # of the region and of the beacon, in pixels
FAR = 18  # how far a network without attention may see in each direction, in pixels
SMALLEST = 2 * SIDE + FAR + 1  # side of an image


class Beacons(Scenes):
    """Images of the two halves in turn; `val_cross` and `val_anywhere` are the halves of `val`."""

    title, names, palette, size = "beacons", NAMES, PALETTE, (65, 65)
    splits = {  # first image, number of images, step
        "train": (0, 20_000, 1),
        "val": (1_000_000, 600, 1),
        "val_cross": (1_000_000, 300, 2),
        "val_anywhere": (1_000_001, 300, 2),
    }

    def draw(self, number):
        return draw_beacon(self.drawing[0], number, *self.scene_size)[:2]

    def sample_name(self, index):
        return f"beacon_{self.number(index):07d}"


def draw_beacon(seed, number, height, width, colour=None):
    """-> image (H, W, 3) BGR uint8, label (H, W) uint8 with 255 for void, {"region": (y, x), "beacon": (y, x)}, the
    first row and column of each.

    `colour`: the class, instead of the one whose turn it is; only the beacon's pixels depend on it.
    """
    if min(height, width) < SMALLEST:
        raise ValueError(f"an image of {height}x{width} is too small for a far beacon; the minimum is {SMALLEST}")
    rng = np.random.default_rng([seed, number])
    colour = number // 2 % len(NAMES) if colour is None else colour
    same = rng.integers(2) if number % 2 == 0 else None  # the axis along which both have one place, in half of them
    region, beacon = zip(*(places(rng, side, axis == same) for axis, side in enumerate((height, width))))
    image = np.repeat(rng.integers(40, 81, (height, width, 1)), 3, 2).astype(np.uint8)
    label = np.full((height, width), IGNORE, np.uint8)
    inside = tuple(slice(start, start + SIDE) for start in region)
    image[inside], label[inside] = 160, colour
    centre = beacon[1] + SIDE // 2, beacon[0] + SIDE // 2
    cv2.circle(image, centre, SIDE // 2, PALETTE[colour][::-1], -1)
    return image, label, {"region": region, "beacon": beacon}


def places(rng, side, same):
    """-> where region and beacon begin along an axis of `side` pixels."""
    if same:
        return (int(rng.integers(0, side - SIDE + 1)),) * 2
    distance = int(rng.integers(SIDE + FAR, side - SIDE + 1))
    first = int(rng.integers(0, side - SIDE - distance + 1))
    pair = (first, first + distance)
    return pair if rng.integers(2) else pair[::-1]
