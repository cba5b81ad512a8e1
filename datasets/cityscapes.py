"""Cityscapes: street scenes of 50 cities, 2048x1024, straight from the label ids of the original files.

leftImg8bit/<split>/<city>/<city>_<seq>_<frame>_leftImg8bit.png with gtFine/.../..._gtFine_labelIds.png (train, val) and
gtCoarse/.../..._gtCoarse_labelIds.png (train_extra). `train+` and `train++` are the official lists of fine and coarse
labels together. Files *_labelTrainIds.png are read where *_labelIds.png are missing. The test split has no labels.
"""

import os

from datasets.files import FileDataset, hex_palette, value_table
from models.tables import CITYSCAPES_CATEGORIES, CITYSCAPES_IDS

NAMES = """
    road; sidewalk; building; wall; fence; pole; traffic light; traffic sign; vegetation; terrain; sky; person; rider;
    car; truck; bus; train; motorcycle; bicycle
"""
NAMES = tuple(" ".join(name.split()) for name in NAMES.split(";"))
PALETTE = hex_palette(
    """
    804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 00008e 000046 003c64
    005064 0000e6 770b20
"""
)
# label id -> train id; None: void
VALUES = {**dict.fromkeys(range(34)), **{label: number for number, label in enumerate(CITYSCAPES_IDS)}}
INSTANCE_SIZES = {  # train id -> average pixels of an instance, from the official tool
    11: 3462.4756337644,
    12: 3930.4788056518,
    13: 12794.0202738185,
    14: 27855.1264367816,
    15: 35732.1511111111,
    16: 67583.7075812274,
    17: 6298.7200839748,
    18: 4672.3249222261,
}
TRAIN_IDS = {number: number for number in range(19)}
PARTS = {  # split -> (folder of the labels, split on disk)
    "train": [("gtFine", "train")],
    "val": [("gtFine", "val")],
    "trainval": [("gtFine", "train"), ("gtFine", "val")],
    "train_extra": [("gtCoarse", "train_extra")],
    "train+": [("gtFine", "train"), ("gtCoarse", "train_extra")],
    "train++": [("gtFine", "train"), ("gtFine", "val"), ("gtCoarse", "train_extra")],
    "test": [(None, "test")],
}


class Cityscapes(FileDataset):
    title, looks_like = "Cityscapes", "leftImg8bit/ and gtFine/ (or gtCoarse/)"
    names, palette, values, splits = NAMES, PALETTE, VALUES, tuple(PARTS)
    expected = {"train": 2975, "val": 500, "trainval": 3475, "train_extra": 19998, "train+": 22973, "test": 1525}
    ids = CITYSCAPES_IDS  # the test server expects these instead of train ids
    categories, instance_sizes = CITYSCAPES_CATEGORIES, INSTANCE_SIZES

    @classmethod
    def is_root(cls, folder):
        return (folder / "leftImg8bit").is_dir() and any((folder / name).is_dir() for name in ("gtFine", "gtCoarse"))

    def pairs_of(self, split):
        pairs = []
        for folder, part in PARTS[split]:
            ends = [f"_{folder}_labelIds.png", f"_{folder}_labelTrainIds.png"]
            labels = folder and f"{folder}/{part}"
            pairs += self.match(f"leftImg8bit/{part}", labels, "_leftImg8bit.png", ends)
        return pairs

    def table_for(self, label_path):
        return value_table(TRAIN_IDS, self.ignore_label) if "labelTrainIds" in label_path.name else self.table

    def instance_file(self, index):
        path = str(self.pairs[index][1] or "").replace("_labelIds.png", "_instanceIds.png")
        return path if path.endswith("_instanceIds.png") and os.path.exists(path) else None
