"""From the key names and conventions of other code to ours, and back: functions on {key: array}, without files.

    arrays, notes = to_ours(unwrap(tree)[0], source)    source: one of SOURCES, or layout_of(arrays)
    arrays = to_theirs(arrays, notes)                   the way back, bit for bit

Our keys are those of the official checkpoint, with BatchNorm as in PyTorch and Jittor. The official code has in-place
ABN instead, which scales by |weight| + 1e-5 rather than by weight: read as plain BatchNorm, its logits are wrong by
1e-2, and by more where a weight is negative.
"""

import re

import numpy as np

from utils.weights.sources import SOURCES

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile, a wrapping class

RENAMES = {  # layout: (beginning of a key there, here); `backbone.` is removed before
    "serge": (("head.bottleneck.4.", "head.bottleneck.3."), ("dsn.4.", "dsn.3.")),
    "mmseg": (
        ("stem.0.", "conv1."),
        ("stem.1.", "bn1."),
        ("stem.3.", "conv2."),
        ("stem.4.", "bn2."),
        ("stem.6.", "conv3."),
        ("stem.7.", "bn3."),
        ("decode_head.convs.0.conv.", "head.conva.0."),
        ("decode_head.convs.0.bn.", "head.conva.1."),
        ("decode_head.cca.gamma.scale", "head.cca.gamma"),
        ("decode_head.cca.", "head.cca."),
        ("decode_head.convs.1.conv.", "head.convb.0."),
        ("decode_head.convs.1.bn.", "head.convb.1."),
        ("decode_head.conv_cat.conv.", "head.bottleneck.0."),
        ("decode_head.conv_cat.bn.", "head.bottleneck.1."),
        ("decode_head.conv_seg.", "head.bottleneck.3."),
        ("auxiliary_head.convs.0.conv.", "dsn.0."),
        ("auxiliary_head.convs.0.bn.", "dsn.1."),
        ("auxiliary_head.conv_seg.", "dsn.3."),
    ),
}
ABN_EPS = np.float32(1e-5)
NOTES = ("renamed", "dropped", "changed", "counters", "scales")


def unwrap(tree):
    """The content of a file -> ({key: array}, the entry that held it, the prefix of all its keys, other entries)."""
    wrapper = ""
    for _ in range(4):
        if not isinstance(tree, dict):
            raise ValueError(f"it holds a {type(tree).__name__}; expected a dict of tensors (a state_dict)")
        inner = [name for name in WRAPPERS if isinstance(tree.get(name), dict)]
        if not inner:
            break
        wrapper, tree = inner[0], tree[inner[0]]
    for key in tree:
        if type(key) is not str or not key.isprintable() or len(key) > 200:
            raise ValueError(f"it has a key {str(key)[:40]!r}; expected names of parameters")
    arrays = {key: value for key, value in tree.items() if isinstance(value, np.ndarray)}
    if not arrays:
        raise ValueError(f"no tensors in it, only {', '.join(list(tree)[:8]) or 'nothing'}; expected a state_dict")
    others, stripped = [key for key in tree if key not in arrays], ""
    while prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in arrays)), ""):
        arrays, stripped = {key[len(prefix) :]: value for key, value in arrays.items()}, stripped + prefix
    return arrays, wrapper, stripped, others


def layout_of(arrays):
    """The source whose key names these are."""
    bare = {key.removeprefix("backbone.") for key in arrays}
    if "patch_embed1.proj.weight" in bare:
        return "van"
    if any(key.startswith(("stem.", "decode_head.", "auxiliary_head.")) for key in bare):
        return "mmseg"
    if "head.bottleneck.4.weight" in bare or "dsn.4.weight" in bare:
        return "serge"
    if "head.conva.0.weight" in bare:
        return "official"
    if "layer4.0.conv1.weight" in bare and "conv1.weight" in bare:
        return "mit" if "conv3.weight" in bare else "torchvision"
    raise ValueError(
        f"its keys, {', '.join(list(arrays)[:4])} .., match no known source ({', '.join(SOURCES)}; "
        "scripts/convert_weights.py --help explains each)"
    )


def to_ours(arrays, source):
    """-> (arrays under our names, notes); the notes hold what a report and the way back need."""
    layout = layout_of(arrays)
    fitting = {"official": ("official", "mit"), "jittor": (layout,), "plain": (layout,)}.get(source, (source,))
    if layout not in fitting:
        raise ValueError(f"its keys are those of {layout} ({SOURCES[layout]}), not of {source}")
    notes = {"source": source, "layout": layout, **{name: {} for name in NOTES}}
    result = {}
    for key, array in arrays.items():
        reason = why_dropped(key, arrays, layout)
        name = key.removeprefix("backbone.")
        if name != key and not reason:
            notes["renamed"]["backbone."] = ""
        for theirs, ours in RENAMES.get(layout, ()):
            if name.startswith(theirs):
                name = ours + name[len(theirs) :]
                notes["renamed"][theirs] = ours
                break
        if key.endswith(".num_batches_tracked") and array.size == 1 and array.dtype.kind == "i":
            notes["counters"][name] = int(array.reshape(()))
        if reason:
            notes["dropped"][key] = reason
            continue
        if name in result:
            raise ValueError(f"two of its keys become {name}; is it really a file of {source}?")
        if array.dtype.kind == "c":
            raise ValueError(f"{name} has complex numbers")
        if array.dtype != np.float32:
            notes["changed"][name] = f"{array.dtype} -> float32"
            array = array.astype(np.float32)
        if name == "head.cca.gamma" and array.shape == ():
            notes["changed"][name] = "shape () -> (1,)"
            array = array.reshape(1)
        result[name] = array
    if source == "official":
        for name in norms(result):
            result[name], notes["scales"][name] = from_abn(result[name])
            notes["changed"][name] = "in-place ABN: |weight| + 1e-5"
    return result, notes


def why_dropped(key, arrays, layout):
    name = key.removeprefix("backbone.")
    if key.endswith("num_batches_tracked"):
        return "a counter that is not used"
    if name in ("fc.weight", "fc.bias") or (layout == "van" and name in ("head.weight", "head.bias")):
        return "the ImageNet classifier"
    if layout == "van" and name == key and "backbone.patch_embed1.proj.weight" in arrays:
        return "another head"
    if layout == "mmseg" and name.startswith(("conv1.", "bn1.")):
        return "a second stem that the network does not use"
    return ""


def norms(arrays):
    """The keys of BatchNorm scales."""
    bases = [key[: -len("running_mean")] for key in arrays if key.endswith(".running_mean")]
    names = [base + "weight" for base in bases]
    return [name for name in names if name in arrays and arrays[name].ndim == 1]


def from_abn(weight):
    """-> (|weight| + 1e-5, the weights that this does not determine: negative, or rounded in the last bit)."""
    scale, bits = np.abs(weight) + ABN_EPS, np.ascontiguousarray(weight).view(np.int32)
    lost = np.flatnonzero(to_abn(scale).view(np.int32) != bits)
    return scale, {int(index): int(bits[index]) for index in lost}  # bits: Jittor flushes subnormals


def to_abn(scale, lost=()):
    """A weight that in-place ABN turns into `scale`: one of `lost` where it still does."""
    weight = (scale.astype(np.float64) - np.float64(ABN_EPS)).astype(np.float32)
    for index, bits in dict(lost).items():
        value = np.array(bits, np.int32).view(np.float32)
        if np.abs(value) + ABN_EPS == scale[int(index)]:  # JSON made the index a string
            weight.view(np.int32)[int(index)] = bits
    return weight


def notes_for(model, source=None):
    """For a network trained here: the notes for writing its weights, by default for the code of the same network."""
    layout = "mmseg" if model.startswith("ccnet_mmseg") else "van" if model == "van" else "official"
    others = {"serge": "serge"} if layout == "official" else {}
    if source in (None, layout, "plain"):
        source = source or layout
    elif source not in others:
        raise ValueError(f"{source} has no network like {model}; choose {', '.join((layout, *others, 'plain'))}")
    return {
        "source": source,
        "layout": others.get(source, layout),
        "renamed": {"backbone.": ""} if layout == "mmseg" else {},
        "wrapper": "" if layout == "official" else "state_dict",
    }


def to_theirs(arrays, notes):
    """Our arrays under the names and conventions of the code in `notes`."""
    layout, result = notes["layout"], {}
    renames = [(ours, theirs) for theirs, ours in RENAMES.get(layout, ())]
    renames.sort(key=lambda pair: -len(pair[0]))

    def named(key):
        name = next((theirs + key[len(ours) :] for ours, theirs in renames if key.startswith(ours)), key)
        inside = not key.startswith(("head.", "dsn.", "squeeze."))
        return "backbone." + name if inside and ("backbone." in notes.get("renamed", ())) else name

    scales = norms(arrays) if notes["source"] == "official" else []
    below = [key for key in scales if (arrays[key] < ABN_EPS).any()]
    if below:
        raise ValueError(
            f"{len(below)} BatchNorm layers have scales below 1e-5 ({', '.join(below[:3])} ..), which the official "
            "code cannot represent: it computes |weight| + 1e-5; --source plain writes them as they are"
        )
    for key, array in arrays.items():
        if key in scales:
            array = to_abn(array, notes.get("scales", {}).get(key, ()))
        if key == "head.cca.gamma" and layout == "mmseg":
            array = array.reshape(())
        result[named(key)] = array
        counter = key[: -len("running_var")] + "num_batches_tracked"
        if key.endswith(".running_var") and counter in notes.get("counters", ()):
            result[named(counter)] = np.array(notes["counters"][counter], np.int64)
    return result


def compare(arrays, shapes):
    """Arrays and the {key: shape} of a network -> lists of keys: matched, missing, unexpected, wrong shape."""
    matched = [key for key in shapes if key in arrays and arrays[key].shape == tuple(shapes[key])]
    return {
        "matched": matched,
        "missing": [key for key in shapes if key not in arrays],
        "unexpected": [key for key in arrays if key not in shapes],
        "wrong shape": [key for key in shapes if key in arrays and key not in set(matched)],
    }


def folded(keys):
    """layer3.0.bn1.weight, layer3.1.bn1.weight .. -> layer3.{0..22}.bn1.weight"""
    groups = {}
    for key in keys:
        match = re.fullmatch(r"(.*?\.)([0-9]{1,4})(\..*)", key)
        start, number, end = match.groups() if match else (key, "", "")
        groups.setdefault((start, end), []).append(number)
    for (start, end), numbers in groups.items():
        if len(numbers) > 1 and numbers == [str(int(numbers[0]) + n) for n in range(len(numbers))]:
            numbers = [f"{{{numbers[0]}..{numbers[-1]}}}"]
        yield from (start + number + end for number in numbers)
