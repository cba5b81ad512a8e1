"""Files that benchmark servers accept: the right values, modes and names, and nothing else in the folder.

cityscapes   CITY_SEQ_FRAME_pred_labelIds.png, 8 bit grey, label ids (not train ids)
ade20k       IMAGE.png, 8 bit grey, 1..150
voc          results/VOC2012/Segmentation/comp6_<split>_cls/ID.png, PNG with a palette, 0..20
"""

import os
import re

import numpy as np
from PIL import Image

from models.tables import CITYSCAPES_IDS, devkit_palette
from utils.files import whole_file

FORMATS = {  # name -> numbers of classes it can hold, folder
    "cityscapes": ((19,), "export_cityscapes"),
    "ade20k": ((150, 151), "export_ade20k"),
    "voc": ((21,), "results/VOC2012/Segmentation/comp6_{split}_cls"),
}


class Export:
    """Raises at once for what the server would reject: another number of classes, unknown names, other files."""

    def __init__(self, server, save_dir, split, num_classes, stems):
        classes, folder = FORMATS[server]
        if num_classes not in classes:
            known = " or ".join(map(str, classes))
            raise ValueError(f"--export {server} needs {known} classes; this checkpoint has {num_classes}")
        self.server, self.num_classes = server, num_classes
        self.folder = os.path.join(save_dir, folder.format(split=split))
        self.names = {stem: self.file_name(stem) for stem in stems}
        if len(set(self.names.values())) < len(stems):
            raise ValueError(f"--export {server}: two images would have the same file name; check --data-list")
        os.makedirs(self.folder, exist_ok=True)
        others = sorted(set(os.listdir(self.folder)) - set(self.names.values()))
        if others:
            raise ValueError(
                f"{self.folder} holds {len(others)} other files ({', '.join(others[:3])}), which the server would "
                "reject; empty it or choose another --save-dir"
            )

    def file_name(self, stem):
        if self.server != "cityscapes":
            return f"{stem}.png"
        match = re.match(r"[^_]+_\d{6}_\d{6}", os.path.basename(stem))
        if not match:
            raise ValueError(f"--export cityscapes: {stem} is not named CITY_SEQUENCE_FRAME as the server needs")
        return f"{match.group()}_pred_labelIds.png"

    def write(self, stem, prediction):
        if prediction.max() >= self.num_classes:
            raise ValueError(
                f"{stem}: class {prediction.max()} is not one of {self.num_classes}; nothing was written for it"
            )
        path = os.path.join(self.folder, self.names[stem])
        if self.server == "cityscapes":
            save_png(Image.fromarray(np.uint8(CITYSCAPES_IDS)[prediction]), path)
        elif self.server == "ade20k":  # with 151 classes, 0 is "other" already
            save_png(Image.fromarray(prediction.astype(np.uint8) + np.uint8(self.num_classes == 150)), path)
        else:
            save_label(prediction, devkit_palette(), path)


def save_label(label, palette, path):
    """A PNG of class indices with a palette, so that viewers show colours. Above 256 classes, 16 bit grey."""
    if label.dtype != np.uint8:
        return save_png(Image.fromarray(label.astype(np.uint16)), path)
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = np.asarray(palette, np.uint8).reshape(-1, 3)[:256]
    image = Image.fromarray(label)
    image.putpalette(colours.tobytes())
    save_png(image, path)


def save_png(image, path):
    """Written atomically."""
    with whole_file(path) as file:
        image.save(file, "png")
