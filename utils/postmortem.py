"""The loss is no number: keep what led to it, and say where it was."""

import math
import os

from utils import checkpoint, distributed


def stop(folder, model, place, losses, means, batch, names, settings):
    """Write the weights before the step and this rank's batch, then raise. Every rank calls it.

    place: {"step": .., "lr": ..}; losses: {name: Var} of this rank; means: {name: float} of all; batch: {name: array}.
    """
    own = {name: float(value.item()) for name, value in losses.items()}
    everyones = distributed.gather_texts(" ".join(names))
    os.makedirs(folder, exist_ok=True)  # another node may not have it
    path = os.path.join(folder, f"postmortem_{place['step']}_rank{distributed.rank()}.npz")
    about = {**place, "losses": {key: repr(value) for key, value in own.items()}, "samples": names, "options": settings}
    checkpoint.save(path, model, about, {f"batch/{key}": value for key, value in batch.items()})
    distributed.wait_for_all()
    parts = ", ".join(f"{name} {value:.4g}" for name, value in means.items() if name in own)
    here = ", ".join(name for name, value in own.items() if not math.isfinite(value)) or "none"
    raise FloatingPointError(
        f"the loss is no finite number at step {place['step']} (lr {place['lr']:.3g}): {parts}; not finite on this "
        f"rank: {here}. Samples: {' | '.join(everyones)}. The weights before the step and the batch are in {path}. "
        "Next: look at these samples; a lower --learning-rate or some --warmup-steps is the usual remedy"
    )
