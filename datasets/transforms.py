"""Augmentation in the official order: scale, pad at the right and bottom, crop, mirror; then colours (optional).

Every random choice comes from the generator that is passed in. Images are (H, W, 3) uint8 BGR, labels (H, W) uint8. All
frames of a clip (T, H, W, 3) change alike; its label is that of one frame. Normalisation follows later, on the device
(normalise.py). Padding must be 0 after normalisation, which no uint8 value becomes, so a sample has a box around its
image.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from datasets.normalise import normalise, normalise_batch, on_device  # noqa: F401 (one place to look)
from models.tables import CAFFE_BGR

# As the official code computes them: 0.7 + 0.1 is slightly less than 0.8, which changes labels at pixel borders.
CITYSCAPES_SCALES = tuple(0.7 + k / 10 for k in range(15))  # 0.7, 0.8 .. 2.1
VOC_SCALES = tuple(0.5 + k / 10 for k in range(12))  # 0.5, 0.6 .. 1.6
ADE20K_SIDES = (300, 375, 450, 525, 600)
PADDING = tuple(round(x) for x in CAFFE_BGR["mean"])  # only for viewing: normalisation uses the box


class Sample(NamedTuple):
    image: np.ndarray  # ([T,] H, W, 3) uint8 BGR
    label: np.ndarray  # (H, W) uint8
    box: np.ndarray  # (4,) int32: first row, last row + 1, first column, last column + 1; outside is padding


class Scale:
    """Draws a scale factor: to one of the short `sides` (optional), times one of `factors` or a value in `span`."""

    def __init__(self, factors=None, span=None, sides=None, longest=None):
        self.factors, self.span, self.sides, self.longest = factors, span, sides, longest

    def __call__(self, height, width, rng):
        factor = 1.0
        if self.sides:
            factor = self.sides[rng.integers(len(self.sides))] / min(height, width)
            if self.longest:
                factor = min(factor, self.longest / max(height, width))
        if self.factors:
            factor *= self.factors[rng.integers(len(self.factors))]
        if self.span:
            factor *= rng.uniform(*self.span)
        return factor


class TrainTransform:
    """`transform(image, label, rng) -> Sample` of `size`.

    `image` may be a function of the number of rows that are needed from the top; it is called when the crop is known.
    With `whole`, the whole image is scaled and then cropped, exactly as in the official code; otherwise only the part
    that the crop needs is scaled: the same geometry, much faster. `cat_max_ratio`: the crop is drawn again, up to ten
    times, while one class covers more than this share of it. `flip_pairs`: classes that a mirror swaps, such as left
    and right arm.
    """

    def __init__(
        self, size, scale=None, mirror=False, ignore=255, whole=False, jitter=False, cat_max_ratio=None, flip_pairs=()
    ):
        self.size, self.scale, self.mirror, self.ignore = tuple(size), scale, mirror, ignore
        self.cut = scaled_then_cut if whole else cut_then_scaled
        self.jitter, self.cat_max_ratio = jitter, cat_max_ratio
        self.mirrored_class = np.arange(256, dtype=np.uint8)
        for left, right in flip_pairs:
            self.mirrored_class[[left, right]] = right, left

    def __call__(self, image, label, rng):
        height, width = label.shape
        factor = self.scale(height, width, rng) if self.scale else 1.0
        if scaled_size((height, width), factor) == (height, width):
            factor = 1.0  # as OpenCV does
        window = self.draw_window(label, factor, rng)
        mirror = bool(self.mirror and rng.random() < 0.5)

        if callable(image):
            last = window[0] + window[2]
            image = image(min(height, math.ceil(last / factor) + 3))
        images = image if image.ndim == 4 else image[None]
        crops = [in_groups(x, lambda part: self.cut(part, factor, *window, cv2.INTER_LINEAR)) for x in images]
        if self.jitter:
            state = int(rng.integers(1 << 62))  # the same change for all frames of a clip
            crops = [shift_colours(crop, np.random.default_rng(state)) for crop in crops]
        filled = [pad(crop, self.size, PADDING) for crop in crops]
        mask = pad(self.cut(label, factor, *window, cv2.INTER_NEAREST), self.size, self.ignore)
        box = (0, window[2], 0, window[3])
        if mirror:
            filled = [np.ascontiguousarray(x[:, ::-1]) for x in filled]
            mask = cv2.LUT(cv2.flip(mask, 1), self.mirrored_class)
            box = (0, window[2], self.size[1] - window[3], self.size[1])
        return Sample(np.stack(filled) if image.ndim == 4 else filled[0], mask, np.array(box, np.int32))

    def draw_window(self, label, factor, rng):
        """(top, left, height, width) of the crop, in the scaled image and clipped to it."""
        scaled = scaled_size(label.shape, factor)
        for attempt in range(10 if self.cat_max_ratio else 1):
            top, left = (int(rng.integers(max(have - want, 0) + 1)) for have, want in zip(scaled, self.size))
            window = (top, left, min(self.size[0], scaled[0] - top), min(self.size[1], scaled[1] - left))
            if self.cat_max_ratio and attempt < 9:
                counts = np.bincount(self.cut(label, factor, *window, cv2.INTER_NEAREST).ravel(), minlength=256)
                counts[self.ignore] = 0
                if np.count_nonzero(counts) > 1 and counts.max() < self.cat_max_ratio * counts.sum():
                    break
        return window


class EvalTransform:
    """No change: evaluation uses every pixel."""

    def __call__(self, image, label, rng):
        image = image() if callable(image) else image
        return Sample(image, label, np.array((0, label.shape[0], 0, label.shape[1]), np.int32))


def scaled_size(size, factor):
    """Rounded as OpenCV does: to nearest, halves to even."""
    return tuple(max(round(side * factor), 1) for side in size)


def rescale(image, factor, interpolation):
    if factor == 1:
        return image
    if min(round(side * factor) for side in image.shape[:2]) < 1:
        height, width = scaled_size(image.shape[:2], factor)
        return cv2.resize(image, (width, height), interpolation=interpolation)
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=interpolation)


def scaled_then_cut(image, factor, top, left, height, width, interpolation):
    """The official order, and the definition of the next function."""
    return rescale(image, factor, interpolation)[top : top + height, left : left + width]


def cut_then_scaled(image, factor, top, left, height, width, interpolation):
    """The same window, computed from the part of the image that it needs. Labels are equal, images differ in the last
    bit of interpolation. (The part begins at an integer pixel; where none is near enough, warpAffine shifts it, in
    steps of 1/32 pixel.)"""
    if factor == 1:
        return image[top : top + height, left : left + width]
    if interpolation == cv2.INTER_NEAREST:
        rows, columns = (
            np.minimum(np.floor(np.arange(start, start + count) * (1 / factor)).astype(int), total - 1)
            for start, count, total in ((top, height, image.shape[0]), (left, width, image.shape[1]))
        )
        return image[rows].take(columns, axis=1)
    y0, y1, skip_y, near_y = source_span(top, height, factor, image.shape[0])
    x0, x1, skip_x, near_x = source_span(left, width, factor, image.shape[1])
    if max(near_y, near_x) > 1 / 64:
        x0, y0 = (max(int(start / factor) - 2, 0) for start in (left, top))
        shift = [(start + 0.5) / factor - 0.5 - first for start, first in ((left, x0), (top, y0))]
        matrix = np.array([[1 / factor, 0, shift[0]], [0, 1 / factor, shift[1]]])
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            image[y0:y1, x0:x1], matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
    part = rescale(image[y0:y1, x0:x1], factor, interpolation)[skip_y : skip_y + height, skip_x : skip_x + width]
    short = height - part.shape[0], width - part.shape[1]
    if max(short) > 0:  # the end of the part was rounded down, that of the whole image up
        part = cv2.copyMakeBorder(part, 0, max(short[0], 0), 0, max(short[1], 0), cv2.BORDER_REPLICATE)
    return part


def source_span(start, count, factor, total):
    """(first, last + 1, skip, error): pixels start .. start + count of a scaled line are the pixels from `skip` on of
    the scaled part first .. last. If the part begins at an integer pixel on both scales, it has the sampling points of
    the whole line; of the 32 even places before `start`, the nearest to that is used (even, so that OpenCV rounds the
    size in the same way)."""
    best, place, first = 2.0, 0, 0
    for candidate in range(start - start % 2, max(start - 64, -1), -2):
        source = candidate / factor
        error = abs(source - round(source))
        if error < best - 1e-9:
            best, place, first = error, candidate, round(source)
        if error < 1e-9:
            break
    return first, min(total, math.ceil((start + count) / factor) + 2), start - place, best


def in_groups(image, function):
    """function(image) for any number of channels: OpenCV takes four at most, and drops the axis of a single one."""
    if image.shape[2] == 3:
        return function(image)
    groups = [function(np.ascontiguousarray(image[:, :, k : k + 4])) for k in range(0, image.shape[2], 4)]
    return np.concatenate([group.reshape(*group.shape[:2], -1) for group in groups], 2)


def pad(image, size, value):
    down, right = size[0] - image.shape[0], size[1] - image.shape[1]
    if (down or right) and image.ndim == 3 and image.shape[2] != 3:
        return np.pad(image, ((0, down), (0, right), (0, 0)))
    if down or right:
        return cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_CONSTANT, value=value)
    return np.ascontiguousarray(image)


def shift_colours(image, rng):
    """Change brightness, contrast, saturation and hue, each with probability 1/2; contrast before or after the rest.
    With another number of channels than three only brightness and contrast, the same change for all channels."""

    def linear(gain, shift):
        table = np.clip(np.arange(256) * gain + shift, 0, 255).astype(np.uint8)
        return cv2.LUT(image, table) if image.shape[2] == 3 else table[image]

    def contrast():
        return linear(rng.uniform(0.5, 1.5), 0.0) if rng.random() < 0.5 else image

    if rng.random() < 0.5:
        image = linear(1.0, rng.uniform(-32, 32))
    early = rng.random() < 0.5
    if early:
        image = contrast()
    colour = image.shape[2] == 3
    if colour and rng.random() < 0.5:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[:, :, 1] = np.clip(hsv[:, :, 1] * rng.uniform(0.5, 1.5), 0, 255)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if colour and rng.random() < 0.5:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[:, :, 0] = (hsv[:, :, 0].astype(int) + int(rng.integers(-18, 19))) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    return image if early else contrast()
