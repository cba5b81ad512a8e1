"""Scores along the boundaries of classes: boundary IoU (Cheng et al., CVPR 2021) and boundary F-score, per class.

Boundary IoU compares the pixels within `distance` inside each outline. Precision is the part of
the predicted outline within `distance` of the true one, recall the part of the true one within `distance` of the
predicted one. Sums run over all images, like those of the confusion matrix; ignored pixels are not counted.
"""

import cv2
import numpy as np

from utils.evaluation.confusion import nan_mean, ratio


class BoundaryScore:
    def __init__(self, num_classes, ignore=255, fraction=0.02):
        """`fraction` of the image's diagonal is the distance; it is at least one pixel."""
        self.ignore, self.fraction = ignore, fraction
        # pixels of the bands: in both, in either; of the outlines: predicted and near, predicted, true and near, true
        self.sums = np.zeros((6, num_classes), np.int64)

    def update(self, label, prediction):
        distance = max(round(self.fraction * float(np.hypot(*label.shape))), 1)
        valid = label != self.ignore
        prediction = np.where(valid, prediction, self.ignore)  # both have the same outline along ignored regions
        for k in range(self.sums.shape[1]):
            truth, guess = ((x == k).astype(np.uint8) for x in (label, prediction))
            if k == self.ignore or not (truth.any() or guess.any()):
                continue
            bands = [inner_band(mask, distance) & valid for mask in (truth, guess)]
            lines = [inner_band(mask, 1) & valid for mask in (truth, guess)]
            near = [distance_to(line) <= distance for line in lines]
            parts = bands[0] & bands[1], bands[0] | bands[1], lines[1] & near[0], lines[1], lines[0] & near[1], lines[0]
            self.sums[:, k] += [np.count_nonzero(part) for part in parts]

    def reduce(self, all_sum):
        self.sums = all_sum(self.sums)
        return self

    @property
    def iou(self):
        return ratio(self.sums[0], self.sums[1])

    @property
    def f_score(self):
        """Harmonic mean of precision and recall; 0 where only one of the two outlines exists."""
        precision, recall = ratio(self.sums[2], self.sums[3]), ratio(self.sums[4], self.sums[5])
        absent = np.isnan(precision) & np.isnan(recall)
        p, r = np.nan_to_num(precision), np.nan_to_num(recall)
        return np.where(absent, np.nan, np.divide(2 * p * r, p + r, out=np.zeros_like(p), where=p + r > 0))

    @property
    def means(self):
        return nan_mean(self.iou), nan_mean(self.f_score)


def inner_band(mask, distance):
    """Pixels of the mask within `distance` of a pixel outside it; all outside the image are outside it. -> bool"""
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(
        framed, np.ones((3, 3), np.uint8), iterations=distance, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return (mask > 0) & (inner[1:-1, 1:-1] == 0)


def distance_to(line):
    """The exact distance of every pixel to the nearest pixel of the line; infinite without a line."""
    if not line.any():
        return np.full(line.shape, np.inf)
    return cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
