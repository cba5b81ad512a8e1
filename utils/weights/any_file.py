"""Weights from any supported file, under our names; and files of weights for other code.

    arrays, meta = read(path)                     # from .npz, PyTorch, safetensors or Jittor: the content decides
    print(start_from(model, arrays, path))        # for training: the head may be missing
    write(path, arrays, meta)                     # .npz, .safetensors; PyTorch under the names of the original code

`meta` holds what evaluation needs: model, model_options, num_classes (None: a backbone), recurrence, ignore_label,
normalisation; and `provenance`: where the weights come from and what was changed in them.
"""

import json
import os
import zipfile

import numpy as np

from models.tables import CAFFE_BGR, IMAGENET_RGB, RESNET_BLOCKS, VAN_SIZES
from utils.evaluation import protocol
from utils.files import whole_file
from utils.weights import names, published
from utils.weights.formats import mapped, pytorch, safetensors
from utils.weights.widen import widened

OURS = "ccnet"  # key of our metadata in a .safetensors file
REQUIRED = {
    "model": str,
    "num_classes": (int, type(None)),
    "recurrence": int,
    "ignore_label": int,
    "normalisation": dict,
}
HEADS = ("head.", "dsn.", "squeeze.")
CLASSIFIERS = ("head.bottleneck.3.", "dsn.3.")  # the layers whose shape depends on the number of classes
PYTORCH_ENDINGS = (".pth", ".pt", ".bin", ".pth.tar")
ENDINGS = (".npz", ".safetensors", ".pkl", ".pth.tar", ".pth", ".pt", ".bin")
ANY_STRIDE = "8, 16 or 32"  # the output strides that fit a VAN whose head has no squeeze layer
VANS = {blocks: name for name, (_, blocks, _) in VAN_SIZES.items()}  # blocks in each stage -> van_size
RESNETS = {(depth > 18, blocks[2]): f"r{depth}" for depth, blocks in RESNET_BLOCKS.items()}  # bottleneck, in layer3
RESNETS.update({(True, 5): "r50", (True, 12): "r101"})  # a Jittor port, which has fewer blocks


def existing(path):
    """-> (path, ""), or, where only a file of another format with the same name exists, (that file, a line about it):
    commands that were printed for PyTorch ask for CS_scenes_60000.pth, and training here writes CS_scenes_60000.npz."""
    path = os.fspath(path)
    ending = next((ending for ending in ENDINGS if path.endswith(ending)), "")
    if os.path.exists(path) or not ending:
        return path, ""
    others = [path[: -len(ending)] + other for other in ENDINGS if other != ending]
    others = [other for other in others if os.path.isfile(other)]
    if len(others) > 1:
        raise FileNotFoundError(f"no checkpoint {path}, but {' and '.join(others)} exist: name one of them")
    return (others[0], f"{path} does not exist: using {others[0]}") if others else (path, "")


def take(path, source="auto"):
    """For a program that starts from a file of weights: -> (the path that was read, arrays, meta); meta["remarks"] are
    lines to print."""
    path, line = existing(path)
    arrays, meta, ours = read_with_origin(path, source)
    remarks = [line] if line else []
    if ours and source != "auto":
        remarks.append(f"--source {source} has no effect: {path} is a file of this project")
    return path, arrays, {**meta, "remarks": [*remarks, *meta.get("remarks", ())]}


def read(path, source="auto"):
    """-> ({key: float32 array}, meta). Whatever is wrong is one ValueError or FileNotFoundError that names the file."""
    return read_with_origin(path, source)[:2]


def read_with_origin(path, source="auto"):
    """As `read`, and whether the file was written by this project. The file is opened once and mapped into memory."""
    path = os.fspath(path)
    data = mapped(path)
    try:
        if pytorch.is_zip(data) and is_npz(data):
            from utils.weights import checkpoint  # imports Jittor, which the other formats do not need

            return *checked(checkpoint.load, path), True
        if safetensors.is_safetensors(data):
            arrays, metadata = safetensors.read(data)
            if OURS in metadata:
                return *checked(lambda: (arrays, safetensors.parse_json(metadata[OURS]))), True
            return *converted(arrays, source, "safetensors", path), False
        file_format = "pytorch" if pytorch.is_zip(data) or pytorch.is_legacy(data) else "jittor"
        return *converted(pytorch.read(data), source, file_format, path), False
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(path) else f"{path}: {error}") from None


def is_npz(data):
    """Whether a zip file is a .npz, as this project writes, and not a file of PyTorch."""
    try:
        return not any(name.endswith("data.pkl") for name in zipfile.ZipFile(data.obj).namelist())
    except Exception:  # pytorch.read reports what is wrong
        return False


def checked(load, *arguments):
    """load(*arguments) -> (arrays, meta) of a file of this project, its metadata checked."""
    try:
        arrays, meta = load(*arguments)
        missing = [key for key, types in REQUIRED.items() if not isinstance(meta.get(key, ...), types)]
    except (MemoryError, RecursionError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise ValueError(f"not a checkpoint of this project, or damaged ({type(error).__name__})") from None
    if missing:
        raise ValueError(f"its metadata lacks {', '.join(missing)}")
    return arrays, meta


def converted(tree, source, file_format, path):
    """The content of a file of other code -> (arrays, meta) under our names."""
    arrays, wrapper, prefix, others = names.unwrap(tree)
    if source == "auto":
        source = "jittor" if file_format == "jittor" else names.layout_of(arrays)
    arrays, notes = names.to_ours(arrays, source)
    for key in others:
        notes["dropped"][key] = "not a tensor"
    notes.update(file=os.path.basename(path), format=file_format, wrapper=wrapper, prefix=prefix)
    return arrays, {**describe(arrays, notes), "provenance": notes}


def van_blocks(arrays):
    """Blocks in each of the four stages of a VAN."""
    return tuple(len({key.split(".")[1] for key in arrays if key.startswith(f"block{n}.")}) for n in (1, 2, 3, 4))


def resnet_blocks(arrays):
    """(bottleneck?, blocks in layer3) of a ResNet."""
    return "layer1.0.conv3.weight" in arrays, stage_blocks(arrays)[2]


def stage_blocks(arrays):
    """Blocks in each of the four stages of a ResNet."""
    return tuple(len({key.split(".")[1] for key in arrays if key.startswith(f"layer{n}.")}) for n in (1, 2, 3, 4))


def shape_facts(arrays):
    """What the shapes of arrays under our names determine: backbone ("van", "r18" ..), van_size and output_stride, or
    stem and unusual blocks. {} for an unknown network."""
    if "patch_embed1.proj.weight" in arrays:
        size = VANS.get(van_blocks(arrays))
        facts = {"backbone": "van", **({"van_size": size} if size else {})}
        if any(key.startswith("head.") for key in arrays):
            facts["output_stride"] = "multi" if "squeeze.0.weight" in arrays else ANY_STRIDE
        return facts
    depth = RESNETS.get(resnet_blocks(arrays))
    if not depth or "conv1.weight" not in arrays:
        return {}
    first, counts = arrays["conv1.weight"].shape[:1], stage_blocks(arrays)
    stem = "v1" if "conv2.weight" not in arrays else "v1c" if first == (32,) else "deep"
    unusual = {} if counts == RESNET_BLOCKS[int(depth[1:])] else {"blocks": list(counts)}
    return {"backbone": depth, "stem": stem, **unusual}


def describe(arrays, notes):
    """The metadata of converted arrays: model, its options, num_classes (None: a backbone), normalisation, remarks.
    `assumed`: the names of those that the file does not determine, where the usual value is used."""
    layout, source, remarks, assumed = notes["layout"], notes["source"], [], []
    classifier = arrays.get("head.bottleneck.3.weight")
    if classifier is not None and not classifier.ndim:
        raise ValueError("head.bottleneck.3.weight is a scalar")
    if layout == "van":
        depths = van_blocks(arrays)
        if depths not in VANS:
            raise ValueError(f"a VAN of {depths} blocks; supported are {', '.join(map(str, VANS))}")
        model, options = "van", {"van_size": VANS[depths]}
        if classifier is not None and "squeeze.0.weight" not in arrays:
            options["output_stride"] = 8
            assumed.append("output_stride")
    else:
        bottleneck, blocks = resnet_blocks(arrays)
        depth = RESNETS.get((bottleneck, blocks))
        if not depth:
            raise ValueError(f"a ResNet with {blocks} blocks in layer3; ResNet-18, 50 and 101 have 2, 6 and 23")
        second_stem = any(key.endswith("conv1.weight") and ".layer" not in key for key in notes["dropped"])
        network = (layout, source, int(depth[1:]), stage_blocks(arrays), classifier is not None, second_stem)
        options, remarks = published.network_options(*network)
        if layout == "mmseg":
            model = f"ccnet_mmseg_{'r101' if depth == 'r101' else 'r50'}"
            options.update({"depth": 18} if depth == "r18" else {})
        else:
            model = "ccnet" if depth == "r101" else f"ccnet_{depth}"
    if source == "official":
        remarks.append("read as in-place ABN, scales are |weight| + 1e-5; use --source plain for plain BatchNorm")
    extra = {}
    if classifier is not None:
        assumed.append("recurrence")
        values, lines = published.protocol(layout, source, notes.get("file", ""), int(classifier.shape[0]))
        extra["protocol"] = protocol.record(**values)
        if layout == "mmseg":
            options["align_corners"] = extra["protocol"]["align_corners"]
        remarks += lines
    rgb = layout in ("mmseg", "torchvision", "van")
    return {
        "model": model,
        "model_options": options,
        "num_classes": None if classifier is None else int(classifier.shape[0]),
        "recurrence": 2,
        "ignore_label": 255,
        "normalisation": IMAGENET_RGB if rgb else CAFFE_BGR,
        "remarks": remarks,
        "assumed": assumed,
        **extra,
    }


def write(path, arrays, meta, to=None, source=None):
    """`to`: npz, safetensors or pytorch (default: by the ending of the path). `source`: the names in a PyTorch file."""
    path = os.fspath(path)
    to = to or format_of(path)
    if to == "pytorch":
        notes = meta.get("provenance")
        if not notes or source not in (None, notes["source"]):
            notes = names.notes_for(meta["model"], source)
        theirs = names.to_theirs(arrays, notes)
        pytorch.save(path, {notes["wrapper"]: theirs} if notes.get("wrapper") else theirs)
    elif to == "safetensors":
        safetensors.save(path, arrays, {"format": "pt", OURS: json.dumps(meta)})
    else:
        with whole_file(path, sync=True) as file:
            np.savez(file, **arrays, __meta__=np.array(json.dumps(meta)))


def format_of(path):
    endings = {".npz": "npz", ".safetensors": "safetensors", **dict.fromkeys(PYTORCH_ENDINGS, "pytorch")}
    for ending, file_format in endings.items():
        if path.endswith(ending):
            return file_format
    raise ValueError(f"{path} ends in none of {' '.join(endings)}; which format should it have?")


def start_from(model, arrays, path):
    """Before training: copy the arrays of a file into the model. -> the report, a text.

    The head may be missing, and its last layers may be for other classes: they keep their random start. Anything else
    that does not fit is an error.
    """
    from utils.weights import checkpoint  # imports Jittor, which the other functions do not need

    state = model.state_dict()
    arrays, line = widened(arrays, state)
    result = names.compare(arrays, {key: tuple(value.shape) for key, value in state.items()})
    kept = [key for key in result["missing"] if key.startswith(HEADS)]
    kept += [key for key in result["wrong shape"] if key.startswith(CLASSIFIERS)]
    rest = {key: array for key, array in arrays.items() if key not in kept}
    checkpoint.load_weights(model, {**rest, **{key: state[key].numpy() for key in kept}}, path)
    listed = f": {', '.join(names.folded(kept))}" if kept else ""
    return f"{path}: {len(result['matched'])} arrays loaded; {len(kept)} keep their random start{listed}{line}"
