"""The best and the worst pictures of an evaluation, kept while it runs and written for the report.

In the folder each picture has NAME.jpg, NAME_truth.png, NAME_prediction.png (palette pictures: values are classes) and
NAME.json with its score. Ranks write side by side: names differ, and the report takes the best and the worst of all.
"""

import json
import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ENDINGS = (".json", ".jpg", "_truth.png", "_prediction.png")


def picture_score(label, prediction, num_classes, ignore=255):
    """Mean IoU over the classes that occur in the label of this one picture; NaN where all is void."""
    valid = label != ignore
    truth, guess = label[valid].astype(np.int64), np.minimum(prediction[valid], num_classes).astype(np.int64)
    hits = np.bincount(truth[truth == guess], minlength=num_classes)
    pixels = np.bincount(truth, minlength=num_classes)
    union = pixels + np.bincount(guess, minlength=num_classes + 1)[:num_classes] - hits
    there = pixels > 0
    return float(np.mean(hits[there] / union[there])) if there.any() else float("nan")


class Examples:
    """Holds at most 2 * keep pictures, reduced to `side` pixels; `clear` removes those of an earlier evaluation."""

    def __init__(self, folder, num_classes, palette, ignore=255, keep=4, side=640, clear=True):
        self.folder, self.num_classes, self.ignore, self.keep, self.side = Path(folder), num_classes, ignore, keep, side
        self.palette = np.zeros((256, 3), np.uint8)
        self.palette[: len(palette)] = palette
        self.entries = []  # (score, name, image, label, prediction), best first
        for record in self.folder.glob("*.json") if clear else ():
            for ending in ENDINGS:
                (self.folder / (record.name[:-5] + ending)).unlink(missing_ok=True)

    def add(self, name, image, label, prediction):
        """image (H, W, 3) uint8 BGR; label and prediction (H, W)."""
        score = picture_score(label, prediction, self.num_classes, self.ignore)
        full = len(self.entries) == 2 * self.keep
        if np.isnan(score) or (full and self.entries[self.keep - 1][0] >= score >= self.entries[self.keep][0]):
            return
        factor = min(self.side / max(label.shape), 1)
        size = tuple(max(round(n * factor), 1) for n in label.shape[::-1])
        small = [cv2.resize(image, size, interpolation=cv2.INTER_AREA)]
        small += [cv2.resize(x.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) for x in (label, prediction)]
        self.entries.append((score, name, *small))
        self.entries.sort(key=lambda entry: -entry[0])
        if full:
            del self.entries[self.keep]

    def save(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        for score, name, image, label, prediction in self.entries:
            stem = str(self.folder / re.sub(r"[^\w.-]", "_", str(name)))
            cv2.imwrite(stem + ".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])
            for values, end in ((label, "_truth.png"), (prediction, "_prediction.png")):
                drawn = Image.fromarray(values)
                drawn.putpalette(self.palette.tobytes())
                drawn.save(stem + end)
            with open(stem + ".json", "w") as file:
                json.dump({"name": str(name), "score": score}, file)


def read_examples(folder, keep=4):
    """-> (best, worst): lists of (name, score, picture RGB, truth, prediction, palette); no picture is in both."""
    records = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            record = json.loads(path.read_text())
            records.append((float(record["score"]), str(record["name"]), str(path)[:-5]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # something else, or left half written by a killed evaluation
    records.sort(key=lambda record: -record[0])
    best = records[: min(keep, (len(records) + 1) // 2)]
    worst = records[len(best) :][-keep:][::-1]
    return [list(filter(None, map(read_example, some))) for some in (best, worst)]


def read_example(record):
    score, name, stem = record
    try:
        drawn = [Image.open(stem + ending) for ending in ENDINGS[1:]]
        picture, truth, prediction = (np.array(image) for image in drawn)
    except OSError:
        return None
    return name, score, picture, truth, prediction, np.array(drawn[1].getpalette(), np.uint8).reshape(-1, 3)
