"""Confusion matrix over pixels, and what is computed from it: IoU per class, their mean, pixel accuracy, categories."""

import numpy as np


class ConfusionMatrix:
    """counts[t, p]: pixels of class t predicted as p; the last column counts predictions outside the classes.

    A label outside the classes that is not `ignore` is an error: it would hide a wrong label map. `ignore` may be one
    of the classes, as 0 of 151 in ADE20K: then it has no score and enters no mean, but to predict it is an error.
    """

    def __init__(self, num_classes, ignore=255):
        self.counts = np.zeros((num_classes, num_classes + 1), np.int64)
        self.ignore = ignore

    def update(self, label, prediction):
        """Two integer arrays of the same shape. -> the counts of this pair alone."""
        counts = self.count(label, prediction)
        self.counts += counts
        return counts

    def count(self, label, prediction):
        if label.shape != prediction.shape:
            raise ValueError(
                f"label is {label.shape}, prediction {prediction.shape}: resize the logits to the label first"
            )
        classes = len(self.counts)
        valid = label != self.ignore
        truth, guess = label[valid].astype(np.int64), prediction[valid].astype(np.int64)
        if truth.size and not 0 <= truth.min() <= truth.max() < classes:
            wrong = np.unique(truth[(truth < 0) | (truth >= classes)])
            raise ValueError(
                f"labels contain {wrong[:8].tolist()}, but there are {classes} classes (0..{classes - 1}) and "
                f"{self.ignore} is ignored; check --num-classes and --ignore-label"
            )
        guess[(guess < 0) | (guess > classes)] = classes
        return np.bincount(truth * (classes + 1) + guess, minlength=self.counts.size).reshape(self.counts.shape)

    def reduce(self, all_sum):
        """Add up the ranks: `all_sum` is utils.distributed.all_sum."""
        self.counts = all_sum(self.counts)
        return self

    @property
    def iou(self):
        """Per class; NaN for a class that neither labels nor predictions contain, and for the ignored one."""
        return self.scored(iou(self.counts))

    def scored(self, values):
        """Values per class, NaN for an ignored class."""
        return np.where(np.arange(len(values)) == self.ignore, np.nan, values)

    @property
    def accuracy(self):
        """Per class: recall, the share of its pixels that are predicted correctly; NaN for a class without pixels."""
        return ratio(np.diag(self.counts), self.counts.sum(1))

    @property
    def miou(self):
        """Mean over the classes in labels or predictions: an absent class is skipped, as by the Cityscapes tool."""
        return nan_mean(self.iou)

    @property
    def miou_absent_as_zero(self):
        """Mean over all classes, an absent one counting 0: what the official CCNet script prints."""
        return float(np.nan_to_num(self.iou[np.arange(len(self.counts)) != self.ignore]).mean())

    @property
    def mean_accuracy(self):
        return nan_mean(self.accuracy)

    @property
    def pixel_accuracy(self):
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")

    def category_iou(self, categories):
        """{name: class numbers} -> {name: IoU}; confusion within a category is no error."""
        return {name: group_iou(self.counts, members) for name, members in categories.items()}

    def table(self, names, extra=None):
        """Per class IoU, accuracy and pixels, then the means, as text. `extra`: {column: values per class}."""
        extra = extra or {}
        total = max(self.counts.sum(), 1)
        width = max(len("absent as zero"), *(len(name) for name in names))
        lines = [f"{'class':{width}}     IoU     acc  pixels          count" + "".join(f"{x:>8}" for x in extra)]
        columns = zip(names, self.iou, self.accuracy, self.counts.sum(1), *extra.values())
        for name, iou, accuracy, pixels, *others in columns:
            share = f"{100 * pixels / total:5.1f}%  {pixels:13d}"
            lines.append(
                f"{name:{width}}  {percent(iou)}  {percent(accuracy)}  {share}  " + "  ".join(map(percent, others))
            )
        means = [f"{'mean IoU':{width}}  {percent(self.miou)}  {percent(self.mean_accuracy)}{'':25}"]
        means += [percent(nan_mean(values)) for values in extra.values()]
        lines.append("  ".join(means))
        if not np.isnan(self.miou) and self.miou != self.miou_absent_as_zero:
            count = int(np.isnan(self.iou).sum()) - (0 <= self.ignore < len(names))
            text = f"{count} absent class{'es' if count > 1 else ''} counted 0, as the official script does"
            lines.append(f"{'absent as zero':{width}}  {percent(self.miou_absent_as_zero)}  ({text})")
        lines.append(f"{'pixel accuracy':{width}}  {percent(self.pixel_accuracy)}")
        if self.counts[:, -1].any():
            lines.append(f"{'no class':{width}}  {self.counts[:, -1].sum()} predicted pixels are outside the classes")
        return "\n".join(line.rstrip() for line in lines)


def iou(counts):
    hit = np.diag(counts).astype(np.float64)
    return ratio(hit, counts.sum(1) + counts[:, :-1].sum(0) - hit)


def group_iou(counts, members):
    """IoU of several classes taken as one: confusion between members of the group is no error."""
    members = list(members)
    hit = counts[np.ix_(members, members)].sum()
    return float(ratio(np.float64([hit]), np.float64([counts[members].sum() + counts[:, members].sum() - hit]))[0])


def ratio(part, whole):
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def nan_mean(values):
    values = np.asarray(values, np.float64)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def percent(value):
    return "     -" if np.isnan(value) else f"{100 * value:6.2f}"
