"""Where a run starts: from nothing, from weights, or from where another one stopped.

Only the main rank reads files, which other nodes may not have: what is small is shared at once, the arrays in `load`.
"""

from utils import distributed
from utils.options import train as train_options
from utils.training import optim
from utils.weights import any_file, checkpoint, network, sources


def starting_point(folder, resume, restore_from, settings, step=0, samples=0):
    """-> {"step", "samples", "best", "meta", "source", "resumed", "network"} on every rank, "arrays" on the main one.

    `resume`: a checkpoint, "auto" for the newest whole one in `folder` (none there: a fresh start), or None.
    `restore_from`: weights from any source. `settings`: the options of this run, held against those of the resumed one
    and against what the file says of its network. "network" is what to build: "model", "recurrence", "options".
    """
    begin = {"step": step, "samples": samples, "best": {"miou": -1.0, "step": 0}, "meta": {}, "source": None}
    begin["resumed"], arrays = False, {}
    if distributed.is_main():
        checkpoint.prepare_folder(folder)
        path = checkpoint.newest(folder) if resume == "auto" else resume
        if resume == "auto" and not path:
            print(f"--resume auto: no checkpoint in {folder} yet, so the run starts at its beginning")
        if path:
            arrays, found = resumed(path, settings, step)
            begin.update(found)
        elif restore_from:
            try:
                path, arrays, meta = any_file.take(restore_from, settings.get("source", "auto"))
            except FileNotFoundError:
                sources.check_exists(restore_from)
                raise
            begin.update(meta=meta, source=path)
        elif restore_from == "":
            print('--restore-from "": the network starts from random weights')
        asked = train_options.network_options(settings)
        begin["network"], lines = network.resolve(asked, begin["source"] or "", arrays, begin["meta"], training=True)
        if begin["source"] and not begin["resumed"]:
            lines = [*meta["remarks"], network.summary(begin["network"], asked, meta), *lines]
        for line in lines:
            print(line)
    return {**distributed.share(begin), "arrays": arrays}


def resumed(path, settings, step):
    """-> the arrays of the checkpoint that a run goes on from, and what it says of its place."""
    path, line = any_file.existing(path)
    arrays, meta = checkpoint.read(path)
    if "samples" not in meta:
        raise ValueError(f"{path} has weights alone, nothing to resume; start from it by --restore-from")
    lines = [line] if line else []
    lines += train_options.compare(settings, meta["options"], path)
    lines.append(f"resumed from {path}: step {meta['step']}, epoch {meta['epoch']} + {meta['position']} samples")
    if settings.get("restore_from"):
        lines.append(f"--restore-from {settings['restore_from']} is not read: the run goes on from {path}")
    if step:
        lines.append(f"--start-iters {step} is not the first step: the run goes on at step {meta['step']}")
    for line in lines:
        print(line)
    place = {key: meta[key] for key in ("step", "samples", "best")}
    return arrays, {**place, "meta": meta, "source": path, "resumed": True}


def load(begin, model, criterion, optimizer):
    """Bring model, criterion and optimiser of every rank to `begin`."""
    arrays, source = begin["arrays"], begin["source"]
    if begin["resumed"] and distributed.is_main():
        checkpoint.load_weights(model, {k: v for k, v in arrays.items() if "/" not in k}, source)
        own = {k.split("/", 1)[1]: v for k, v in arrays.items() if k.startswith("criterion/")}
        checkpoint.load_weights(criterion, own, source)
        optim.load_moments(optimizer, arrays, source)
    elif arrays:
        print(any_file.start_from(model, arrays, source))
    distributed.broadcast([*model.state_dict().values(), *criterion.state_dict().values()])
    if begin["resumed"]:
        distributed.broadcast(value for _, value in optim.named_moments(optimizer))


def state(optimizer, criterion):
    """What a checkpoint holds beside the weights, as arrays."""
    arrays = {f"criterion/{key}": value.numpy() for key, value in criterion.state_dict().items()}
    return {**arrays, **{key: value.numpy() for key, value in optim.named_moments(optimizer)}}
