"""A checkpoint is one .npz file: weights under the state-dict keys, what a run needs to go on under keys with a slash
(optimizer/..., as no state-dict key has one), and under `META` a JSON text with the rest.

numpy alone can read it, and reading runs no code from the file. Each array carries a checksum (zip's CRC-32, checked on
reading). Files appear under their name whole or not at all: a process killed while it saves leaves the last one good.
"""

import json
import os
import re
import zipfile
from pathlib import Path

import jittor as jt
import numpy as np

META = "__meta__"
NAME = re.compile(r"CS_scenes_(\d+)\.npz")  # the official name
BEST = "best.npz"


class NotSaved(OSError):
    """A checkpoint could not be written; what was there before is intact."""


def path_of(folder, step):
    return os.path.join(folder, f"CS_scenes_{step}.npz")


def save(path, model, meta, state=None):
    """Weights of `model`, a dict of what JSON can hold (step, options ...), and arrays under keys with a slash."""
    arrays = {key: value.numpy() for key, value in model.state_dict().items()}
    arrays.update(state or {})
    text = np.array(json.dumps(meta))
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(part, "wb") as file:
            write(file, {**arrays, META: text})
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_folder(path)
    except OSError as error:
        remove(part)
        raise NotSaved(
            f"{path} could not be written: {error.strerror or error}. Older checkpoints are as they were. "
            "Next: make room (or take another --snapshot-dir), then the same command with --resume auto"
        ) from error


def write(file, arrays):
    """As numpy.savez, which after a full disk tries once more when it is cleared away, and complains."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def sync_folder(path):
    """The new name itself must reach the disk, too."""
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove(path):
    try:
        os.remove(path)
    except OSError:
        pass


def read(path):
    """-> ({key: array}, meta), moments and all. One clear error for a missing, damaged or foreign file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"no checkpoint {path}; train.py writes them into --snapshot-dir") from None
    except Exception as error:  # zip, numpy and zlib each have their own for a damaged file
        raise ValueError(f"{path} is not a checkpoint of this project, or it is damaged ({error})") from None
    if META not in arrays:
        raise ValueError(f"{path} is a .npz file without {META!r}: not a checkpoint of this project")
    try:
        return arrays, json.loads(arrays.pop(META).item())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: its {META!r} is no JSON ({error})") from None


def load(path):
    """-> ({key: array}, meta): the weights alone."""
    arrays, meta = read(path)
    return {key: value for key, value in arrays.items() if "/" not in key}, meta


def load_weights(model, arrays, source="the checkpoint"):
    """Copy arrays into the model; every key must be there with the right shape, or nothing is changed."""
    own = model.state_dict()
    missing = sorted(set(own) - set(arrays))
    unexpected = sorted(set(arrays) - set(own))
    shapes = [
        f"{k} {arrays[k].shape} for {tuple(own[k].shape)}"
        for k in own
        if k in arrays and arrays[k].shape != tuple(own[k].shape)
    ]
    problems = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    if any(keys for _, keys in problems):
        text = "; ".join(f"{len(keys)} {name}: {', '.join(keys[:4])}" for name, keys in problems if keys)
        raise ValueError(
            f"{source} does not fit this model ({text}); are network and number of classes those it was trained with?"
        )
    model.load_parameters(arrays)
    jt.sync_all()  # Jittor 1.3.11 miscompiles a one-number update (gamma) that is still pending when it is used


def step_of(path):
    """The step that a checkpoint records, without reading its arrays; None where there is none to be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return int(json.loads(file[META].item())["step"])
    except Exception:  # zip, numpy and zlib each have their own for a damaged file; `read` says what is wrong
        return None


def steps_in(folder):
    """{step: path} of the checkpoints in a folder."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return {}
    return {int(m.group(1)): os.path.join(folder, m.group(0)) for m in map(NAME.fullmatch, names) if m}


def newest(folder, say=print):
    """Path of the checkpoint with the highest step that reads whole, or None. Damaged ones are named."""
    for _, path in sorted(steps_in(folder).items(), reverse=True):
        try:
            read(path)
            return path
        except ValueError as error:
            say(f"{error}; trying the one before")
    return None


def prepare_folder(folder):
    """Make the folder, try whether it can be written, clear half-written files of runs that died in it."""
    probe = Path(folder) / f"probe.{os.getpid()}.part"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"?")
    except OSError as error:
        raise NotSaved(f"--snapshot-dir {folder} cannot be written: {error.strerror}; name another folder") from error
    for part in Path(folder).glob("*.part"):
        remove(part)


def prune(folder, keep):
    """Delete all checkpoints but the last `keep`; 0 keeps all. best.npz is a name of its own and stays."""
    for _, path in sorted(steps_in(folder).items())[:-keep] if keep else ():
        remove(path)


def link_best(path):
    """best.npz beside `path` becomes the same file; it stays when `path` is pruned."""
    best = os.path.join(os.path.dirname(path), BEST)
    part = f"{best}.{os.getpid()}.part"
    remove(part)
    try:
        os.link(path, part)
    except OSError:  # a file system without hard links
        Path(part).write_bytes(Path(path).read_bytes())
    os.replace(part, best)
