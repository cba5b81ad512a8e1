"""The code that files of weights come from, and download addresses. Plain tables, which --help reads."""

import os
import re

SOURCES = {  # value of --source: what it is
    "official": "speedinghzl/CCNet, in-place ABN",
    "serge": "Serge-weihao/CCNet-Pure-Pytorch",
    "mmseg": "mmsegmentation's CCNet, or its v1c backbone",
    "mit": "MIT's ImageNet ResNet with the deep stem",
    "torchvision": "an ImageNet ResNet with one 7x7 convolution in its stem",
    "van": "Visual Attention Network, alone or as a backbone",
    "jittor": "a Jittor port, named like any of these, with plain BatchNorm",
    "plain": "the names of this project, plain BatchNorm: nothing is changed",
}

# Where the pretrained weights are published that training usually starts from.

MMSEG = "https://download.openmmlab.com/pretrain/third_party"
MIT = "http://sceneparsing.csail.mit.edu/model/pretrained_resnet"
VAN = "https://huggingface.co/Visual-Attention-Network"
VAN_FILES = {"tiny": 754, "small": 811, "base": 828, "large": 839}  # top-1 accuracy times 10, part of their names


def where_published(name):
    """A sentence about the file `name`; None if it is not one of the files known here."""
    if name == "resnet101-imagenet.pth":
        return f"It is MIT's ImageNet ResNet-101, published at {MIT}/{name}"
    match = re.fullmatch(r"van_(tiny|small|base|large)(_\d{3})?\.pth(\.tar)?", name)
    if match:
        size = match.group(1)
        file = f"van_{size}_{VAN_FILES[size]}.pth.tar"
        return f"It is an ImageNet VAN, published as {file} at {VAN}/VAN-{size.capitalize()}-original"
    if re.fullmatch(r"resnet(50|101)_v1c-[0-9a-f]{8}\.pth", name):
        return f"It is the ImageNet ResNet that mmsegmentation starts from, published at {MMSEG}/{name}"
    if re.fullmatch(r"resnet(18|50|101)-[0-9a-f]{8}\.pth", name):
        return f"It is torchvision's ImageNet ResNet, published at https://download.pytorch.org/models/{name}"
    return None


def check_exists(path):
    """Raise a FileNotFoundError with the download address of `path` if it is missing and known here."""
    where = None if os.path.exists(path) else where_published(os.path.basename(path))
    if where:
        raise FileNotFoundError(
            f"--restore-from {path}: there is no such file. {where}. Save it as {os.path.abspath(path)}, name another "
            'file of weights, or start from random weights with --restore-from ""'
        )
