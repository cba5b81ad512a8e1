"""Confusion matrix over pixels, and what is read from it: IoU per class, their mean, pixel accuracy."""

import numpy as np


class ConfusionMatrix:
    """counts[t, p]: pixels of class t predicted as p; the last column collects predictions that are no class at all.

    A label outside the classes that is not `ignore` is an error: it would hide a wrong label map.
    """

    def __init__(self, num_classes, ignore=255):
        self.counts = np.zeros((num_classes, num_classes + 1), np.int64)
        self.ignore = ignore

    def update(self, label, prediction):
        """Two integer arrays of the same shape."""
        if label.shape != prediction.shape:
            raise ValueError(
                f"label is {label.shape}, prediction {prediction.shape}: resize the logits to the label first"
            )
        classes = len(self.counts)
        valid = label != self.ignore
        truth, guess = label[valid].astype(np.int64), prediction[valid].astype(np.int64)
        wrong = np.unique(truth[(truth < 0) | (truth >= classes)])
        if wrong.size:
            raise ValueError(
                f"labels contain {wrong[:8].tolist()}, but there are {classes} classes (0..{classes - 1}) and "
                f"{self.ignore} is ignored; check --num-classes and --ignore-label"
            )
        guess = np.where((guess < 0) | (guess >= classes), classes, guess)
        self.counts += np.bincount(truth * (classes + 1) + guess, minlength=self.counts.size).reshape(self.counts.shape)

    @property
    def iou(self):
        """Per class; NaN for a class that neither labels nor predictions contain."""
        hit = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(1) + self.counts[:, :-1].sum(0) - hit
        return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)

    @property
    def accuracy(self):
        """Per class: the part of its pixels that were found; NaN for a class without pixels."""
        total = self.counts.sum(1)
        return np.divide(np.diag(self.counts), total, out=np.full(len(total), np.nan), where=total > 0)

    @property
    def miou(self):
        return float(np.nanmean(self.iou)) if np.isfinite(self.iou).any() else float("nan")

    @property
    def pixel_accuracy(self):
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")

    def table(self, names):
        """IoU, accuracy and share of pixels per class, as text."""
        total = max(self.counts.sum(), 1)
        width = max(len("pixel accuracy"), *(len(name) for name in names))
        lines = [f"{'class':{width}}     IoU     acc  pixels"]
        for name, iou, acc, row in zip(names, self.iou, self.accuracy, self.counts):
            cells = ["     -" if np.isnan(x) else f"{100 * x:6.2f}" for x in (iou, acc)]
            lines.append(f"{name:{width}}  {cells[0]}  {cells[1]}  {100 * row.sum() / total:5.1f}%")
        lines.append(f"{'mean IoU':{width}}  {100 * self.miou:6.2f}")
        lines.append(f"{'pixel accuracy':{width}}  {100 * self.pixel_accuracy:6.2f}")
        return "\n".join(lines)
