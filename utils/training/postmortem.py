"""A loss or the gradient is no number: keep what led to it, and say where it was."""

import math
import os

from utils import distributed
from utils.weights import checkpoint


def stop(folder, model, place, losses, means, batch, settings):
    """Write the weights before the step and this rank's batch, then raise. Every rank calls it.

    place: {"step": .., "lr": ..}; losses: {name: Var} of this rank; means: {name: float} of all; batch: pieces, each of
    (images, labels, names).
    """
    own = {name: float(value.item()) for name, value in losses.items()}
    names = [name for *_, some in batch for name in some]
    everyones = distributed.gather_texts(" ".join(names))
    os.makedirs(folder, exist_ok=True)  # another node may not have it
    path = os.path.join(folder, f"postmortem_{place['step']}_rank{distributed.rank()}.npz")
    about = {**place, "losses": {key: repr(value) for key, value in own.items()}, "samples": names, "options": settings}
    arrays = {}
    for k, (images, labels, _) in enumerate(batch):
        arrays[f"batch/images{k}"] = images.numpy() if hasattr(images, "numpy") else images
        arrays[f"batch/labels{k}"] = labels
    checkpoint.save(path, model, about, arrays)
    distributed.wait_for_all()
    parts = ", ".join(f"{name} {value:.4g}" for name, value in means.items() if name in own)
    here = ", ".join(name for name, value in own.items() if not math.isfinite(value)) or "none"
    raise FloatingPointError(
        f"not finite at step {place['step']} (lr {place['lr']:.3g}): {parts}; of these on this rank: {here}. "
        f"Samples: {' | '.join(everyones)}. The weights before the step and the batch are in {path}. "
        "Next: look at these samples; a lower --learning-rate or some --warmup-steps is the usual remedy"
    )
