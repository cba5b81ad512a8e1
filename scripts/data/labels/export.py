"""What the reader of an annotation format returns, and the label map that its samples are painted on."""

import os
from collections import Counter
from typing import Any, NamedTuple, Optional

import numpy as np

from datasets.reading.image_io import DataError

UNLABELLED, VOID = 254, 255
RECORD = "convert.json"  # in the written folder: its files, and what they were made from
BACKGROUND = ("background", "_background_")  # names of the class of what is not annotated
VOID_NAMES = ("void", "__ignore__")  # the second is labelme's
LIMIT = 1e6  # a coordinate beyond this cannot be intended, and drawing it would take hours
FAULTS = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ArithmeticError,
    OSError,
    SyntaxError,
    RecursionError,
)


class Sample(NamedTuple):
    """One image of an export."""

    name: str  # of the image in the export, with folders; the output gets this name
    where: str  # the annotation file and its entry, for messages
    image: Any  # path of the image file, or a function that returns its bytes
    paint: Any  # function(canvas) that paints the annotations, from below to above
    size: Any = None  # (height, width) that the annotations state, or a function that returns it
    upright: bool = False  # the annotations refer to the image rotated by its EXIF orientation
    split: Optional[str] = None  # train, val or test, if the export has splits
    sources: tuple = ()  # the files that the label is made from
    annotated: bool = True
    ending: str = ""  # of an image that is no file


class Export(NamedTuple):
    classes: list  # [(name, RGB colour or None)]
    samples: list
    problems: list  # broken entries that were found while reading, as text
    remarks: list  # lines to print


def without_repeats(export):
    """An image that is annotated in two places is a problem: it would be two samples with a part of the labels each."""
    places, samples, problems = {}, [], list(export.problems)
    for sample in export.samples:
        image = id(sample.image) if callable(sample.image) else os.path.realpath(sample.image)
        first = places.setdefault(image, sample)
        if first is sample:
            samples.append(sample)
        else:
            problems.append(f"{sample.where}: its image {sample.image} is annotated in {first.where} as well")
    return export._replace(samples=samples, problems=problems)


class Options(NamedTuple):
    """What readers need of the command line."""

    images: Optional[str] = None
    out: Any = None  # the folder to write: it may be below the export, and is not searched
    colors: Optional[str] = None
    crowd: str = "void"
    workers: Optional[int] = None


class Shape(NamedTuple):
    where: str  # file and annotation, for messages
    name: str  # of the class
    render: Any  # function((height, width)) -> (top, left, mask (h, w) of bool)


class Canvas:
    """A label map (H, W), at first UNLABELLED. `values`: {class in the export: value}."""

    def __init__(self, size, values, on_bad="error"):
        self.label = np.full(size, UNLABELLED, np.uint8)
        self.values, self.on_bad = values, on_bad
        self.problems, self.notices = [], Counter()

    def bad(self, text):
        """A broken annotation: an error, or with --on-bad-annotation skip a line of the report."""
        if self.on_bad == "error":
            raise DataError(text)
        self.problems.append(text)

    def value(self, name):
        if name in self.values:
            return self.values[name]
        if str(name).lower() in VOID_NAMES:
            return VOID
        raise DataError(f"{name!r} is not one of the {len(self.values)} classes: {shortened(self.values)}")

    def paint(self, shapes, small_on_top=False):
        """Later shapes cover earlier ones; with `small_on_top`, shapes with fewer pixels cover those with more."""
        regions = []

        def put(value, top, left, mask):
            self.label[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = value

        for shape in shapes:
            try:
                top, left, mask = shape.render(self.label.shape)
                value = self.value(shape.name)
            except FAULTS as error:
                self.bad(f"{shape.where}: {cause(error)}")
                continue
            if not mask.any():
                self.notices["annotations cover no pixel of their image"] += 1
            elif small_on_top:
                regions.append((value, top, left, mask))
            else:
                put(value, top, left, mask)
        for region in sorted(regions, key=lambda region: -np.count_nonzero(region[3])):
            put(*region)


def head(path):
    """The first 64 kB of a text file, which show its format."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(1 << 16)


def cause(error):
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error) if isinstance(error, DataError) else f"{error} ({type(error).__name__})"


def shortened(names, most=8):
    names = list(map(str, names))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def listed(counts):
    """Counter -> "3 polyline, 1 points"."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def numbers(values, what="coordinate"):
    """-> a float array; NaN, infinity and coordinates far outside are errors."""
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all():
        raise DataError(f"a {what} is NaN or infinity")
    if array.size and np.abs(array).max() > LIMIT:
        raise DataError(f"the {what} {array.flat[np.abs(array).argmax()]:g} is far outside the image")
    return array


def points(values, least=3):
    """-> (N, 2) coordinates x, y."""
    array = numbers(values)
    if array.ndim != 2 or array.shape[1] != 2:
        raise DataError(f"points are pairs x, y, and these have the shape {array.shape}")
    if len(array) < least:
        raise DataError(f"{len(array)} points, and at least {least} are needed")
    return array
