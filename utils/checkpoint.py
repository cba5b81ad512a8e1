"""A checkpoint is one .npz file: arrays under the state-dict keys, and under `META` a JSON text with the rest.

numpy alone can read it, and reading runs no code from the file. Written to a temporary name first: whole or not at all.
"""

import json
import os
import zipfile

import jittor as jt
import numpy as np

META = "__meta__"


def save(path, model, meta):
    """Weights of `model`, and a dict of what JSON can hold: step, options, how the input is normalised ..."""
    arrays = {key: value.numpy() for key, value in model.state_dict().items()}
    part = f"{path}.{os.getpid()}.part"
    with open(part, "wb") as file:
        np.savez(file, **arrays, **{META: np.array(json.dumps(meta))})
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def load(path):
    """-> ({key: array}, meta). One clear error for a missing, damaged or foreign file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"no checkpoint {path}; train.py writes them into --snapshot-dir") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a checkpoint of this project, or it is damaged ({error})") from None
    if META not in arrays:
        raise ValueError(f"{path} is a .npz file without {META!r}: not a checkpoint of this project")
    return arrays, json.loads(arrays.pop(META).item())


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
            f"{source} does not fit this model ({text}); are --model and --num-classes those it was trained with?"
        )
    model.load_parameters(arrays)
    jt.sync_all()  # Jittor 1.3.11 miscompiles a one-number update (gamma) that is still pending when it is used
