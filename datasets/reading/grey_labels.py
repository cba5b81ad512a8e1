"""Decide what grey values in the label files of a folder mean, where its class file does not define it.

Usually a value is the number of a class, and 255 is void. But masks of two classes are often saved as 0 and 255, and
label images in colours are often saved in grey. The decision is made from the label files, for all splits from those of
the training split, so that every rank, worker, split and later run makes the same decision:

    numbers  values are class numbers; 255 was not seen
    void     values are class numbers; 255 is void
    binary   two classes, and 0 and 255 are the only values: 255 is class 1
    colours  every value v is the colour (v, v, v) of a class, and not all of them are class numbers
"""

from functools import lru_cache

import numpy as np

from datasets.reading import image_io, label_io
from datasets.reading.image_io import DataError

MASK = frozenset((0, 255))
MOST = 256  # label files that are examined, evenly spread
FORMS = ("numbers", "void", "binary", "colours")


def decide(labels, numbers, colours, two_classes, explicit, recorded):
    """-> (one of FORMS, values in the labels, number of files examined).

    `labels`: label files; `numbers`: values that the class file defines; `colours`: its RGB colours, or None.
    `two_classes`: there are exactly two, with values 0 and 1. `explicit`: --ignore-label is given. `recorded`: the
    decision for the data of a checkpoint, which is used if these files leave it open.
    """
    greys = {colour[0] for colour in colours or () if colour and colour[0] == colour[1] == colour[2]}
    by_colour = bool(greys - set(numbers))
    if not by_colour and not two_classes:
        return ("void" if explicit else "numbers"), frozenset(), 0
    sample = spread(labels)
    values = values_in(tuple(sample), bool(colours), frozenset(greys) if by_colour else frozenset())
    if by_colour and values and values <= greys and not values <= set(numbers):
        return "colours", values, len(sample)
    if two_classes and not explicit and values == MASK:
        return ("void" if recorded == "void" else "binary"), values, len(sample)
    return ("void" if explicit or 255 in values else "numbers"), values, len(sample)


def spread(labels):
    """Up to MOST of the labels, evenly spread; the choice is deterministic."""
    if len(labels) <= MOST:
        return list(labels)
    return [labels[k * len(labels) // MOST] for k in range(MOST)]


@lru_cache(maxsize=8)
def values_in(labels, painted, greys):
    """The values in these label files, without files that do not decode or that hold colours.

    Stops when further files cannot change the decision: at 255 together with a class number that is not a colour, or
    at many values.
    """
    result = set()
    for path in labels:
        before = len(image_io.NOTICES)
        try:
            values = label_io.stored_values(path)
        except DataError:  # reading it later raises the error
            continue
        finally:
            del image_io.NOTICES[before:]
        if values.ndim == 3:
            if painted or not label_io.equal_channels(values):
                continue
            values = values[:, :, 0]
        result.update(np.unique(values).tolist())
        others = result - {0, 255} - greys
        if len(result) > 300 or others and (255 in result or others - {1}):
            break
    return frozenset(result)
