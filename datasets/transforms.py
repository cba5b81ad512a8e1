"""Augmentation in the official order: scale, pad at the right and bottom, crop, mirror; then colour, if asked for.

Every random choice comes from the generator that is passed in. Pictures are (H, W, 3) uint8 BGR, labels (H, W) uint8,
or clips of them, (T, H, W, 3) and (T, H, W). Normalising comes later, on the device (normalise.py), and so the padding
travels as a box: it is 0 after normalising, which no uint8 value is.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from datasets.normalise import normalise, normalise_batch  # noqa: F401 (one place to look)
from models.tables import CAFFE_BGR

# As the official code computes them: 0.7 + 0.1 is a little less than 0.8, and labels at the edge of a pixel notice.
CITYSCAPES_SCALES = tuple(0.7 + k / 10 for k in range(15))  # 0.7, 0.8 .. 2.1
VOC_SCALES = tuple(0.5 + k / 10 for k in range(12))  # 0.5, 0.6 .. 1.6
ADE20K_SIDES = (300, 375, 450, 525, 600)
PADDING = tuple(round(x) for x in CAFFE_BGR["mean"])  # for eyes only: the box decides


class Sample(NamedTuple):
    image: np.ndarray  # ([T,] H, W, 3) uint8 BGR
    label: np.ndarray  # ([T,] H, W) uint8
    box: np.ndarray  # (4,) int32: rows from, to, columns from, to; what lies outside is padding


class Scale:
    """The factor that a picture is scaled by: fitted to a short side, times one of `factors` or something in `span`."""

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

    `image` may be a function of the number of rows wanted from the top: it is called when the crop is known. With
    `whole`, the whole picture is scaled and then cropped, exactly as the official code does; without, only the part
    that the crop needs is scaled: the same geometry, much faster. `cat_max_ratio` draws the crop again, up to ten
    times, while one class has more than that share of it. `flip_pairs`: classes that a mirror swaps, such as left and
    right arm.
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
        labels = label if label.ndim == 3 else label[None]
        height, width = labels.shape[1:]
        factor = self.scale(height, width, rng) if self.scale else 1.0
        if scaled_size((height, width), factor) == (height, width):
            factor = 1.0  # so OpenCV takes it
        window = self.draw_window(labels[0], factor, rng)
        mirror = bool(self.mirror and rng.random() < 0.5)

        if callable(image):
            last = window[0] + window[2]
            image = image(min(height, math.ceil(last / factor) + 3))
        images = image if label.ndim == 3 else image[None]
        crops = [self.cut(x, factor, *window, cv2.INTER_LINEAR) for x in images]
        if self.jitter:
            state = int(rng.integers(1 << 62))  # all frames of a clip change alike
            crops = [shift_colours(crop, np.random.default_rng(state)) for crop in crops]
        filled = [pad(crop, self.size, PADDING) for crop in crops]
        masks = [pad(self.cut(y, factor, *window, cv2.INTER_NEAREST), self.size, self.ignore) for y in labels]
        box = (0, window[2], 0, window[3])
        if mirror:
            filled = [cv2.flip(x, 1) for x in filled]
            masks = [cv2.LUT(cv2.flip(y, 1), self.mirrored_class) for y in masks]
            box = (0, window[2], self.size[1] - window[3], self.size[1])
        if label.ndim == 2:
            return Sample(filled[0], masks[0], np.array(box, np.int32))
        return Sample(np.stack(filled), np.stack(masks), np.array(box, np.int32))

    def draw_window(self, label, factor, rng):
        """(top, left, height, width) of the crop in the scaled picture, as far as there is picture."""
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
    """Everything as it is: evaluation sees every pixel."""

    def __call__(self, image, label, rng):
        image = image() if callable(image) else image
        return Sample(image, label, np.array((0, label.shape[-2], 0, label.shape[-1]), np.int32))


def scaled_size(size, factor):
    """As OpenCV rounds it: to the nearest, halves to even."""
    return tuple(max(round(side * factor), 1) for side in size)


def rescale(picture, factor, interpolation):
    if factor == 1:
        return picture
    if min(round(side * factor) for side in picture.shape[:2]) < 1:
        height, width = scaled_size(picture.shape[:2], factor)
        return cv2.resize(picture, (width, height), interpolation=interpolation)
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=interpolation)


def scaled_then_cut(picture, factor, top, left, height, width, interpolation):
    """The official order, and the definition of the next function."""
    return rescale(picture, factor, interpolation)[top : top + height, left : left + width]


def cut_then_scaled(picture, factor, top, left, height, width, interpolation):
    """The same window, from the part of the picture that it needs: labels are equal, pictures but for the last bit of
    interpolation. (OpenCV scales from whole pixels on; where no such place is near, it shifts in steps of 1/32.)"""
    if factor == 1:
        return picture[top : top + height, left : left + width]
    if interpolation == cv2.INTER_NEAREST:
        rows, columns = (
            np.minimum(np.floor(np.arange(start, start + count) * (1 / factor)).astype(int), total - 1)
            for start, count, total in ((top, height, picture.shape[0]), (left, width, picture.shape[1]))
        )
        return picture[rows].take(columns, axis=1)
    y0, y1, skip_y, near_y = source_span(top, height, factor, picture.shape[0])
    x0, x1, skip_x, near_x = source_span(left, width, factor, picture.shape[1])
    if max(near_y, near_x) > 1 / 64:
        x0, y0 = (max(int(start / factor) - 2, 0) for start in (left, top))
        shift = [(start + 0.5) / factor - 0.5 - first for start, first in ((left, x0), (top, y0))]
        matrix = np.array([[1 / factor, 0, shift[0]], [0, 1 / factor, shift[1]]])
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            picture[y0:y1, x0:x1], matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
    part = rescale(picture[y0:y1, x0:x1], factor, interpolation)[skip_y : skip_y + height, skip_x : skip_x + width]
    short = height - part.shape[0], width - part.shape[1]
    if max(short) > 0:  # the window's end was rounded down where the whole picture's is rounded up
        part = cv2.copyMakeBorder(part, 0, max(short[0], 0), 0, max(short[1], 0), cv2.BORDER_REPLICATE)
    return part


def source_span(start, count, factor, total):
    """(first, last + 1, skip, error): pixels start .. start + count of a scaled line are those from `skip` on of this
    part, scaled. A part that begins at a whole pixel on both scales has the sampling points of the whole line: of the
    32 even places before `start` the nearest to that is taken (even, so that OpenCV rounds the size alike)."""
    best, place, first = 2.0, 0, 0
    for candidate in range(start - start % 2, max(start - 64, -1), -2):
        source = candidate / factor
        error = abs(source - round(source))
        if error < best - 1e-9:
            best, place, first = error, candidate, round(source)
        if error < 1e-9:
            break
    return first, min(total, math.ceil((start + count) / factor) + 2), start - place, best


def pad(picture, size, value):
    down, right = size[0] - picture.shape[0], size[1] - picture.shape[1]
    if down or right:
        return cv2.copyMakeBorder(picture, 0, down, 0, right, cv2.BORDER_CONSTANT, value=value)
    return np.ascontiguousarray(picture)


def shift_colours(image, rng):
    """Brightness, contrast, saturation and hue, each one time in two, by the usual amounts; contrast first or last."""

    def linear(gain, shift):
        return cv2.LUT(image, np.clip(np.arange(256) * gain + shift, 0, 255).astype(np.uint8))

    def contrast():
        return linear(rng.uniform(0.5, 1.5), 0.0) if rng.random() < 0.5 else image

    if rng.random() < 0.5:
        image = linear(1.0, rng.uniform(-32, 32))
    early = rng.random() < 0.5
    if early:
        image = contrast()
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[:, :, 1] = np.clip(hsv[:, :, 1] * rng.uniform(0.5, 1.5), 0, 255)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[:, :, 0] = (hsv[:, :, 0].astype(int) + int(rng.integers(-18, 19))) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    return image if early else contrast()
