"""The published Cityscapes loader step by step, for comparison only (benchmark and tests).

It shares no code with datasets/, so that each checks the other; only the random choices are those of datasets/.
"""

import cv2
import numpy as np

IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
MEAN = (104.00698793, 116.66876762, 122.67891434)  # BGR


def load(image_path, label_path):
    """-> image (H, W, 3) uint8 BGR, label (H, W) uint8 train ids; one pass over the label for each id."""
    image, raw = cv2.imread(str(image_path), cv2.IMREAD_COLOR), cv2.imread(str(label_path), cv2.IMREAD_GRAYSCALE)
    label = raw.copy()
    for value in range(-1, 34):
        label[raw == value] = IDS.index(value) if value in IDS else 255
    return image, label


def augment(image, label, crop, rng, ignore=255):
    """Scale the whole image, convert to float, pad, crop, mirror -> (3, h, w) float32, (h, w) uint8."""
    factor = 0.7 + int(rng.integers(15)) / 10.0
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    label = cv2.resize(label, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    image = np.asarray(image, np.float32)
    image -= np.array(MEAN, np.float32)
    down, right = max(crop[0] - label.shape[0], 0), max(crop[1] - label.shape[1], 0)
    if down > 0 or right > 0:
        image = cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_CONSTANT, value=(0.0, 0.0, 0.0))
        label = cv2.copyMakeBorder(label, 0, down, 0, right, cv2.BORDER_CONSTANT, value=(ignore,))
    top, left = (int(rng.integers(have - want + 1)) for have, want in zip(label.shape, crop))
    image = image[top : top + crop[0], left : left + crop[1]].transpose(2, 0, 1)
    label = label[top : top + crop[0], left : left + crop[1]]
    return (image[:, :, ::-1], label[:, ::-1]) if rng.random() < 0.5 else (image, label)
