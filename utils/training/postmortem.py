"""A loss or gradient that is NaN or infinity ends the run; the weights and the batch that led to it are saved."""

import math
import os

from utils import distributed
from utils.weights import checkpoint


def check(folder, model, place, losses, means, batch, settings):
    """Nothing if all `means` are finite. Else write the weights before the step and this rank's batch, and raise.

    Every rank calls it. place: {"step": .., "lr": ..}; losses: {name: Var} of this rank; means: {name: float} over all
    ranks; batch: a list of (images, labels, names).
    """
    if all(map(math.isfinite, means.values())):
        return
    local = {name: float(value.item()) for name, value in losses.items()}
    samples = [name for *_, names in batch for name in names]
    arrays = {}
    for k, (images, labels, _) in enumerate(batch):
        arrays[f"batch/images{k}"], arrays[f"batch/labels{k}"] = images.numpy(), labels
    all_samples = distributed.gather_texts(" ".join(samples))
    os.makedirs(folder, exist_ok=True)  # another node may not have it
    path = os.path.join(folder, f"postmortem_{place['step']}_rank{distributed.rank()}.npz")
    values = {name: repr(value) for name, value in local.items()}
    checkpoint.save(path, model, {**place, "losses": values, "samples": samples, "options": settings}, arrays)
    distributed.wait_for_all()
    parts = ", ".join(f"{name} {value:.4g}" for name, value in means.items() if name in local)
    here = ", ".join(name for name, value in local.items() if not math.isfinite(value)) or "none"
    raise FloatingPointError(
        f"not finite at step {place['step']} (lr {place['lr']:.3g}): {parts}; not finite on this rank: {here}. "
        f"Samples: {' | '.join(all_samples)}. The weights before the step and the batch are in {path}. "
        "Fix: check these samples; usually a lower --learning-rate or some --warmup-steps help"
    )
