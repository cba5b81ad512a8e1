"""A checkpoint is one .npz file: weights under the state-dict keys, what a run needs to continue under keys with a
slash (optimizer/..., as no state-dict key has one), and under `META` a JSON text with the rest.

numpy alone can read it, and reading executes no code from the file. Each array has a checksum (zip's CRC-32, verified
when it is read). Files are written atomically: a process killed while it saves leaves the previous file intact.
"""

import json
import os
import re
import zipfile
from pathlib import Path

import jittor as jt
import numpy as np

from utils.files import whole_file
from utils.weights import names

META = "__meta__"
NAME = re.compile(r"CS_scenes_(\d+)\.npz")  # the official name
BEST = "best.npz"


class NotSaved(OSError):
    """A checkpoint could not be written; earlier files are intact."""


def path_of(folder, step):
    return os.path.join(folder, f"CS_scenes_{step}.npz")


def save(path, model, meta, state=None):
    """Write the weights of `model`, `meta` (for JSON: step, options ..) and `state` (arrays, each key with a slash)."""
    arrays = {key: value.numpy() for key, value in model.state_dict().items()}
    arrays.update(state or {})
    text = np.array(json.dumps(meta))
    try:
        with whole_file(path, sync=True) as file:
            write(file, {**arrays, META: text})
    except OSError as error:
        raise NotSaved(
            f"{path} could not be written: {error.strerror or error}. Older checkpoints are as they were. "
            "Fix: make room (or take another --snapshot-dir), then the same command with --resume auto"
        ) from error


def write(file, arrays):
    """As numpy.savez, which after a full disk tries to write again when it is deleted, and prints an error."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def remove(path):
    try:
        os.remove(path)
    except OSError:
        pass


def read(path):
    """-> ({key: array}, meta), with the optimizer state. One error for a missing, damaged or unknown file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"no checkpoint {path}; train.py writes them into --snapshot-dir") from None
    except Exception as error:  # zip, numpy and zlib each raise their own for a damaged file
        raise ValueError(f"{path} is not a checkpoint of this project, or it is damaged ({error})") from None
    if META not in arrays:
        raise ValueError(f"{path} is a .npz file without {META!r}: not a checkpoint of this project")
    try:
        return arrays, json.loads(arrays.pop(META).item())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: its {META!r} is not valid JSON ({error})") from None


def load(path):
    """-> ({key: array}, meta): only the weights."""
    arrays, meta = read(path)
    return {key: value for key, value in arrays.items() if "/" not in key}, meta


def load_weights(model, arrays, source="the checkpoint"):
    """Copy arrays into the model. Where a key is missing, unexpected or of another shape, nothing is changed."""
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    result = names.compare(arrays, shapes)
    wrong = [f"{key} {arrays[key].shape} for {shapes[key]}" for key in result["wrong shape"]]
    problems = {"missing": result["missing"], "unexpected": result["unexpected"], "of another shape": wrong}
    if any(problems.values()):
        text = "; ".join(f"{len(keys)} {name}: {', '.join(keys[:4])}" for name, keys in problems.items() if keys)
        raise ValueError(
            f"{source} does not fit this model ({text}); are network and number of classes those it was trained with?"
        )
    model.load_parameters(arrays)
    jt.sync_all()  # Jittor 1.3.11 miscompiles a one-number update (gamma) that is still pending when it is used


def step_of(path):
    """The step that a checkpoint records, or None."""
    return recorded(path, "step")


def recorded(path, key):
    """One value of a checkpoint's meta data, without reading its arrays; None where it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return json.loads(file[META].item())[key]
    except Exception:  # zip, numpy and zlib each raise their own for a damaged file; `read` reports it
        return None


def steps_in(folder):
    """{step: path} of the checkpoints in a folder."""
    try:
        files = sorted(os.listdir(folder))
    except FileNotFoundError:
        return {}
    return {int(m.group(1)): os.path.join(folder, m.group(0)) for m in map(NAME.fullmatch, files) if m}


def newest(folder, warn=print):
    """Path of the undamaged checkpoint with the highest step, or None. Damaged ones are reported by `warn`."""
    for _, path in sorted(steps_in(folder).items(), reverse=True):
        try:
            read(path)
            return path
        except ValueError as error:
            warn(f"{error}; trying the previous one")
    return None


def prepare_folder(folder):
    """Create the folder, check that it is writable, delete the temporary files of runs that were killed."""
    probe = Path(folder) / f"probe.{os.getpid()}.part"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"?")
    except OSError as error:
        raise NotSaved(f"--snapshot-dir {folder} cannot be written: {error.strerror}; name another folder") from error
    for part in Path(folder).glob("*.part"):
        remove(part)


def prune(folder, keep):
    """Delete all checkpoints but the last `keep`; 0 keeps all. best.npz is not deleted."""
    for _, path in sorted(steps_in(folder).items())[:-keep] if keep else ():
        remove(path)


def link_best(path):
    """Make best.npz beside `path` the same file; it remains when `path` is pruned."""
    best = os.path.join(os.path.dirname(path), BEST)
    part = f"{best}.{os.getpid()}.part"
    remove(part)
    try:
        os.link(path, part)
        os.replace(part, best)
    except OSError:  # a file system without hard links
        with whole_file(best) as file:
            file.write(Path(path).read_bytes())
