"""What the Cityscapes benchmark defines beyond its 19 classes: label ids, sizes of instances."""

import numpy as np
from PIL import Image

from models.tables import CITYSCAPES_CATEGORIES as CATEGORIES
from models.tables import CITYSCAPES_IDS
from utils.evaluation.instances import InstanceScore

NUM_CLASSES = 19
IDS = np.uint8(CITYSCAPES_IDS)  # of the train ids 0..18
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


def read_instances(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(np.int32)
