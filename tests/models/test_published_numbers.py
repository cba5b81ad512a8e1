"""Outputs and gradients of the networks, compared with the published PyTorch code (tests/golden/networks.npz)."""

from pathlib import Path

import jittor as jt
import numpy as np
import pytest
from jittor import nn
from support import rule_weights

from models import build_model
from models.cca import CrissCrossAttention
from models.van import VAN
from utils.weights import checkpoint

GOLDEN = np.load(Path(__file__).resolve().parents[1] / "golden" / "networks.npz")


def difference(x, name):
    """The largest error at the positions stored in the golden file: evenly spaced, about 256."""
    flat = x.numpy().ravel()
    return np.abs(flat[:: max(1, flat.size // 256)] - GOLDEN[name].ravel()).max()


@pytest.fixture(scope="module")
def official():
    """-> the ResNet-101 network with rule_weights, the weights, the input, the outputs of its parts."""
    model = build_model("ccnet", aux_always=True)
    weights = rule_weights.fill(model)
    x = jt.array(rule_weights.image("golden/in97x97", (1, 3, 97, 97)))
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
    """The tolerance is relative to the largest value (up to 100): convolutions sum up to 9216 terms in float32."""
    *_, parts = official
    names = [name for name in GOLDEN.files if name.startswith("ccnet/feat")]
    assert len(names) == 11
    for name in names:
        scale = max(1, np.abs(GOLDEN[name]).max())
        assert difference(parts[name.split("/")[1]], name) < 1e-5 * scale, name


def test_resnet101_with_the_weights_of_the_official_abn(official):
    """The official in-place ABN scales by |weight| + 1e-5; a converted checkpoint gives the same logits."""
    model, weights, x, _ = official
    scale = {k: np.abs(v) + np.float32(1e-5) for k, v in weights.items() if k[:-6] + "running_var" in weights}
    checkpoint.load_weights(model, {**weights, **scale})
    with jt.no_grad():
        assert difference(model(x)[0], "ccnet/logits_absgamma") < 2e-4


def van_features(size, image, **options):
    model = VAN(size, num_classes=1000, **options)
    rule_weights.fill(model)
    sides = {"input": (96, 128), "input_odd": (97, 129)}[image]
    x = jt.array(rule_weights.image(image, (1, 3, *sides)))
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
        results.pop("os16_stage3")  # equals stage3
        names = {name.split("/")[1] for name in GOLDEN.files if name.startswith(size) and "gradient" not in name}
        assert names - {"loss"} == set(results)
        for name, value in results.items():
            # values up to 3e6 before the last norm; the error of PyTorch in float32 is 7e-5
            tolerance = 1e-4 if (size, name[:9]) == ("van_large", "os8_nodil") else 2e-5
            assert difference(value, f"{size}/{name}") < tolerance, name


def test_the_dense_van_subsampled_equals_the_sparse_one():
    with jt.no_grad():
        sparse, dense = (van_features("van_tiny", "input", output_stride=stride)[2] for stride in (32, 8))
        np.testing.assert_allclose(dense[2].numpy()[:, :, ::2, ::2], sparse[2].numpy(), atol=2e-5)
        np.testing.assert_allclose(dense[3].numpy()[:, :, ::4, ::4], sparse[3].numpy(), atol=2e-5)


def test_van_gradients():
    """Gradients of a random weighted mean of the stages, in evaluation.

    Expected values: PyTorch in float64, confirmed by finite differences. (PyTorch 2.13 on the CPU computes wrong
    gradients of BatchNorm in evaluation if they arrive in another memory layout, as from token-shaped layers.)
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
