"""--class-weights auto: the weight of each class by median frequency balancing, from a count of all training labels.

The frequency of a class is its share of the valid pixels in the images in which it occurs; its weight is the median of
the frequencies divided by its own. A class without a pixel gets weight 1, which has no effect, and a warning. The count
is cached (measured.py) until a file of the dataset changes.
"""

import sys

import numpy as np
from tqdm import tqdm

from utils import distributed
from utils.training import class_counts, measured


def automatic(data, begin):
    """-> a weight for each class, on every rank. Only the main rank counts, and prints the table.

    `data.label_counts()` yields the pixels of each value, (256,), of each label; `data.state()` identifies its files.
    A run that is resumed (`begin`, from resume.py) keeps its weights.
    """
    weights = begin["meta"].get("options", {}).get("auto_class_weights") if begin["resumed"] else None
    if weights is None and distributed.is_main():
        pixels, context = counted(data.label_counts, data.state(), len(data.names), data.total_len)
        weights = median_frequency(pixels, context)
        distributed.print_main(table(data.names, pixels, weights, data.total_len))
    return distributed.share(weights)


def median_frequency(pixels, context):
    """`pixels` of each class; `context`: valid pixels of the images in which it occurs. -> [weight of each class]"""
    pixels, context = np.asarray(pixels, float), np.asarray(context, float)
    present = pixels > 0
    if not present.any():
        raise ValueError("--class-weights auto: no training label has a pixel of any class; check the labels")
    frequency = pixels / np.maximum(context, 1)
    weights = np.where(present, np.median(frequency[present]) / np.maximum(frequency, 1e-30), 1.0)
    return [float(f"{weight:.6g}") for weight in weights]


def counted(label_counts, state, classes, total):
    """-> (pixels, context) as median_frequency takes them: from the cache, or counted now."""

    def count():
        pixels, context = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
        bar = {"total": total, "desc": "class weights", "unit": "label", "dynamic_ncols": True}
        for each in tqdm(label_counts(), disable=not sys.stderr.isatty(), **bar):
            pixels += each[:classes]
            context += np.where(each[:classes] > 0, each[:classes].sum(), 0)
        return {"pixels": pixels.tolist(), "context": context.tolist()}

    def valid(known):
        return len(known["pixels"]) == len(known["context"]) == classes

    counts = measured.cached("--class-weights auto", [state, classes], count, valid)
    return counts["pixels"], counts["context"]


def table(names, pixels, weights, total):
    """Lines: share of the labelled pixels and weight of each class; a warning for classes without a pixel."""
    width, everything = max(map(len, names)), max(sum(pixels), 1)
    lines = [f"class weights by median frequency, from {total} labels:"]
    for name, count, weight in zip(names, pixels, weights):
        lines.append(f"  {name:{width}}  {100 * count / everything:7.3f}%  weight {weight:.4g}")
    missing = class_counts.absent(pixels, names)
    if missing:
        lines.append(f"{class_counts.warning(missing, f'{total} labels')}; their weight is 1")
    return lines
