"""State-dict keys, shapes and numbers of parameters, compared with lists of the published PyTorch networks."""

import hashlib
import json
from pathlib import Path

import pytest

from models import build_model
from models.van import VAN

FILE = Path(__file__).resolve().parents[1] / "golden" / "keys.json"
KEYS = json.loads(FILE.read_text())  # of each published network, without batch counters


def shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def count_parameters(model):
    return sum(p.numel() for name, p in model.named_parameters() if "running_" not in name)


def digest(shapes):
    lines = sorted(f"{key} {list(shape)}" for key, shape in shapes.items())
    return {"count": len(lines), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


MMSEG = (  # prefixes here, in mmsegmentation
    *((f"{ours}.", f"backbone.stem.{n}.") for n, ours in enumerate("conv1 bn1 - conv2 bn2 - conv3 bn3".split())),
    ("layer", "backbone.layer"),
    ("head.conva.0.", "decode_head.convs.0.conv."),
    ("head.conva.1.", "decode_head.convs.0.bn."),
    ("head.convb.0.", "decode_head.convs.1.conv."),
    ("head.convb.1.", "decode_head.convs.1.bn."),
    ("head.bottleneck.0.", "decode_head.conv_cat.conv."),
    ("head.bottleneck.1.", "decode_head.conv_cat.bn."),
    ("head.bottleneck.3.", "decode_head.conv_seg."),
    ("head.cca.", "decode_head.cca."),
    ("dsn.0.", "auxiliary_head.convs.0.conv."),
    ("dsn.1.", "auxiliary_head.convs.0.bn."),
    ("dsn.3.", "auxiliary_head.conv_seg."),
)


def named_as_mmsegmentation(shapes):
    renamed = {}
    for key, shape in shapes.items():
        ours, theirs = next(pair for pair in MMSEG if key.startswith(pair[0]))
        renamed[theirs + key[len(ours) :]] = shape
    renamed.pop("decode_head.cca.gamma")
    return {**renamed, "decode_head.cca.gamma.scale": ()}  # shape () there, (1,) here


def test_the_official_network_has_the_official_keys():
    model = build_model("ccnet")
    assert {**digest(shapes(model)), "parameters": 71287911} == KEYS["ccnet"]
    assert count_parameters(model) == 71287911
    assert shapes(build_model("ccnet_large")) == shapes(model)


@pytest.mark.parametrize("name", ["ccnet_mmseg_r50", "ccnet_mmseg_r101"])
def test_the_mmsegmentation_networks_have_their_keys(name):
    model = build_model(name)
    assert digest(named_as_mmsegmentation(shapes(model))).items() <= KEYS[name].items()
    assert count_parameters(model) == KEYS[name]["parameters"]


@pytest.mark.parametrize("name", ["van_tiny", "van_small", "van_base", "van_large", "van_b4", "van_b5", "van_b6"])
def test_vans_have_the_published_keys(name):
    model = VAN(name, num_classes=1000)
    assert digest(shapes(model)).items() <= KEYS[name].items()
    assert count_parameters(model) == KEYS[name]["parameters"]


def test_the_backbone_of_a_van_ccnet_has_the_published_keys():
    keys = shapes(build_model("van", van_size="van_b0", num_classes=9))
    backbone = shapes(VAN("van_tiny"))
    assert backbone.items() <= keys.items()
    heads = {key.split(".")[0] for key in set(keys) - set(backbone)}
    assert heads == {"head", "dsn", "squeeze"}
    assert "squeeze.0.weight" not in shapes(build_model("van", van_size="van_tiny", output_stride=8))


def test_the_torchvision_stem_is_a_7x7():
    keys = shapes(build_model("ccnet_r50", stem="v1"))
    assert keys["conv1.weight"] == (64, 3, 7, 7) and keys["layer1.0.conv1.weight"] == (64, 64, 1, 1)
    assert "conv2.weight" not in keys
