"""A CCNet in bfloat16 on the CPU, compared with float32 and with PyTorch's bfloat16."""

import jittor as jt
import numpy as np
import pytest
from support import rule_weights

from models import build_model
from models.layers import conv
from models.layers.fold import fold
from utils.training import amp

pytestmark = pytest.mark.skipif(bool(conv.why_no_bfloat16()), reason="oneDNN has no bfloat16 on this processor")
SHAPES = [(2, 3, 64, 96), (1, 3, 97, 57), (1, 3, 9, 300), (1, 3, 1, 1)]  # with even sides, the poolings differ


def build(name, **options):
    model = build_model(name, 9, aux_always=True, **options)
    rule_weights.fill(model)
    return model


def build_folded():
    model = build("ccnet_r18")
    model.eval()
    amp.simplify("bfloat16", fold)(model)
    return model


def logits(model, shape):
    with jt.no_grad():
        return [x.numpy() for x in model(jt.array(rule_weights.image("fold", shape)))]


NETWORKS = [
    ("ccnet_r18", {}),
    ("ccnet_r50", {"stem": "v1"}),
    ("ccnet_mmseg_r50", {}),
    ("ccnet_r18", {"in_channels": 5}),
    ("van", {"van_size": "van_tiny"}),
    ("van", {"van_size": "van_tiny", "output_stride": 8, "in_channels": 4}),
]


@pytest.mark.parametrize("name, options", NETWORKS)
def test_evaluation_is_near_float32_folded_or_not(name, options):
    model = build(name, **options)
    model.eval()
    shapes = [(b, options.get("in_channels", 3), h, w) for b, _, h, w in SHAPES]
    expected = [logits(model, shape) for shape in shapes]
    assert amp.simplify("bfloat16")(model) == "not folded, bfloat16"
    other = build(name, **options)
    other.eval()
    assert amp.simplify("bfloat16", fold)(other).endswith("BatchNorms folded, bfloat16")
    for one in (model, other):
        for shape, results in zip(shapes, expected):
            for result, x in zip(logits(one, shape), results):
                assert result.dtype == np.float32 and result.shape == x.shape
                assert 0 < np.linalg.norm(result - x) < 0.03 * np.linalg.norm(x)


def gradients(model, x):
    model.train()
    for module in model.modules():
        if hasattr(module, "rate"):
            module.rate = 0.0
    outputs = model(x)
    named = [(key, p) for key, p in model.named_parameters() if not p.is_stop_grad()]
    grads = jt.grad(sum((y * y).mean() for y in outputs), [p for _, p in named])
    return {key: g.numpy() for (key, _), g in zip(named, grads)}


def relative(result, expected):
    return np.linalg.norm(result - expected) / max(np.linalg.norm(expected), 1e-9)


def pytorch_twin(name):
    from models.tables import VAN_SIZES
    from scripts.benchmark import torch_models

    return torch_models.VANCCNet(*VAN_SIZES["van_tiny"][:2], 9) if name == "van" else torch_models.CCNet(18, 9)


@pytest.mark.parametrize("name, options", [("ccnet_r18", {}), ("van", {"van_size": "van_tiny", "drop_path": 0.0})])
def test_a_training_step_is_as_near_to_float32_as_that_of_pytorch(name, options):
    torch = pytest.importorskip("torch")
    from scripts.benchmark import torch_models

    image = rule_weights.image("fold", (2, 3, 64, 96))
    model = build(name, **options)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    exact = gradients(model, jt.array(image))
    model = build(name, **options)
    assert amp.compute(model, "bfloat16") == []
    ours = gradients(model, jt.array(image))
    assert all(value.dtype == "float32" for value in model.state_dict().values())
    for key, value in model.state_dict().items():
        if key.endswith("running_mean"):
            assert relative(value.numpy(), 0.9 * state[key]) > 0, key

    other = torch_models.load(pytorch_twin(name), state).train()
    for module in other.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    with torch.autocast("cpu", torch.bfloat16):
        outputs = other(torch.from_numpy(image))
    sum((y.float() ** 2).mean() for y in outputs).backward()
    peers = {key: p.grad.numpy() for key, p in other.named_parameters()}
    assert set(peers) == set(ours)
    zero = ("key_conv.bias", "dsn.0.bias", "proj.bias", "norm4.bias")  # a norm without these biases follows
    number = {"van": "head.cca.gamma"}.get(name)  # one number, and PyTorch's happens to be near
    keys = [key for key in peers if not key.endswith(zero) and key != number]
    errors = [np.array([relative(grads[key], exact[key]) for key in keys]) for grads in (ours, peers)]
    assert np.median(errors[0]) < 1.2 * np.median(errors[1]) and (errors[0] < 2 * errors[1] + 0.02).all()
    assert number is None or relative(ours[number], exact[number]) < 0.2


def test_frozen_batch_norm_has_fixed_statistics_in_training():
    from models.layers.batch_norm import freeze

    model = build("ccnet_r18")
    freeze(model)
    x = jt.array(rule_weights.image("fold", (1, 3, 33, 41)))
    before = model.bn1.running_mean.numpy().copy()
    exact = gradients(model, x)
    amp.compute(model, "bfloat16")
    ours = gradients(model, x)
    np.testing.assert_array_equal(model.bn1.running_mean.numpy(), before)
    assert set(ours) == set(exact)
    assert np.median([relative(ours[key], exact[key]) for key in ours]) < 0.05


def test_a_network_without_such_layers_computes_in_float32():
    model = build_model("ccnet_r18", 9, whole_softmax=True)
    (line,) = amp.compute(model, "bfloat16")
    assert line.endswith("computed in float32, because the softmax over the whole image has no form in bfloat16")
    model.eval()
    assert "float32 instead of bfloat16: the softmax over the whole image" in amp.simplify("bfloat16", fold)(model)
    other = jt.nn.Sequential(jt.nn.Conv2d(3, 4, 1))
    assert amp.compute(other, "bfloat16")[0].endswith("because this network has no layers in bfloat16 for the CPU")


def test_a_processor_without_it_computes_in_float32(monkeypatch):
    from models import ccnet

    monkeypatch.setattr(ccnet, "why_no_bfloat16", lambda: "this processor has neither AVX512-BF16 nor AMX")
    model = build("ccnet_r18")
    (line,) = amp.compute(model, "bfloat16")
    assert "neither AVX512-BF16 nor AMX" in line and not model.bfloat16
    model.eval()
    done = amp.simplify("bfloat16", fold)(model)
    assert done.endswith(
        "maps packed for oneDNN, float32 instead of bfloat16: this processor has neither AVX512-BF16 nor AMX"
    )


def test_evaluation_is_bitwise_the_same_with_any_number_of_threads(run_command):
    """A training step is with one number of threads: oneDNN divides the sums of some weight gradients by threads."""
    code = """
import sys; sys.path.insert(0, "."); sys.path.insert(0, "tests"); sys.path.insert(0, "tests/models")
from utils import runtime; runtime.start("cpu")
import hashlib, jittor as jt
from test_bfloat16 import amp, build, build_folded, gradients, logits, rule_weights
model = build("ccnet_r18"); amp.compute(model, "bfloat16")
grads = gradients(model, jt.array(rule_weights.image("fold", (1, 3, 65, 81))))
model.eval()
for name, parts in (("LOGITS", logits(build_folded(), (1, 3, 97, 57))), ("GRADIENTS", grads.values())):
    print(name, hashlib.sha256(b"".join(x.tobytes() for x in parts)).hexdigest())
"""
    done = [run_command("python", "-c", code, env={"OMP_NUM_THREADS": n}) for n in ("1", "1", "2")]
    assert all(d.returncode == 0 for d in done), [d.stderr for d in done]
    digests = [dict(line.split() for line in d.stdout.splitlines() if line.startswith(("LOG", "GRAD"))) for d in done]
    assert digests[0] == digests[1] and digests[0]["LOGITS"] == digests[2]["LOGITS"] and len(digests[0]) == 2
