"""What grey values in the label files of a folder mean, where its class file leaves that open.

Usually a value is the number of a class, and 255 is void. But masks of two classes are often saved as 0 and 255, and
label images of classes with colours are often saved in grey. The label files themselves decide, those of the training
split for all splits, so that every rank, worker, split and later run decides alike:

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
MOST = 256  # label files that are looked at, evenly spread
FORMS = ("numbers", "void", "binary", "colours")


def decide(labels, numbers, colours, two_classes, explicit, recorded):
    """-> (one of FORMS, values found, number of files looked at).

    `labels`: label files; `numbers`: values that the class file knows; `colours`: its RGB colours, or None.
    `two_classes`: exactly two, and nothing said of other values. `explicit`: --ignore-label says what is void.
    `recorded`: what was decided for the data of a checkpoint, which counts where these files alone leave it open.
    """
    greys = {colour[0] for colour in colours or () if colour and colour[0] == colour[1] == colour[2]}
    by_colour = bool(greys - set(numbers))
    if not by_colour and not two_classes:
        return ("void" if explicit else "numbers"), frozenset(), 0
    sample = spread(labels)
    found = seen(tuple(sample), bool(colours), frozenset(greys) if by_colour else frozenset())
    if by_colour and found and found <= greys and not found <= set(numbers):
        return "colours", found, len(sample)
    if two_classes and not explicit and found == MASK:
        return ("void" if recorded == "void" else "binary"), found, len(sample)
    return ("void" if explicit or 255 in found else "numbers"), found, len(sample)


def spread(labels):
    """Up to MOST of them, evenly spread; always the same."""
    if len(labels) <= MOST:
        return list(labels)
    return [labels[k * len(labels) // MOST] for k in range(MOST)]


@lru_cache(maxsize=8)
def seen(labels, painted, greys):
    """The values in these label files; a file that does not decode, or that is painted in colours, says nothing.

    Looking ends where no more can be learnt: 255 beside a class number that is no colour, or many values.
    """
    found = set()
    for path in labels:
        known = len(image_io.NOTICES)
        try:
            values = label_io.stored_values(path)
        except DataError:  # reading it later says what is wrong
            continue
        finally:
            del image_io.NOTICES[known:]
        if values.ndim == 3:
            if painted or not label_io.equal_channels(values):
                continue
            values = values[:, :, 0]
        found.update(np.unique(values).tolist())
        others = found - {0, 255} - greys
        if len(found) > 300 or others and (255 in found or others - {1}):
            break
    return frozenset(found)
