"""Drawn street scenes: a generated dataset that needs no download and is the same on every machine.

`draw_scene(seed, index, height, width)` returns an image, its labels and its instances. Everything is drawn from far to
near with integer geometry and a generator seeded by (seed, index), so the same arguments give the same bytes anywhere.
The classes are frequent classes of Cityscapes, with their colours; the border of each image is void (label 255).
"""

import numpy as np

from datasets.base import SegmentationDataset
from datasets.scenes import drawing

NAMES = ("road", "pavement", "building", "sky", "tree", "car", "person", "sign", "pole")
PALETTE = (  # RGB
    (128, 64, 128),
    (244, 35, 232),
    (70, 70, 70),
    (70, 130, 180),
    (107, 142, 35),
    (0, 0, 142),
    (220, 20, 60),
    (220, 220, 0),
    (153, 153, 153),
)
IGNORE = 255


class Scenes(SegmentationDataset):
    """Drawn scenes. `train` begins at scene 0 and `val` at scene 1 000 000, so they have no scene in common."""

    title, names, palette, ignore_label, size = "scenes", NAMES, PALETTE, IGNORE, (128, 256)
    splits = {"train": (0, 2000, 1), "val": (1_000_000, 100, 1)}  # first scene, number of scenes, step

    def __init__(
        self,
        split="train",
        height=None,
        width=None,
        count=None,
        scene_seed=0,
        num_classes=None,
        ignore_label=None,
        on_bad_label="error",  # these two have no effect: labels are always valid
        resize_labels=False,
        **options,
    ):
        if split not in self.splits:
            raise ValueError(f"unknown split {split!r} of {self.title}; choose from {', '.join(self.splits)}")
        if num_classes not in (None, len(self.names)):
            raise ValueError(
                f"{self.title} have {len(self.names)} classes, not {num_classes} (--num-classes, or the checkpoint)"
            )
        if ignore_label is not None:
            self.ignore_label = ignore_label
        self.first, usual, self.step = self.splits[split]
        self.scene_size = (height or self.size[0], width or self.size[1])
        self.drawing = (scene_seed, *self.scene_size)
        super().__init__(count or usual, **options)

    def number(self, index):
        """The number of the scene, from which it is drawn."""
        return self.first + self.step * index

    def draw(self, number):
        """-> image (H, W, 3) BGR uint8, label (H, W) uint8"""
        return draw_scene(self.drawing[0], number, *self.scene_size)[:2]

    def open_pair(self, index):
        image, label = self.draw(self.number(index))
        label[label == IGNORE] = self.ignore_label
        return (lambda rows=None: image), label

    def sample_name(self, index):
        return f"scene_{self.number(index):07d}"


def draw_scene(seed, index, height, width):
    """-> image (H, W, 3) BGR uint8, label (H, W) uint8 with 255 for void, instance (H, W) uint16 with 0 for none."""
    if height < 8 or width < 8:
        raise ValueError(f"a scene of {height}x{width} pixels is too small to draw; the minimum is 8x8")
    rng = np.random.default_rng([seed, index])
    canvas = drawing.Canvas(height, width)
    horizon = int(height * rng.integers(34, 50) // 100)
    vanish = int(width * rng.integers(30, 71) // 100)  # column where the road meets the horizon

    drawing.draw_sky(canvas, rng, horizon)
    drawing.draw_buildings(canvas, rng, horizon)
    road_edges = drawing.draw_ground(canvas, rng, horizon, vanish)
    drawing.draw_things(canvas, rng, horizon, road_edges)
    drawing.light(canvas.image, rng, horizon)

    rim = 1 + int(min(height, width) * rng.integers(0, 3) // 100)  # like the borders of rectified Cityscapes images
    inner = (slice(rim, -rim), slice(rim, -rim))
    border = np.ones((height, width), bool)
    border[inner] = False
    canvas.image[border] //= 4
    canvas.label[border] = IGNORE
    canvas.instance[border] = 0
    return canvas.image, canvas.label, canvas.instance
