"""Mean IoU on the validation pictures while training: each whole picture once, spread over the ranks."""

import numpy as np

from utils.distributed import all_sum, shard, spread
from utils.evaluation import stream
from utils.evaluation.confusion import ConfusionMatrix


def validate(model, pairs, normalise, num_classes, ignore=255, max_images=None, show=0):
    """`pairs.read(index)` -> image (H, W, 3) uint8 BGR, label (H, W); `pairs.total_len` of them.

    -> ConfusionMatrix over all ranks, and `show` (image, label, prediction) from all over those of this one. The model
    is left in training mode.
    """
    matrix, shown = ConfusionMatrix(num_classes, ignore), []
    count = min(max_images or pairs.total_len, pairs.total_len)
    mine = shard(count)
    chosen = spread(mine, show)
    model.eval()
    samples = ((index, pairs.read(index)) for index in mine)
    for index, (image, label), prediction in stream.predictions(model, samples, normalise):
        matrix.update(label, prediction)
        if index in chosen:
            shown.append((image, label, np.where(label == ignore, ignore, prediction)))
    model.train()
    return matrix.reduce(all_sum), shown
