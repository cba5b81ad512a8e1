"""Names, sizes and numbers of the networks, against lists and outputs of the published PyTorch code."""

import hashlib
import json
from pathlib import Path

import jittor as jt
import numpy as np
import pytest
from jittor import nn
from support import rule_weights

from models import MODELS, build_model
from models.cca import CrissCrossAttention
from models.layers.dropout import DropPath
from models.tables import VAN_ALIASES, VAN_SIZES
from models.van import VAN
from utils.weights import checkpoint

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = np.load(TESTS / "golden" / "networks.npz")
KEYS = json.loads((TESTS / "golden" / "keys.json").read_text())  # of each published network, without batch counters


def shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def trained(model):
    return {name: p for name, p in model.named_parameters() if "running_" not in name}


def difference(x, name):
    """From the values that the golden file keeps: evenly spaced, about 256."""
    flat = x.numpy().ravel()
    return np.abs(flat[:: max(1, flat.size // 256)] - GOLDEN[name].ravel()).max()


@pytest.fixture(scope="module")
def network():
    return build_model("ccnet_r18", num_classes=9)


# ------------------------------------------------------------------------------------------------- names and sizes


def digest(shapes):
    lines = sorted(f"{key} {list(shape)}" for key, shape in shapes.items())
    return {"count": len(lines), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


MMSEG = (  # ours, theirs
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
    return {**renamed, "decode_head.cca.gamma.scale": ()}  # a number there, a vector of one here


def test_the_official_network_has_the_official_keys():
    model = build_model("ccnet")
    assert {**digest(shapes(model)), "parameters": 71287911} == KEYS["ccnet"]
    assert sum(p.numel() for p in trained(model).values()) == 71287911
    assert shapes(build_model("ccnet_large")) == shapes(model)


@pytest.mark.parametrize("name", ["ccnet_mmseg_r50", "ccnet_mmseg_r101"])
def test_the_mmsegmentation_networks_have_their_keys(name):
    model = build_model(name)
    assert digest(named_as_mmsegmentation(shapes(model))).items() <= KEYS[name].items()
    assert sum(p.numel() for p in trained(model).values()) == KEYS[name]["parameters"]


@pytest.mark.parametrize("name", ["van_tiny", "van_small", "van_base", "van_large", "van_b4", "van_b5", "van_b6"])
def test_vans_have_the_published_keys(name):
    model = VAN(name, num_classes=1000)
    assert digest(shapes(model)).items() <= KEYS[name].items()
    assert sum(p.numel() for p in trained(model).values()) == KEYS[name]["parameters"]


def test_a_van_ccnet_names_its_backbone_as_the_published_file():
    own = shapes(build_model("van", van_size="van_b0", num_classes=9))
    backbone = shapes(VAN("van_tiny"))
    assert backbone.items() <= own.items()
    heads = {key.split(".")[0] for key in set(own) - set(backbone)}
    assert heads == {"head", "dsn", "squeeze"}
    assert "squeeze.0.weight" not in shapes(build_model("van", van_size="van_tiny", output_stride=8))


def test_the_torchvision_stem_is_a_7x7():
    own = shapes(build_model("ccnet_r50", stem="v1"))
    assert own["conv1.weight"] == (64, 3, 7, 7) and own["layer1.0.conv1.weight"] == (64, 64, 1, 1)
    assert "conv2.weight" not in own


def test_strides_and_dilations_of_the_two_families():
    """Stages 3 and 4: stride 1 and dilation 2 and 4, in mmsegmentation one step less in their first blocks."""
    for name, expected in (("ccnet_r50", (1, 1, 2, 2, 4, 4)), ("ccnet_mmseg_r50", (1, 1, 1, 2, 2, 4))):
        model = build_model(name)
        blocks = [block for stage in (model.layer2, model.layer3, model.layer4) for block in (stage[0], stage[1])]
        assert tuple(block.conv2.dilation[0] for block in blocks) == expected
        assert [block.conv2.stride[0] for block in blocks] == [2, 1, 1, 1, 1, 1]
        assert all(block.conv1.stride == (1, 1) for block in blocks)
        assert all(block.conv2.padding == block.conv2.dilation for block in blocks)


@pytest.mark.parametrize("name, sides", [("ccnet_r18", (9, 13)), ("ccnet_mmseg_r50", (8, 12))])
def test_pooling_rounds_up_officially_and_down_in_mmsegmentation(name, sides):
    model = build_model(name)
    pooled = model.maxpool(jt.zeros((1, 1, 32, 48)))  # 64x96 behind the stem
    assert tuple(-(-side // 2) for side in pooled.shape[2:]) == sides


@pytest.mark.parametrize("up", [True, False])
def test_pooling_takes_the_smallest_maps(up, rng):
    pool = build_model("ccnet_r18", 9, ceil_pool=up).pool
    for h, w in ((1, 1), (1, 4), (2, 3), (3, 2), (4, 5), (6, 1)):
        x = rng.random((1, 2, h, w), dtype=np.float32)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 3), (1, 3)))
        rows, columns = ((side // 2 if up and side > 1 else (side - 1) // 2) + 1 for side in (h, w))
        windows = [[padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] for j in range(columns)] for i in range(rows)]
        expected = np.array([[window.max((2, 3)) for window in row] for row in windows]).transpose(2, 3, 0, 1)
        np.testing.assert_array_equal(pool(jt.array(x)).numpy(), expected)


@pytest.mark.parametrize(
    "stride, main, aux",
    [("multi", (13, 17), (7, 9)), (8, (13, 17), (13, 17)), (16, (7, 9), (7, 9)), (32, (4, 5), (7, 9))],
)
def test_van_logits_come_at_the_stride_asked_for(stride, main, aux):
    model = build_model("van", 9, van_size="van_tiny", output_stride=stride)
    logits = model(jt.zeros((2, 3, 97, 129)))
    assert [tuple(x.shape) for x in logits] == [(2, 9, *main), (2, 9, *aux)]


# ------------------------------------------------------------------------------------------------------- behaviour


def test_training_gives_main_and_auxiliary_logits_at_stride_8(network):
    network.train()
    logits = network(jt.randn(2, 3, 97, 129))
    assert [tuple(x.shape) for x in logits] == [(2, 9, 13, 17)] * 2


def test_evaluation_gives_main_logits_only(network):
    network.eval()
    first, again = (network(jt.ones((1, 3, 97, 129)))[0].numpy() for _ in range(2))
    assert first.shape == (1, 9, 13, 17)
    np.testing.assert_allclose(first, again, atol=1e-6)  # dropout is off
    network.aux_always = True
    assert len(network(jt.ones((1, 3, 97, 129)))) == 2
    network.aux_always = False


def test_every_parameter_is_trained(network):
    network.train()
    network.head.cca.gamma.assign(jt.array([0.3]))
    loss = sum((x * x).mean() for x in network(jt.randn(2, 3, 97, 129)))
    names = [name for name, p in network.named_parameters() if not p.is_stop_grad()]
    parameters = [p for p in network.parameters() if not p.is_stop_grad()]
    still = [n for n, g in zip(names, jt.grad(loss, parameters)) if not np.abs(g.numpy()).max() > 0]
    # softmax does not feel a constant added to all energies of a pixel: the key's bias has no gradient but rounding
    assert set(still) <= {"head.cca.key_conv.bias"}, still


def test_drop_path_rises_over_the_blocks_and_drops_whole_samples():
    rates = [
        block.drop_path.rate
        for stage in (1, 2, 3, 4)
        for block in getattr(VAN("van_b0", drop_path=0.3), f"block{stage}")
    ]
    np.testing.assert_allclose(rates, np.linspace(0, 0.3, 13), atol=1e-7)
    drop = DropPath(0.25)
    drop.train()
    y = drop(jt.ones((4000, 1, 2, 1))).numpy()[:, 0, :, 0]
    assert (y[:, 0] == y[:, 1]).all() and set(np.unique(y.round(5))) == {0, np.float32(1.33333)}
    assert abs(y.mean() - 1) < 0.05
    drop.eval()
    assert (drop(jt.ones((3, 1, 1, 1))).numpy() == 1).all()


def test_mistakes_are_answered_with_what_is_known():
    for words, name, options in (
        ("unknown model 'ccnet101'; choose from .*ccnet_r18", "ccnet101", {}),
        ("num_classes is 1", "ccnet_r18", {"num_classes": 1}),
        ("depth is 34; choose from 18, 50, 101", "ccnet", {"depth": 34}),
        ("stem is 'v2'; choose from deep, v1c, v1", "ccnet", {"stem": "v2"}),
        ("van_size is 'van_b9'; choose from van_tiny", "van", {"van_size": "van_b9"}),
        ("output_stride is 4", "van", {"output_stride": 4}),
    ):
        with pytest.raises(ValueError, match=words):
            build_model(name, **options)
    assert {"van_tiny", "van_large", "van_b0", "van_b6"} <= {*VAN_SIZES, *VAN_ALIASES} and "ccnet_mmseg_r101" in MODELS


# --------------------------------------------------------------------------------------------------------- numbers


@pytest.fixture(scope="module")
def official():
    """The ResNet-101 network with weights made by rule, its input, and what its parts give."""
    model = build_model("ccnet", aux_always=True)
    weights = rule_weights.ccnet(shapes(model))
    checkpoint.load_weights(model, weights)
    model.eval()
    x = jt.array(rule_weights.picture("golden/in97x97", (1, 3, 97, 97)))
    parts = {}
    with jt.no_grad():
        y = x
        for n in (1, 2, 3):
            y = nn.relu(getattr(model, f"bn{n}")(getattr(model, f"conv{n}")(y)))
        parts["feat_maxpool"] = y = model.maxpool(y)
        for n in (1, 2, 3, 4):
            parts[f"feat_layer{n}"] = y = getattr(model, f"layer{n}")(y)
        parts["feat_dsn_abn"] = model.dsn[1](model.dsn[0](parts["feat_layer3"]))
        head = model.head
        parts["feat_conva"] = z = head.conva(y)
        for n in (1, 2):
            parts[f"feat_cca_r{n}"] = z = CrissCrossAttention.execute(head.cca, z)
        parts["feat_convb"] = z = head.convb(z)
        parts["feat_bottleneck_abn"] = head.bottleneck[1](head.bottleneck[0](jt.concat([y, z], dim=1)))
        parts["logits_f64"], parts["logits_dsn_f64"] = model(x)
    return model, weights, x, parts


def test_resnet101_gives_the_published_logits(official):
    *_, parts = official
    assert difference(parts["logits_f64"], "ccnet/logits_f64") < 2e-4
    assert difference(parts["logits_dsn_f64"], "ccnet/logits_dsn_f64") < 2e-4


def test_resnet101_gives_the_published_features(official):
    """Relative to the largest value kept of each (up to 100): what float32 convolutions of 9216 terms allow."""
    *_, parts = official
    names = [name for name in GOLDEN.files if name.startswith("ccnet/feat")]
    assert len(names) == 11
    for name in names:
        scale = max(1, np.abs(GOLDEN[name]).max())
        assert difference(parts[name.split("/")[1]], name) < 1e-5 * scale, name


def test_resnet101_as_the_official_abn_reads_its_weights(official):
    """The official in-place ABN scales by |weight| + 1e-5; a checkpoint converted so gives its logits."""
    model, weights, x, _ = official
    scale = {k: np.abs(v) + np.float32(1e-5) for k, v in weights.items() if k[:-6] + "running_var" in weights}
    checkpoint.load_weights(model, {**weights, **scale})
    with jt.no_grad():
        assert difference(model(x)[0], "ccnet/logits_absgamma") < 2e-4


def van_features(size, picture, **options):
    model = VAN(size, num_classes=1000, **options)
    checkpoint.load_weights(model, rule_weights.van(shapes(model)))
    model.eval()
    side = {"input": (96, 128), "input_odd": (97, 129)}[picture]
    x = jt.array(rule_weights.picture(picture, (1, 3, *side)))
    return model, x, model.features(x)


@pytest.mark.parametrize("size", ["van_tiny", "van_large"])
def test_van_features(size):
    with jt.no_grad():
        model, x, stages = van_features(size, "input")
        results = {f"stage{n}": stage for n, stage in enumerate(stages, 1)}
        results["patch_embed1"] = model.patch_embed1(x)
        results["block1.0"] = model.block1[0](results["patch_embed1"])
        results["head_logits"] = model.classify(x)
        results["odd_stage3"], results["odd_stage4"] = van_features(size, "input_odd")[2][2:]
        for name, options in (
            ("os16", {"output_stride": 16}),
            ("os8", {"output_stride": 8}),
            ("os8_nodil", {"output_stride": 8, "dilate": False}),
        ):
            results[f"{name}_stage3"], results[f"{name}_stage4"] = van_features(size, "input", **options)[2][2:]
        results.pop("os16_stage3")  # is stage3
        kept = {name.split("/")[1] for name in GOLDEN.files if name.startswith(size) and "gradient" not in name}
        assert kept - {"loss"} == set(results)
        for name, value in results.items():
            # large, not dilated: values grow to 3e6 before the last norm, and PyTorch's own float32 is off by 7e-5
            tolerance = 1e-4 if (size, name[:9]) == ("van_large", "os8_nodil") else 2e-5
            assert difference(value, f"{size}/{name}") < tolerance, name


def test_the_dense_van_sampled_is_the_sparse_one():
    with jt.no_grad():
        sparse, dense = (van_features("van_tiny", "input", output_stride=stride)[2] for stride in (32, 8))
        np.testing.assert_allclose(dense[2].numpy()[:, :, ::2, ::2], sparse[2].numpy(), atol=2e-5)
        np.testing.assert_allclose(dense[3].numpy()[:, :, ::4, ::4], sparse[3].numpy(), atol=2e-5)


def test_van_gradients():
    """Of the mean of the stages under random weights, in evaluation.

    The numbers kept are float64 PyTorch's, confirmed by finite differences: its BatchNorm in evaluation (2.13, CPU)
    passes wrong gradients back when they come in another memory layout, so token-shaped implementations give others.
    """
    model, x, stages = van_features("van_tiny", "input")
    names = [name.split(":")[1] for name in GOLDEN.files if "gradient:" in name]
    parameters = dict(model.named_parameters())
    for name in set(names) - {"input"}:
        parameters[name].start_grad()
    stages = model.features(x)
    loss = 0
    for n, stage in enumerate(stages, 1):
        weight = rule_weights.generator(f"cot{n}").standard_normal(tuple(stage.shape)).astype(np.float32)
        loss = loss + (stage * jt.array(weight)).sum() / stage.numel()
    gradients = jt.grad(loss, [x if name == "input" else parameters[name] for name in names])
    assert abs(loss.item() - GOLDEN["van_tiny/loss"]) < 1e-6 and len(names) == 7
    for name, gradient in zip(names, gradients):
        scale = np.abs(GOLDEN[f"van_tiny/gradient:{name}"]).max()
        assert difference(gradient, f"van_tiny/gradient:{name}") < 2e-5 * scale, name
