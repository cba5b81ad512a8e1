"""Mixed precision, forced on the CPU: slow there, but the same casts, and the same arithmetic of the loss scale."""

import json

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models import build_model
from models.cca import RCCA
from models.layers.batch_norm import BatchNorm
from utils.training import amp


class BatchNormAct(BatchNorm):  # on the CPU, Jittor cannot compare 16-bit numbers with 0: no relu of its own
    def execute(self, x):
        return nn.leaky_relu(super().execute(x), 0.01)


class Net(nn.Module):
    """Every kind of layer that the networks have: convolution, BatchNorm, attention, a residual, two outputs."""

    def __init__(self):
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = BatchNormAct(8)
        self.cca = RCCA(8, 1)
        self.head = nn.Conv2d(8, 2, 1)
        self.seen = []

    def execute(self, x):
        y = self.stem(x)
        z = self.bn(y)
        a = self.cca(z)
        self.seen = [str(v.dtype) for v in (y, z, a)]
        return [self.head(a + z), self.head(z)]


def arrays(model):
    return {key: value.numpy().copy() for key, value in model.state_dict().items()}


def parameters(model):
    return [p for p in model.parameters() if not p.is_stop_grad()]


@pytest.fixture
def data(rng):
    return rng.standard_normal((2, 3, 5, 6)).astype("float32")


@pytest.mark.parametrize("dtype", amp.DTYPES)
def test_a_mixed_model_is_near_the_float32_one(data, dtype):
    """Values and gradients; 16-bit between the layers, float32 at both ends, and nothing changes in the state dict."""
    jt.set_global_seed(3)
    model = Net()
    model.cca.gamma.assign(jt.array([0.7]))
    jt.sync_all()
    x = jt.array(data)
    before = arrays(model)
    wanted = [out.numpy() for out in model(x)]
    assert model.seen == ["float32"] * 3
    gradients = [g.numpy() for g in jt.grad(sum((out * out).mean() for out in model(x)), parameters(model))]

    amp.mixed(model, dtype)
    for _ in range(2):  # the second time finds the float32 weights in place again
        outs = model(x)
        assert model.seen[:2] == [dtype] * 2 and all(out.dtype == "float32" for out in outs)
    found = [g for g in jt.grad(sum((out * out).mean() for out in model(x)), parameters(model))]
    tolerance = 1e-2 if dtype == "float16" else 0.3  # on the CPU Jittor truncates bfloat16, and adds up in it
    assert all(g.dtype == "float32" for g in found)
    for a, b in zip([*wanted, *gradients], [*(out.numpy() for out in outs), *(g.numpy() for g in found)]):
        assert 0 < np.linalg.norm(a - b) <= tolerance * max(np.linalg.norm(a), 0.1)  # 0: not in 16 bits at all
    assert list(model.state_dict()) == list(before) and all(v.dtype == "float32" for v in model.state_dict().values())
    moving = ("running_mean", "running_var")
    assert all(np.array_equal(before[key], value) for key, value in arrays(model).items() if not key.endswith(moving))


def test_batch_norm_computes_in_float32():
    """300 squared is beyond float16; the statistics of such a map are still right."""
    bn = BatchNorm(4)
    model = nn.Sequential(bn)
    amp.mixed(model, "float16")
    x = 300 + np.arange(2 * 4 * 3 * 3, dtype="float32").reshape(2, 4, 3, 3) % 7
    y = model(jt.array(x).float16()).numpy()
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    expected = (x - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None]
    np.testing.assert_allclose(y, expected, atol=2e-2)
    np.testing.assert_allclose(bn.running_mean.numpy(), 0.1 * mean, rtol=1e-5)


class Spy(jt.Function):
    """Passes on what comes, and remembers the type of the gradient."""

    seen = []

    def execute(self, x):
        return x * 1

    def grad(self, g):
        self.seen.append(str(g.dtype))
        return g


class SpiedConv(nn.Conv2d):
    def execute(self, x):
        return Spy()(super().execute(x))


def test_gradients_enter_a_convolution_in_its_own_type(data):
    """GELU computes in float32, and its gradient would be float32: cuDNN takes no such pair."""
    conv = SpiedConv(3, 4, 1)
    model = amp.mixed(nn.Sequential(conv), "float16")
    y = model[0](jt.array(data))
    assert y.dtype == "float16"
    loss = (y * jt.array(np.ones(y.shape, "float32"))).sum()  # float32 because of its other factor
    gradient = jt.grad(loss, conv.weight)
    assert gradient.dtype == "float32" and np.isfinite(gradient.numpy()).all() and Spy.seen == ["float16"]


def test_pooling_has_16_bits_outside_and_float32_inside(rng):
    inside = []
    pool = nn.Pool(3, 2, 1, op="maximum")
    execute = pool.execute
    pool.execute = lambda x: inside.append(str(x.dtype)) or execute(x)
    model = amp.mixed(nn.Sequential(pool), "float16")
    x = jt.array(rng.standard_normal((1, 4, 5, 6)).astype("float32")).float16()
    y = model[0](x)
    assert inside == ["float32"] and y.dtype == "float16"
    assert np.array_equal(y.float32().numpy(), execute(x.float32()).numpy())


@pytest.mark.parametrize("name", ["ccnet_r18", "ccnet_mmseg_r50"])
def test_a_whole_network_trains_in_16_bits(name, rng):
    """Every call between the layers of a ResNet passes more than x: the residual sum, the activation."""
    model = amp.mixed(build_model(name, 3), "bfloat16")
    x = jt.array(rng.standard_normal((2, 3, 33, 33)).astype("float32"))
    outs = model(x)
    assert [out.dtype for out in outs] == ["float32"] * 2
    gradients = jt.grad(sum((out * out).mean() for out in outs), parameters(model))
    assert all(g.dtype == "float32" and np.isfinite(g.numpy()).all() for g in gradients)
    assert any(np.abs(g.numpy()).max() > 0 for g in gradients)


def test_twice_is_an_error():
    model = amp.mixed(nn.Sequential(nn.Linear(2, 2)), "bfloat16")
    with pytest.raises(ValueError, match="mixed precision already"):
        amp.mixed(model, "bfloat16")
    with pytest.raises(ValueError, match="dtype is 'float8'; choose from float16, bfloat16"):
        amp.mixed(nn.Sequential(nn.Linear(2, 2)), "float8")


def test_what_cannot_be_had_is_refused():
    amp.check("float16", "cuda", [70])
    amp.check("bfloat16", "cuda", [80, 90])
    with pytest.raises(ValueError, match="--amp half is unknown; choose from float16, bfloat16"):
        amp.check("half", "cuda")
    with pytest.raises(ValueError, match="--amp float16 needs a GPU"):
        amp.check("float16", "cpu")
    with pytest.raises(ValueError, match="bfloat16 needs compute capability 8.0, this GPU has 7.0; use float16"):
        amp.check("bfloat16", "cuda", [90, 70])


# --------------------------------------------------------------------------------------------- the loss scale


def make(kind, values=((1.0, -2.0), (0.5,))):
    """Two parameters, one of them a single number as gamma is."""
    weights = [jt.array(np.array(value, "float32")) for value in values]
    jt.sync_all()
    if kind == "sgd":
        return weights, jt.optim.SGD(weights, 0.1, 0.9, 0.01)
    return weights, jt.optim.AdamW(weights, 0.1, weight_decay=0.01)


def loss_of(weights, factor=1.0):
    a, b = weights
    return (((a * a).sum() + (a.sum() * b).sum() * 3) * factor).sum()


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_scaled_step_is_the_plain_step(kind):
    """A power of two comes out of every float32 gradient again without a trace."""
    (plain, optimizer), (scaled, other), scaler = make(kind), make(kind), amp.LossScaler("float16")
    for _ in range(4):
        optimizer.step(loss_of(plain))
        assert scaler.step(other, loss_of(scaled))
        jt.sync_all()
    for a, b in zip(plain, scaled):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
    assert scaler.good == 4 and scaler.scale == 2**16 and other.n_step == optimizer.n_step == 4


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("bad", [1e38, float("nan")])
def test_an_overflow_leaves_everything_as_it_was(kind, bad):
    """Weights, momentum, and the count that Adam's corrections use; the next step is as if nothing had happened."""
    (plain, optimizer), (scaled, other), scaler = make(kind), make(kind), amp.LossScaler("float16")
    optimizer.step(loss_of(plain))
    assert scaler.step(other, loss_of(scaled))
    before = [w.numpy().copy() for w in scaled]
    assert not scaler.step(other, loss_of(scaled, bad))
    assert not scaler.step(other, loss_of(scaled, bad))
    assert scaler.scale == 2**14 and scaler.skipped == 2 and scaler.good == 0
    assert all(np.array_equal(a, w.numpy()) for a, w in zip(before, scaled))
    optimizer.step(loss_of(plain))
    assert scaler.step(other, loss_of(scaled))
    jt.sync_all()
    for a, b in zip(plain, scaled):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_a_batch_in_pieces():
    """Two halves give the step of the whole, and one bad half spoils both."""
    (plain, optimizer), (scaled, other), scaler = make("sgd"), make("sgd"), amp.LossScaler("float16")
    optimizer.step(loss_of(plain))
    for _ in range(2):
        scaler.backward(other, loss_of(scaled) / 2)
    assert scaler.ready(other)
    other.step()
    for factor in (1.0, float("inf")):
        scaler.backward(other, loss_of(scaled, factor) / 2)
    assert not scaler.ready(other) and scaler.skipped == 1
    jt.sync_all()
    for a, b in zip(plain, scaled):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_the_scale_grows_and_has_an_end():
    weights, optimizer = make("sgd")
    scaler = amp.LossScaler("float16", scale=2.0**22, patience=2, largest=2.0**24)
    seen = []
    for _ in range(7):
        scaler.step(optimizer, loss_of(weights, 1e-3))
        seen.append(np.log2(scaler.scale))
    assert seen == [22, 23, 23, 24, 24, 24, 24]


def test_no_end_of_overflows_is_an_error():
    weights, optimizer = make("sgd")
    scaler = amp.LossScaler("float16", scale=2.0)
    assert not scaler.step(optimizer, loss_of(weights, float("inf"))) and scaler.scale == 1
    with pytest.raises(FloatingPointError, match="not finite even at loss scale 1 .2 steps.*--amp bfloat16"):
        scaler.step(optimizer, loss_of(weights, float("inf")))


def test_small_gradients_survive_only_with_a_scale():
    """1e-8 is below what float16 can hold; multiplied by 65536 it is not."""

    def gradient(scaler):
        weight = jt.array(np.ones(4, "float32"))
        optimizer = jt.optim.SGD([weight], 1.0)
        scaler.step(optimizer, (weight.float16() * jt.ones(4, "float16")).float32().sum() * 1e-8)
        return optimizer.param_groups[0]["grads"][0].numpy()

    assert (gradient(amp.LossScaler()) == 0).all()
    np.testing.assert_allclose(gradient(amp.LossScaler("float16")), 1e-8, rtol=1e-3)


def test_without_float16_it_is_the_optimiser_alone():
    for dtype in (None, "bfloat16"):
        (plain, optimizer), (weights, other), scaler = make("sgd"), make("sgd"), amp.LossScaler(dtype)
        optimizer.step(loss_of(plain))
        assert scaler.step(other, loss_of(weights)) and scaler.state() == {}
        assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(plain, weights))


def test_the_state_goes_through_a_checkpoint():
    scaler, other = amp.LossScaler("float16"), amp.LossScaler("float16")
    scaler.scale, scaler.good, scaler.skipped = 1.0, 17, 16
    other.load_state(json.loads(json.dumps(scaler.state())))
    assert other.state() == scaler.state()
    fresh = amp.LossScaler("float16")
    fresh.load_state(amp.LossScaler().state())  # trained in float32 so far
    assert fresh.scale == 2**16
    plain = amp.LossScaler()
    plain.load_state(scaler.state())  # goes on in float32
    assert plain.scale == 1
