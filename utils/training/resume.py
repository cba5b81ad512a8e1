"""Where a run starts: from random weights, from given weights, or from the checkpoint of an earlier run.

Only the main rank reads files, which other nodes may not have: small values are shared at once, the arrays in `load`.
"""

from utils import distributed
from utils.training import optim
from utils.weights import any_file, checkpoint, sources
from utils.weights.network import resolve, summary


def starting_point(folder, resume, restore_from, network, settings, compare, source="auto", step=0, samples=0):
    """-> {"step", "samples", "best", "meta", "source", "resumed", "network"} on every rank, "arrays" on the main one.

    `resume`: a checkpoint, "auto" for the newest intact one in `folder` (none: start from the beginning), or None.
    `restore_from`: weights in any format, `source`: the code that wrote them. `network`: the options of the network,
    None where no flag gives them. `compare(settings, earlier, path)`: lines about `settings`, the options of this run,
    that differ from those of the resumed one; raises where it cannot be resumed. "network" of the result is what to
    build: "model", "recurrence", "options".
    """
    begin = {"step": step, "samples": samples, "best": {"miou": -1.0, "step": 0}, "meta": {}, "source": None}
    begin["resumed"], arrays = False, {}
    if distributed.is_main():
        checkpoint.prepare_folder(folder)
        path = checkpoint.newest(folder) if resume == "auto" else resume
        if resume == "auto" and not path:
            print(f"--resume auto: no checkpoint in {folder} yet, the run starts from the beginning")
        if path:
            arrays, position = resumed(path, settings, compare, restore_from, step)
            begin.update(position)
        elif restore_from:
            try:
                path, arrays, meta = any_file.take(restore_from, source)
            except FileNotFoundError:
                sources.check_exists(restore_from)
                raise
            begin.update(meta=meta, source=path)
        elif restore_from == "":
            print('--restore-from "": the network starts from random weights')
        begin["network"], lines = resolve(network, begin["source"] or "", arrays, begin["meta"], training=True)
        if begin["source"] and not begin["resumed"]:
            lines = [*meta["remarks"], summary(begin["network"], network, meta), *lines]
        distributed.print_main(lines)
    return {**distributed.share(begin), "arrays": arrays}


def resumed(path, settings, compare, restore_from, step):
    """-> the arrays of the checkpoint to resume, and its part of the starting point."""
    path, line = any_file.existing(path)
    arrays, meta = checkpoint.read(path)
    if "samples" not in meta:
        raise ValueError(f"{path} has only weights, nothing to resume; start from it with --restore-from")
    lines = [line] if line else []
    lines += compare(settings, meta["options"], path)
    lines.append(f"resumed from {path}: step {meta['step']}, epoch {meta['epoch']} + {meta['position']} samples")
    if restore_from:
        lines.append(f"--restore-from {restore_from} is not read: the run is resumed from {path}")
    if step:
        lines.append(f"--start-iters {step} has no effect: the run is resumed at step {meta['step']}")
    distributed.print_main(lines)
    begin = {key: meta[key] for key in ("step", "samples", "best")}
    return arrays, {**begin, "meta": meta, "source": path, "resumed": True}


def load(begin, model, criterion, optimizer):
    """Load the weights and the state of `begin` on every rank."""
    arrays, source = begin["arrays"], begin["source"]
    if begin["resumed"] and distributed.is_main():
        checkpoint.load_weights(model, {k: v for k, v in arrays.items() if "/" not in k}, source)
        weights = {k.split("/", 1)[1]: v for k, v in arrays.items() if k.startswith("criterion/")}
        checkpoint.load_weights(criterion, weights, source)
        optim.load_moments(optimizer, arrays, source)
    elif arrays:
        print(any_file.start_from(model, arrays, source))
    distributed.broadcast([*model.state_dict().values(), *criterion.state_dict().values()])
    if begin["resumed"]:
        distributed.broadcast(value for _, value in optim.named_moments(optimizer))


def state(optimizer, criterion):
    """The arrays of a checkpoint besides the weights."""
    arrays = {f"criterion/{key}": value.numpy() for key, value in criterion.state_dict().items()}
    return {**arrays, **{key: value.numpy() for key, value in optim.named_moments(optimizer)}}


def position(step, samples, epoch_length, best, seed, loss_scale):
    """The part of a checkpoint's meta data that a resumed run reads."""
    epoch, index = divmod(samples, epoch_length)
    place = {"step": step, "samples": samples, "epoch": epoch, "position": index, "best": best}
    return {**place, "seed": seed, "loss_scale": loss_scale}
