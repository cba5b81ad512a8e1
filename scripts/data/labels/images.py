"""Find the image that an annotation names, and read its size and EXIF orientation from the header."""

import io
import os
import unicodedata
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.reading import image_io
from datasets.reading.image_io import DataError
from datasets.reading.pairs import ENDINGS, list_files

UNCLEAR = "images have an EXIF orientation, and their labels are taken to be drawn on the pixels as stored"
TURN_BACK = {  # EXIF orientation -> how an upright label is turned to the stored pixels
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_90",
    7: "TRANSVERSE",
    8: "ROTATE_270",
}


def stem(name):
    """Without the extension of an image."""
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def parts_of(name):
    """The parts of a path as annotation tools write it: also with backslashes, a drive, or `..`."""
    return [part for part in str(name).replace("\\", "/").split("/") if part not in ("", ".", "..")]


class Images:
    """The image files of an export: those below --images, else below `source`, a folder or a file in it, without those
    in the folders `leave_out` (names, such as SegmentationClass) and in the folder that is written."""

    def __init__(self, source, options, leave_out=()):
        folder = Path(options.images or (source if source.is_dir() else source.parent))
        self.folder, self.known, self.given = folder, defaultdict(list), bool(options.images)
        if not self.folder.is_dir():
            raise DataError(f"{folder} is not a folder; give the folder of the images by --images")
        for path in list_files(self.folder):
            if not set(path.parts[:-1]) & set(leave_out) and not is_below(self.folder / path, options.out):
                for name in (path.name, stem(path.name)):
                    self.known[same(name)].append(path)

    def find(self, name, near=None, hint=""):
        """The file `name`, with or without its extension. `near`: the folder of the annotation file; `hint`: a text
        that decides among files of one name, if it contains the name of the folder of one (train2017)."""
        parts = parts_of(name)
        if not parts:
            raise DataError(f"the name of the image is {name!r}")
        text = str(name).replace("\\", "/")
        if (
            near is not None
            and not self.given
            and parts[-1].lower().endswith(ENDINGS)
            and (Path(near) / text).is_file()
        ):
            return Path(os.path.normpath(Path(near) / text))
        choices = self.known.get(same(parts[-1]), [])
        for cut in range(len(parts)):  # the more of its folders agree, the better
            end = parts[cut:]
            fits = [path for path in choices if agree(path.parts[-len(end) :], end)]
            if fits:
                return self.folder / self.only(fits, text, near, hint)
        raise DataError(f"its image {text!r} is not below {self.folder}; give the folder of the images by --images")

    def only(self, fits, name, near, hint):
        if len(fits) > 1:
            hinted = [path for path in fits if any(part.lower() in hint.lower() for part in path.parts[:-1])]
            beside = [path for path in fits if near is not None and Path(near) in (self.folder / path).parents]
            fits = next((group for group in (hinted, beside) if len(group) == 1), fits)
        if len(fits) > 1:
            raise DataError(f"its image {name!r} may be {fits[0]} or {fits[1]} in {self.folder}; choose by --images")
        return fits[0]


def same(name):
    """Composed and decomposed accents are the same name: macOS writes the second."""
    return unicodedata.normalize("NFC", name)


def is_below(path, folder):
    return folder is not None and folder in path.absolute().parents


def agree(path, end):
    path, end = [same(part) for part in path], [same(part) for part in end]
    return path[:-1] == end[:-1] and end[-1] in (path[-1], stem(path[-1]))


def content(image):
    return image() if callable(image) else image_io.read_bytes(image).tobytes()


def header(image, where):
    """-> ((height, width) as stored, EXIF orientation 1..8, name of the format)."""
    try:
        with Image.open(io.BytesIO(image()) if callable(image) else image) as file:
            orientation = file.getexif().get(274, 1)
            return (file.height, file.width), orientation if orientation in TURN_BACK else 1, file.format
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        data = np.frombuffer(content(image), np.uint8)
        path = f"{where}: its image" if callable(image) else image
        raise image_io.broken(data, path, error) from None


def frame(sample):
    """-> (size of the label map to paint, function from the painted label to the label that is written, notice or "").

    The project rotates an image by its EXIF orientation only where the label fits only then. So an upright label stays
    upright where rotation changes the size, and is turned to the stored pixels where it does not.
    """
    stored, orientation, format = header(sample.image, sample.where)
    turned = stored[::-1] if orientation > 4 and format == "JPEG" else stored
    size = (sample.size() if callable(sample.size) else sample.size) or (turned if sample.upright else stored)
    if size not in (stored, turned):
        name = sample.name if callable(sample.image) else sample.image
        raise DataError(
            f"{sample.where} is for {size[0]}x{size[1]} pixels (height x width), and its image {name} has "
            f"{stored[0]}x{stored[1]}: not a pair, or the image was resized after it was annotated"
        )
    unclear = orientation > 1 and size == stored and (stored[0] == stored[1] or orientation <= 4)
    if sample.upright and unclear:
        return size, lambda label: np.asarray(Image.fromarray(label).transpose(method(orientation))), ""
    return size, lambda label: label, UNCLEAR if unclear else ""


def method(orientation):
    return getattr(Image.Transpose if hasattr(Image, "Transpose") else Image, TURN_BACK[orientation])
