"""Instance-level IoU of the Cityscapes benchmark (iIoU, "nIoU" in its tool): small objects weigh as much as large ones.

Each pixel of an instance counts (average size of its class) / (size of this instance), correct or missed. False
positives count 1 each, because they belong to no instance. Groups of objects (values up to 1000) are left out.
"""

import numpy as np
from PIL import Image

from utils.evaluation.confusion import ratio


class InstanceScore:
    """`sizes`: {class: average instance size in pixels}; `ids`: of each class, value // 1000 in the instance files;
    `categories`: {name: classes}, of which those that consist of classes with instances are scored."""

    def __init__(self, sizes, ids, categories):
        self.sizes, self.class_of = sizes, np.full(256, 255, np.uint8)
        self.class_of[list(ids)] = range(len(ids))
        self.groups = {name: members for name, members in categories.items() if set(members) <= set(sizes)}
        self.hit, self.missed = (np.zeros(max(sizes) + 1 + len(self.groups)) for _ in range(2))  # groups come last

    def update(self, prediction, instances):
        """prediction (H, W) classes, instances (H, W) as stored: 1000 * label id + number."""
        instances = instances.reshape(-1).astype(np.int64)
        counts = np.bincount(instances)  # by value; few of them occur
        values = np.flatnonzero(counts)
        objects = values[values > 1000]
        classes_of_objects = self.class_of[np.minimum(objects // 1000, len(self.class_of) - 1)].astype(np.int64)
        wanted = np.full(len(counts), -1, np.int64)  # the right class of each instance
        wanted[objects] = classes_of_objects
        right = np.bincount(instances, prediction.reshape(-1) == wanted[instances])
        for value, label in zip(objects, classes_of_objects):
            if label in self.sizes:
                self.add(label, label, right[value], counts[value])
        for position, group in enumerate(self.groups.values()):
            inside = np.bincount(instances, np.isin(prediction, group).reshape(-1))
            for value, label in zip(objects, classes_of_objects):
                if label in group:
                    self.add(len(self.hit) - len(self.groups) + position, label, inside[value], counts[value])

    def add(self, entry, label, correct, size):
        weight = self.sizes[label] / float(size)
        self.hit[entry] += correct * weight
        self.missed[entry] += (size - correct) * weight

    def reduce(self, all_sum):
        self.hit, self.missed = all_sum(self.hit), all_sum(self.missed)
        return self

    def classes(self, counts):
        """counts: the pixel confusion matrix. -> iIoU per class, NaN where a class has no instances."""
        scores = np.full(len(counts), np.nan)
        for label in self.sizes:
            false = counts[:, label].sum() - counts[label, label]
            scores[label] = self.score(label, false)
        return scores

    def categories(self, counts):
        """-> {name: iIoU} of the groups."""
        result = {}
        for position, (name, members) in enumerate(self.groups.items()):
            others = np.setdiff1d(np.arange(len(counts)), members)
            false = counts[np.ix_(others, list(members))].sum()
            result[name] = self.score(len(self.hit) - len(self.groups) + position, false)
        return result

    def score(self, entry, false):
        hit = self.hit[entry : entry + 1]
        return float(ratio(hit, hit + self.missed[entry : entry + 1] + false)[0])


def read_instances(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(np.int32)
