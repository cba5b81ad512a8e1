"""Files of weights as other projects publish them: names, keys, shapes, wrappers and file formats; values made by rule.

    folder = weight_files.make("resnet101-imagenet.pth", folder)      # -> path; written once per folder

PUBLISHED lists them. The values are small enough that training steps from them are finite. The networks have
their real size: ResNet-101 has 180 MB, the official CCNet 286 MB.
"""

import struct
from pathlib import Path

import numpy as np
from support import handmade as hand
from support import key_lists, rule_weights

FLOAT_TYPES = {"float32": "FloatStorage", "int64": "LongStorage"}


class Namespace(dict):
    """Written as an argparse.Namespace, as in checkpoints of timm."""


def encode(tree, storages, legacy):
    """A pickle of dicts (as OrderedDict), lists, strings, numbers and arrays; the arrays are added to `storages`."""
    if isinstance(tree, np.ndarray):
        key = str(len(storages))
        storages[key] = tree
        return hand.tensor(key, tree.shape, FLOAT_TYPES[tree.dtype.name], legacy=legacy)
    if isinstance(tree, str):
        return hand.text(tree)
    if isinstance(tree, float):
        return b"G" + struct.pack(">d", tree)
    if isinstance(tree, int):
        return hand.number(tree)
    if isinstance(tree, list):
        return b"](" + b"".join(encode(part, storages, legacy) for part in tree) + b"e"
    items = {key: encode(value, storages, legacy) for key, value in tree.items()}
    if isinstance(tree, Namespace):
        return b"cargparse\nNamespace\n)\x81" + hand.mapping(items) + b"b"
    pairs = b"".join(hand.text(key) + value for key, value in items.items())
    return hand.call("collections", "OrderedDict") + b"(" + pairs + b"u"


def write_legacy(path, tree):
    """PyTorch before 1.6."""
    storages = {}
    return hand.legacy_file(path, encode(tree, storages, True), storages)


def write_zip(path, tree):
    """PyTorch since 1.6."""
    storages = {}
    return hand.zip_file(path, encode(tree, storages, False), storages)


def write_jittor(path, tree):
    """jt.save of Jittor."""
    import jittor as jt

    jt.save(tree, str(path))
    return path


def write_ours(path, arrays, source="plain"):
    """`arrays` under our names, as scripts/convert_weights.py writes them: .npz or .safetensors."""
    from utils.weights import any_file, names

    arrays, notes = names.to_ours(arrays, source)
    any_file.write(path, arrays, {**any_file.describe(arrays, notes), "provenance": {**notes, "wrapper": ""}})
    return path


def filled(shapes, rule=rule_weights.ccnet, before=""):
    """{key: shape} -> {before + key: array}. Counters of BatchNorm are int64, as PyTorch has them."""
    counters = {key for key in shapes if key.endswith("num_batches_tracked")}
    arrays = rule({key: shape for key, shape in shapes.items() if key not in counters})
    counted = {key: np.array(60000, np.int64) for key in counters}
    return {before + key: counted[key] if key in counters else arrays[key] for key in shapes}


def basic_resnet(blocks=(2, 2, 2, 2)):
    """torchvision's ResNet-18: {key: shape}."""
    keys, inplanes = {**key_lists.conv("conv1", 64, 3, 7), **key_lists.norm("bn1", 64, True)}, 64
    for stage, (count, planes) in enumerate(zip(blocks, (64, 128, 256, 512)), 1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            for n, into in ((1, inplanes), (2, planes)):
                keys.update(key_lists.conv(f"{name}.conv{n}", planes, into, 3))
                keys.update(key_lists.norm(f"{name}.bn{n}", planes, True))
            if inplanes != planes:
                keys.update(key_lists.conv(f"{name}.downsample.0", planes, inplanes))
                keys.update(key_lists.norm(f"{name}.downsample.1", planes, True))
            inplanes = planes
    return {**keys, "fc.weight": (1000, 512), "fc.bias": (1000,)}


def bare(keys):
    """Without num_batches_tracked, which Jittor's BatchNorm and PyTorch before 0.4.1 lack."""
    return {key: shape for key, shape in keys.items() if not key.endswith("num_batches_tracked")}


def abn(shapes, before=""):
    """For in-place ABN: the sign of a scale has no effect, and some are negative."""
    arrays = filled(shapes, before=before)
    for key in arrays:
        if key.endswith("bn1.weight"):
            arrays[key] = arrays[key] * np.where(np.arange(arrays[key].size) % 7, 1, -1).astype(np.float32)
    return arrays


def v1c(blocks=key_lists.R50):
    """The ImageNet ResNet with three convolutions in its stem, from which the configs of mmsegmentation start."""
    keys = {key.removeprefix("backbone."): shape for key, shape in key_lists.mmseg(blocks).items() if "backbone" in key}
    return {"meta": {"epoch": 100, "iter": 500400}, "state_dict": filled({**keys, **key_lists.CLASSIFIER})}


def mmseg(blocks, classes):
    arrays = filled(key_lists.mmseg(blocks, classes))
    arrays["decode_head.cca.gamma.scale"] = np.array(0.5, np.float32)
    meta = {"mmcv_version": "0.5.9", "CLASSES": [f"class {k}" for k in range(classes)], "iter": 40000}
    return {"meta": meta, "state_dict": arrays}


def timm(size):
    """VAN as it was trained: a checkpoint of timm with the options of its run."""
    options = Namespace(model=size, lr=0.001, batch_size=128, opt="adamw", mean=[0.485, 0.456, 0.406])
    arrays = filled(key_lists.van(size), rule_weights.van)
    return {"epoch": 309, "arch": size, "state_dict": arrays, "version": 2, "args": options, "metric": 75.4}


def van_bare(size):
    """As the README of VAN-Jittor converts it: only the inner state_dict, van_base.pth."""
    return filled(key_lists.van(size), rule_weights.van)


def van_segmentation(size):
    """A segmentation network on VAN: `backbone.` before its keys, followed by the head of another project."""
    arrays = filled(key_lists.van(size), rule_weights.van, "backbone.")
    arrays = {key: array for key, array in arrays.items() if not key.startswith("backbone.head.")}
    return {
        "meta": {"iter": 160000},
        "state_dict": {**arrays, "decode_head.conv_seg.weight": np.ones((5, 9, 1, 1), "f4")},
    }


def jittor_mmseg():
    """The checkpoint of ccnet-jittor: names of mmsegmentation, and a 7x7 stem that its network does not use."""
    keys = {**bare(key_lists.mmseg(key_lists.R50, 150)), "backbone.conv1.weight": (64, 3, 7, 7)}
    arrays = filled({**keys, **key_lists.norm("backbone.bn1", 64, False)})
    return {**arrays, "decode_head.cca.gamma.scale": np.array([0.5], np.float32)}


def jittor_official(blocks=(3, 4, 5, 3)):
    """ANN-Lab's checkpoint: the official names with fewer blocks in layer3."""
    return filled(key_lists.official(blocks))


def ours(classes=19):
    """A complete ccnet_r50 under our names, which are the official ones."""
    return filled(key_lists.official(key_lists.R50, classes))


R50, R101 = key_lists.R50, key_lists.R101
PUBLISHED = {  # file name -> (what writes the format, what makes its content)
    "resnet101-imagenet.pth": (write_legacy, lambda: filled(key_lists.mit())),
    "resnet18-5c106cde.pth": (write_legacy, lambda: filled(bare(basic_resnet()))),
    "resnet18-f37072fd.pth": (write_zip, lambda: filled(basic_resnet())),
    "resnet50-0676ba61.pth": (write_zip, lambda: filled(key_lists.torchvision(R50))),
    "resnet50_v1c-2cccc1ad.pth": (write_legacy, v1c),
    "resnet101_v1c-e67eebb6.pth": (write_legacy, lambda: v1c(R101)),
    "CS_scenes_60000.pth": (write_legacy, lambda: abn(key_lists.official())),
    "CS_scenes_60000_module.pth": (write_legacy, lambda: abn(key_lists.official(R50, counters=True), "module.")),
    "CS_scenes_60000_model.pth": (write_zip, lambda: {"model": abn(key_lists.official(R50)), "epoch": 3}),
    "CS_scenes_60000_serge.pth": (write_legacy, lambda: filled(key_lists.serge())),
    "ccnet_r50-d8_512x1024_40k_cityscapes_20200616_142517-4123f401.pth": (write_legacy, lambda: mmseg(R50, 19)),
    "ccnet_r101-d8_512x512_80k_ade20k_20200615_003848-aa2b3c3b.pth": (write_legacy, lambda: mmseg(R101, 150)),
    "van_tiny_754.pth.tar": (write_zip, lambda: timm("van_tiny")),
    "van_small_811.pth.tar": (write_zip, lambda: timm("van_small")),
    "van_base_828.pth.tar": (write_zip, lambda: timm("van_base")),
    "van_large_839.pth.tar": (write_zip, lambda: timm("van_large")),
    "van_large.pth": (write_zip, lambda: timm("van_large")),
    "van_tiny.pth": (write_zip, lambda: van_bare("van_tiny")),
    "van_b0.pth": (write_legacy, lambda: van_segmentation("van_tiny")),
    "resnet.pkl": (write_jittor, lambda: filled(bare(key_lists.torchvision(R101)))),
    "train_ccnet_resnet_epoch80000.pkl": (write_jittor, jittor_mmseg),
    "ccnet_R2_cityscape_60000.pkl": (write_jittor, jittor_official),
    "resnet18.pkl": (write_jittor, lambda: filled(bare(basic_resnet()))),
    "van_tiny.pkl": (write_jittor, lambda: filled(bare(key_lists.van("van_tiny")), rule_weights.van)),
    "van_base-cub.pkl": (write_jittor, lambda: filled(bare(key_lists.van("van_base")), rule_weights.van)),
    "ours.npz": (write_ours, ours),
    "ours.safetensors": (write_ours, ours),
}


def make(name, folder):
    """The file `name` in `folder`, written unless it exists. -> its path."""
    path, (write, content) = Path(folder) / name, PUBLISHED[name]
    if not path.exists():
        write(path, content())
    return path
