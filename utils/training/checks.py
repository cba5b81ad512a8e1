"""Before the first step: impossible sizes, settings without effect, classes without a label, too little memory."""

import math

from utils import distributed
from utils.training import class_counts, limits, memory


def before_first_step(data, split, size, crops, ohem_keep, model, settings, device):
    """Raise for an impossible crop, on every rank; print the warnings on the main rank. -> classes without a pixel.

    `data`: the training dataset; `size`: of a crop; `crops`: of all ranks in one pass through the network;
    `ohem_keep`: None without OHEM; `settings`: the names of model, VAN size and optimizer.
    """
    local, frames = distributed.local_batch(crops), getattr(data, "frames", 1)
    limits.check_crop(size, local, len(data.names), frames)
    if not distributed.is_main():
        return []
    lines = limits.useless_ohem(ohem_keep, crops, size) if ohem_keep is not None else []
    sizes, pixels = class_counts.sample(lambda index: data.open_pair(index)[1], data.total_len)
    lines += limits.padded_crops(size, sizes, data.transform.scale)
    missing = [] if pixels is None else class_counts.absent(pixels, data.names)
    if missing:
        lines.append(class_counts.warning(missing, f"the {data.total_len} labels of --split {split}"))
    name, van_size, optimizer = settings
    weights = sum(math.prod(p.shape) for p in model.parameters())
    classes, pixels = len(data.names), local * math.prod(size)
    need = memory.estimate(name, van_size, weights, pixels, classes, optimizer, frames)
    lines += memory.warning(need, memory.available(device), memory.ranks_here(device), (local, *size), frames)
    distributed.print_main(lines)
    return missing
