"""Everything that an evaluation counts, image by image: pixels, categories, instances, boundaries; and its files."""

import csv
import os

import numpy as np

from utils.evaluation.confusion import ConfusionMatrix, group_iou, iou, nan_mean, percent
from utils.files import whole_file

PER_IMAGE = ("miou", "pixel_accuracy", "pixels")


class Scores:
    """The scores of `count` images, which all ranks evaluate together."""

    def __init__(self, names, ignore, count, categories=None, instance=None, boundary=None):
        self.names, self.categories, self.instance, self.boundary = list(names), categories, instance, boundary
        self.matrix = ConfusionMatrix(len(names), ignore)
        self.per_image = np.zeros((count, len(PER_IMAGE) + len(names)))
        self.left_out = np.zeros(1, np.int64)

    def update(self, number, label, prediction, instances=None):
        """-> the mean IoU of this image alone."""
        counts = self.matrix.update(label, prediction)
        total, class_iou = counts.sum(), self.matrix.scored(iou(counts))
        right = np.trace(counts) / total if total else np.nan
        self.per_image[number] = [nan_mean(class_iou), right, total, *class_iou]
        if self.instance and instances is not None:
            self.instance.update(prediction, instances)
        if self.boundary:
            self.boundary.update(label, prediction)
        return self.per_image[number, 0]

    def leave_out(self, number):
        """This image could not be read."""
        self.per_image[number] = np.nan
        self.per_image[number, 2] = 0
        self.left_out += 1

    def reduce(self, all_sum):
        for part in (self.matrix, self.instance, self.boundary):
            if part:
                part.reduce(all_sum)
        self.per_image, self.left_out = all_sum(self.per_image), all_sum(self.left_out)

    def table(self):
        counts, extra = self.matrix.counts, {}
        if self.instance:
            extra["iIoU"] = self.instance.classes(counts)
        if self.boundary:
            extra.update({"bIoU": self.boundary.iou, "bF": self.boundary.f_score})
        text = [self.matrix.table(self.names, extra)]
        if self.categories:
            scores = self.matrix.category_iou(self.categories)
            instances = self.instance.categories(counts) if self.instance else {}
            width = max(map(len, [*scores, "categories"]))
            text.append(f"\n{'category':{width}}     IoU" + "    iIoU" * bool(self.instance))
            for name, value in scores.items():
                text.append(
                    f"{name:{width}}  {percent(value)}  {percent(instances[name]) if name in instances else ''}"
                )
            means = [list(scores.values())] + [list(instances.values())] * bool(instances)
            text.append(f"{'mean':{width}}  " + "  ".join(percent(nan_mean(values)) for values in means))
        return "\n".join(line.rstrip() for line in text)

    def result(self):
        """What goes into result.json; NaN (a class in neither labels nor predictions) becomes null."""
        matrix = self.matrix

        def by_name(values):
            return {name: number(value) for name, value in zip(self.names, values)}

        result = {
            "miou": number(matrix.miou),
            "miou_absent_as_zero": number(matrix.miou_absent_as_zero),
            "pixel_accuracy": number(matrix.pixel_accuracy),
            "mean_accuracy": number(matrix.mean_accuracy),
            "classes_counted": int(np.isfinite(matrix.iou).sum()),
            "predictions_outside_the_classes": int(matrix.counts[:, -1].sum()),
            "iou": by_name(matrix.iou),
            "accuracy": by_name(matrix.accuracy),
            "pixels": {name: int(row.sum()) for name, row in zip(self.names, matrix.counts)},
        }
        if self.categories:
            scores = {name: group_iou(matrix.counts, members) for name, members in self.categories.items()}
            result["category_iou"] = {name: number(value) for name, value in scores.items()}
            result["category_miou"] = number(nan_mean(list(scores.values())))
        if self.instance:
            scores, groups = self.instance.classes(matrix.counts), self.instance.categories(matrix.counts)
            result["iiou"] = {
                n: number(s) for k, (n, s) in enumerate(zip(self.names, scores)) if k in self.instance.sizes
            }
            result["iiou_mean"] = number(nan_mean(scores))
            result["category_iiou"] = {name: number(value) for name, value in groups.items()}
            result["category_iiou_mean"] = number(nan_mean(list(groups.values())))
        if self.boundary:
            means = map(number, self.boundary.means)
            result["boundary_miou"], result["boundary_f_score"] = means
            result["boundary_iou"] = by_name(self.boundary.iou)
        return result

    def official(self):
        """The two keys of the official script, by its rule: an absent class counts 0."""
        return {"meanIU": self.matrix.miou_absent_as_zero, "IU_array": np.nan_to_num(self.matrix.iou).tolist()}

    def write_tables(self, folder, samples):
        """confusion.csv (rows: true classes, columns: predictions) and per_image.csv, best image first."""
        rows = [[name, *counts] for name, counts in zip(self.names, self.matrix.counts.tolist())]
        write_csv(os.path.join(folder, "confusion.csv"), ["true \\ predicted", *self.names, "no class"], rows)
        rows = []
        for k in self.ranking():
            rows.append([samples[k], *("" if np.isnan(x) else f"{x:.6f}" for x in self.per_image[k])])
            rows[-1][3] = int(self.per_image[k, 2])
        write_csv(os.path.join(folder, "per_image.csv"), ["name", *PER_IMAGE, *self.names], rows)

    def ranking(self):
        """Numbers of the images, best mean IoU first; those without a labelled pixel last."""
        scores = self.per_image[:, 0]
        return sorted(range(len(scores)), key=lambda k: (np.isnan(scores[k]), -np.nan_to_num(scores[k]), k))


def number(value):
    return None if np.isnan(value) else float(value)


def write_csv(path, header, rows):
    with whole_file(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
