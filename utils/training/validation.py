"""Validation during training: the confusion matrix of the whole validation images, each image on one rank."""

import numpy as np

from utils.distributed import all_sum, shard, spread
from utils.drawing import figures
from utils.evaluation import protocol as protocols
from utils.evaluation import stream
from utils.evaluation.confusion import ConfusionMatrix


def validate(model, data, normalise, num_classes, ignore=255, max_images=None, protocol=None, show=0):
    """`data.read(index)` -> image (H, W, 3) uint8 BGR, label (H, W); `data.total_len` of them. `protocol`:
    how images are evaluated (utils/evaluation/protocol.py; None: whole images).

    -> ConfusionMatrix over all ranks; `show` samples (image, label, prediction) of this rank, evenly spaced. The model
    is left in training mode.
    """
    settings = {**(protocols.settings(protocol) if protocol else {}), "flip_pairs": getattr(data, "flip_pairs", ())}
    matrix, shown = ConfusionMatrix(num_classes, ignore), []
    count = min(max_images or data.total_len, data.total_len)
    mine = shard(count)
    chosen = spread(mine, show)
    model.eval()
    samples = ((index, data.read(index)) for index in mine)
    for index, (image, label), prediction in stream.predictions(model, samples, normalise, **settings):
        matrix.update(label, prediction)
        if index in chosen:
            shown.append((image, label, np.where(label == ignore, ignore, prediction)))
    model.train()
    return matrix.reduce(all_sum), shown


def panels(shown, palette):
    """-> a row of RGB images for each (image, label, prediction): the image and both maps in colours."""
    return [[figures.visible(image), *(figures.colourise(x, palette) for x in maps)] for image, *maps in shown]
