"""What the Cityscapes benchmark knows beyond its 19 classes: label ids, categories, instances."""

import os

import numpy as np
from PIL import Image

from models.tables import CITYSCAPES_IDS
from utils.evaluation.instances import InstanceScore

NUM_CLASSES = 19
IDS = np.uint8(CITYSCAPES_IDS)  # of the train ids 0..18
CATEGORIES = {  # name -> train ids
    "flat": (0, 1),
    "construction": (2, 3, 4),
    "object": (5, 6, 7),
    "nature": (8, 9),
    "sky": (10,),
    "human": (11, 12),
    "vehicle": (13, 14, 15, 16, 17, 18),
}
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


def instance_score():
    train_ids = np.full(256, 255, np.uint8)
    train_ids[IDS] = np.arange(NUM_CLASSES)
    return InstanceScore(INSTANCE_SIZES, train_ids, {name: CATEGORIES[name] for name in ("human", "vehicle")})


def instance_file(label_path):
    """The file of instances that belongs to a file of label ids, or None."""
    path = str(label_path or "").replace("_labelIds.png", "_instanceIds.png")
    return path if path.endswith("_instanceIds.png") and os.path.exists(path) else None


def read_instances(path):
    with Image.open(path) as picture:
        return np.asarray(picture).astype(np.int32)
