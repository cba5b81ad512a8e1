"""Where the pretrained weights are published that training usually starts from."""

import os
import re

MIT = "http://sceneparsing.csail.mit.edu/model/pretrained_resnet"
VAN = "https://huggingface.co/Visual-Attention-Network"
VAN_FILES = {"tiny": 754, "small": 811, "base": 828, "large": 839}  # top-1 times 10, part of their names


def source(name):
    """Words for the file `name`; None if it is not one of these."""
    if name == "resnet101-imagenet.pth":
        return f"It is MIT's ImageNet ResNet-101, published at {MIT}/{name}"
    found = re.fullmatch(r"van_(tiny|small|base|large)(_\d{3})?\.pth(\.tar)?", name)
    if found:
        size = found.group(1)
        file = f"van_{size}_{VAN_FILES[size]}.pth.tar"
        return f"It is an ImageNet VAN, published as {file} at {VAN}/VAN-{size.capitalize()}-original"
    if re.fullmatch(r"resnet(18|50|101)-[0-9a-f]{8}\.pth", name):
        return f"It is torchvision's ImageNet ResNet, published at https://download.pytorch.org/models/{name}"
    return None


def check(path):
    """Raise a FileNotFoundError that says where to get `path`, if it is missing and one of the files known here."""
    where = None if os.path.exists(path) else source(os.path.basename(path))
    if where:
        raise FileNotFoundError(
            f"--restore-from {path}: there is no such file. {where}. Save it as {os.path.abspath(path)}, name another "
            'file of weights, or start from random weights with --restore-from ""'
        )
