"""Weights from any file that a user may come with, under our names; and files of weights for others.

    arrays, meta = read(path)                     # .npz of ours, PyTorch, safetensors, Jittor: told by its content
    print(start_from(model, arrays, path))        # for training: the head may be missing
    write(path, arrays, meta)                     # .npz, .safetensors; PyTorch under the names of the original code

`meta` says what evaluation needs: model, model_options, num_classes (None: a backbone), recurrence, ignore_label,
normalisation; and `provenance`: where the weights come from and what was done to them.
"""

import json
import os
import re
import textwrap
import zipfile

import numpy as np

from utils.files import whole_file
from utils.weights import names as convert
from utils.weights.formats import pytorch, safetensors
from utils.weights.identify import describe

OURS = "ccnet"  # key of our metadata in a .safetensors file
NEEDED = {"model": str, "num_classes": (int, type(None)), "recurrence": int, "ignore_label": int, "normalisation": dict}
HEADS = ("head.", "dsn.", "squeeze.")
CLASSIFIERS = ("head.bottleneck.3.", "dsn.3.")  # the layers whose shape depends on the number of classes
PYTORCH_ENDINGS = (".pth", ".pt", ".bin", ".pth.tar")
ENDINGS = (".npz", ".safetensors", ".pkl", ".pth.tar", ".pth", ".pt", ".bin")


def existing(path):
    """-> (path, ""), or, where only a file of another format with the same name is there, (that file, a line about it):
    commands that were printed for PyTorch ask for CS_scenes_60000.pth, and training here writes CS_scenes_60000.npz."""
    path = os.fspath(path)
    ending = next((ending for ending in ENDINGS if path.endswith(ending)), "")
    if os.path.exists(path) or not ending:
        return path, ""
    beside = [path[: -len(ending)] + other for other in ENDINGS if other != ending]
    beside = [other for other in beside if os.path.isfile(other)]
    if len(beside) > 1:
        raise FileNotFoundError(f"no checkpoint {path}; beside it are {' and '.join(beside)}: name one of them")
    return (beside[0], f"{path} is not there: {beside[0]}, which is, is taken") if beside else (path, "")


def take(path, source="auto"):
    """For a program that begins with a file of weights: -> (the path taken, arrays, meta); meta["remarks"] are lines to
    print."""
    path, line = existing(path)
    arrays, meta = read(path, source)
    remarks = [line] if line else []
    if source != "auto" and is_ours(path):
        remarks.append(f"--source {source} has no effect: {path} is a file of this project")
    return path, arrays, {**meta, "remarks": [*remarks, *meta.get("remarks", ())]}


def read(path, source="auto"):
    """-> ({key: float32 array}, meta). One ValueError or FileNotFoundError for whatever is wrong."""
    path = os.fspath(path)
    data, own = pytorch.mapped(path), is_ours(path)
    try:
        if own:
            return read_ours(path)
        if safetensors.is_safetensors(data):
            return converted(safetensors.load(path)[0], source, "safetensors", path)
        zipped = data[:4] == b"PK\3\4"
        return converted(pytorch.load(path), source, "pytorch" if zipped or pytorch.is_legacy(data) else "jittor", path)
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(path) else f"{path}: {error}") from None


def is_ours(path):
    """Written here under our names: a .npz, or a .safetensors with our metadata."""
    data = pytorch.mapped(path)
    if data[:4] == b"PK\3\4":
        try:
            with zipfile.ZipFile(path) as archive:
                return not any(name.endswith("data.pkl") for name in archive.namelist())
        except Exception:  # torch_file says what is wrong
            return False
    return safetensors.is_safetensors(data) and OURS in safetensors.load(path)[1]


def read_ours(path):
    try:
        if pytorch.mapped(path)[:4] == b"PK\3\4":
            from utils.weights import checkpoint  # imports Jittor, which the rest can do without

            arrays, meta = checkpoint.load(path)
        else:
            arrays, metadata = safetensors.load(path)
            meta = safetensors.parsed(metadata[OURS])
        lacking = [key for key, kind in NEEDED.items() if not isinstance(meta.get(key, ...), kind)]
    except (MemoryError, RecursionError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise ValueError(f"no checkpoint of this project, or a damaged one ({type(error).__name__})") from None
    if lacking:
        raise ValueError(f"its metadata lack {', '.join(lacking)}")
    return arrays, meta


def converted(tree, source, kind, path):
    arrays, wrapper, prefix, others = convert.unwrap(tree)
    if source == "auto":
        source = "jittor" if kind == "jittor" else convert.layout(arrays)
    arrays, notes = convert.to_ours(arrays, source)
    for key in others:
        notes["dropped"][key] = "no tensor"
    notes.update(file=os.path.basename(path), format=kind, wrapper=wrapper, prefix=prefix)
    return arrays, {**describe(arrays, notes), "provenance": notes}


def write(path, arrays, meta, to=None, source=None):
    """`to`: npz, safetensors or pytorch; by the ending of the path if not given. `source`: whose names PyTorch gets."""
    path = os.fspath(path)
    to = to or kind_of(path)
    if to == "pytorch":
        notes = meta.get("provenance")
        if not notes or source not in (None, notes["source"]):
            notes = convert.notes_for(meta["model"], source)
        theirs = convert.to_theirs(arrays, notes)
        pytorch.save(path, {notes["wrapper"]: theirs} if notes.get("wrapper") else theirs)
    elif to == "safetensors":
        safetensors.save(path, arrays, {"format": "pt", OURS: json.dumps(meta)})
    else:
        with whole_file(path, sync=True) as file:
            np.savez(file, **arrays, __meta__=np.array(json.dumps(meta)))


def kind_of(path):
    endings = {".npz": "npz", ".safetensors": "safetensors", **dict.fromkeys(PYTORCH_ENDINGS, "pytorch")}
    for ending, kind in endings.items():
        if path.endswith(ending):
            return kind
    raise ValueError(f"{path} ends in none of {' '.join(endings)}; what is to be written?")


def start_from(model, arrays, path):
    """Before training: copy what the file has into the model. -> the report, a text.

    The head may be missing, and its last layers may be for other classes: they keep their random start. Anything else
    that does not fit is an error.
    """
    from utils.weights import checkpoint  # imports Jittor, which the rest can do without

    own = model.state_dict()
    found = convert.compare(arrays, {key: tuple(value.shape) for key, value in own.items()})
    kept = [key for key in found["missing"] if key.startswith(HEADS)]
    kept += [key for key in found["wrong shape"] if key.startswith(CLASSIFIERS)]
    rest = {key: array for key, array in arrays.items() if key not in kept}
    checkpoint.load_weights(model, {**rest, **{key: own[key].numpy() for key in kept}}, path)
    names = f": {', '.join(folded(kept))}" if kept else ""
    return f"{path}: {len(found['matched'])} arrays loaded; {len(kept)} keep their random start{names}"


def report(arrays, notes, shapes):
    """The key report of a conversion; -> (text, the lists of convert.compare)."""
    found = convert.compare(arrays, shapes)
    lines = [f"{len(found['matched'])} of {len(shapes)} matched"]

    def say(title, items):
        items = list(items)
        if items:
            lines.append(title)
            lines.extend(textwrap.wrap(", ".join(items), 112, initial_indent="    ", subsequent_indent="    "))

    if notes.get("prefix") or notes.get("wrapper"):
        lines.append(
            f"unwrapped: {notes.get('wrapper') or 'nothing'}; prefix taken off: {notes.get('prefix') or 'none'}"
        )
    renamed = notes.get("renamed", {})
    say(f"renamed, {len(renamed)} beginnings:", [f"{old}* -> {new}*" for old, new in renamed.items()])
    for title, group in (("changed", notes.get("changed", {})), ("dropped", notes.get("dropped", {}))):
        for reason in dict.fromkeys(group.values()):
            keys = [key for key in group if group[key] == reason]
            say(f"{title}, {len(keys)} ({reason}):", folded(keys))
    say(f"missing, {len(found['missing'])}:", folded(found["missing"]))
    say(f"unexpected, left out, {len(found['unexpected'])}:", folded(found["unexpected"]))
    wrong = [f"{key} {arrays[key].shape} for {tuple(shapes[key])}" for key in found["wrong shape"]]
    say(f"wrong shape, {len(wrong)}:", wrong)
    return "\n".join(lines), found


def folded(keys):
    """layer3.0.bn1.weight, layer3.1.bn1.weight .. -> layer3.{0..22}.bn1.weight"""
    groups = {}
    for key in keys:
        match = re.fullmatch(r"(.*?\.)([0-9]{1,4})(\..*)", key)
        before, number, behind = match.groups() if match else (key, "", "")
        groups.setdefault((before, behind), []).append(number)
    for (before, behind), numbers in groups.items():
        if len(numbers) > 1 and numbers == [str(int(numbers[0]) + n) for n in range(len(numbers))]:
            numbers = [f"{{{numbers[0]}..{numbers[-1]}}}"]
        yield from (before + number + behind for number in numbers)
