"""The files that scripts/predict.py writes for an image: whole, or in bands of rows for an image larger than memory.

NAME_label.png, NAME_color.png, NAME_overlay.png; with a confidence NAME_confidence.png (16 bit, 65535 = 1) and
NAME_confidence_heat.png; of a georeferenced TIFF also NAME_label.tif, with the tags of the image.
"""

import os
from contextlib import ExitStack

import numpy as np
from PIL import Image

from utils.drawing import figures
from utils.drawing.heat import heat_table
from utils.evaluation.exports import save_png
from utils.files import whole_file
from utils.raster import tiff
from utils.raster.png import RowPng
from utils.raster.tiff_write import RowTiff


class Appearance:
    """How results are drawn: class names, palette, opacity of the overlay, and what is void.

    `minimum`: a pixel whose largest probability is lower becomes `void`, the ignore label. `write_confidence`: the
    files of the confidence are written.
    """

    def __init__(self, names, palette, opacity, minimum=None, void=255, write_confidence=False):
        self.names, self.palette, self.opacity = names, palette, opacity
        self.minimum, self.void, self.write_confidence = minimum, void, write_confidence

    @property
    def wants_confidence(self):
        return self.write_confidence or self.minimum is not None

    def shown(self, label, confidence):
        """-> (label map to write, label map to draw); void is black in colours, transparent in an overlay."""
        drawn = label.astype(np.int32)
        if self.minimum is not None:
            unsure = confidence < self.minimum
            label, drawn = np.where(unsure, self.void, label).astype(label.dtype), np.where(unsure, figures.VOID, drawn)
        return label, drawn

    def overlay(self, image, drawn):
        """`image`: BGR."""
        return figures.overlay(figures.visible(image), drawn, self.palette, self.opacity)


def stored(label):
    """A label map in the dtype of its file."""
    return label if label.dtype == np.uint8 else label.astype(np.uint16)


def levels(confidence):
    """Probabilities -> 16-bit grey."""
    return np.rint(65535 * np.clip(confidence, 0, 1)).astype(np.uint16)


def heat_map(confidence):
    """Probabilities -> RGB, dark at 0 and bright at 1, on a linear scale."""
    return heat_table()[np.rint(255 * np.clip(confidence, 0, 1)).astype(np.uint8)]


def write(base, image, label, look, confidence=None, reference=None):
    """All files of one image. `reference`: (byte order, tags) of tiff.georeference."""
    os.makedirs(os.path.dirname(base) or ".", exist_ok=True)
    label, drawn = look.shown(label, confidence)
    save_png(Image.fromarray(stored(label)), f"{base}_label.png")
    save_png(Image.fromarray(figures.colourise(drawn, look.palette)), f"{base}_color.png")
    counted = np.where(drawn < 0, len(look.names), drawn)  # void is not in the legend
    overlay = figures.with_legend(look.overlay(image, drawn), counted, look.names, look.palette)
    save_png(overlay, f"{base}_overlay.png")
    if look.write_confidence:
        save_png(Image.fromarray(levels(confidence)), f"{base}_confidence.png")
        save_png(Image.fromarray(heat_map(confidence)), f"{base}_confidence_heat.png")
    if reference and reference[1]:
        with whole_file(f"{base}_label.tif") as file:
            target = RowTiff(file, label.shape, stored(label).dtype, reference)
            target.write(stored(label))
            target.close()


def write_probabilities(base, scores, wanted, names):
    """NAME_probability_CLASS.png of the classes in `wanted`; scores (K, H, W)."""
    for k in wanted:
        level = Image.fromarray((255 * scores[k]).round().astype(np.uint8))
        class_name = names[k].replace(" ", "_").replace("/", "_")
        save_png(level, f"{base}_probability_{class_name}.png")


class Bands:
    """The files of one image, written in bands from top to bottom: inside `with Bands(..) as files`, one call
    `files.write(image, label, confidence)` for each band. The overlay has no legend."""

    def __init__(self, base, size, dtype, look, reference=None):
        self.look, self.stack, self.above = look, ExitStack(), None
        os.makedirs(os.path.dirname(base) or ".", exist_ok=True)

        def png(end, *arguments):
            return RowPng(self.stack.enter_context(whole_file(f"{base}_{end}.png")), size, *arguments)

        dtype = np.uint8 if dtype == np.uint8 else np.uint16
        with ExitStack() as undo:  # an error here removes what was opened
            undo.push(self.stack)
            self.label, self.colour, self.overlay = png("label", 1, dtype), png("color", 3), png("overlay", 3)
            self.grey = self.heat = self.map = None
            if look.write_confidence:
                self.grey, self.heat = png("confidence", 1, np.uint16), png("confidence_heat", 3)
            if reference and reference[1]:
                file = self.stack.enter_context(whole_file(f"{base}_label.tif"))
                self.map = RowTiff(file, size, dtype, reference)
            undo.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if error[0] is None:
            try:
                for target in self.targets():
                    target.close()
            except BaseException as failure:
                self.stack.__exit__(type(failure), failure, None)
                raise
        self.stack.__exit__(*error)

    def targets(self):
        return [x for x in (self.label, self.colour, self.overlay, self.grey, self.heat, self.map) if x]

    def write(self, image, label, confidence=None):
        """The next rows: image (rows, W, 3) BGR, label and confidence (rows, W)."""
        label, drawn = self.look.shown(label, confidence)
        self.label.write(stored(label))
        self.colour.write(figures.colourise(drawn, self.look.palette))
        rows, labels = image, drawn
        if self.above is not None:  # a border between two bands is a border, too
            rows, labels = (np.concatenate(pair) for pair in zip(self.above, (image, drawn)))
        self.overlay.write(self.look.overlay(rows, labels)[-len(image) :])
        self.above = image[-1:].copy(), drawn[-1:].copy()
        if self.grey:
            self.grey.write(levels(confidence))
            self.heat.write(heat_map(confidence))
        if self.map:
            self.map.write(stored(label))


def reference_of(path):
    """The georeference of a TIFF file; None for other files."""
    try:
        return tiff.georeference(path)
    except (OSError, ValueError):  # reading the pixels reports it
        return None
