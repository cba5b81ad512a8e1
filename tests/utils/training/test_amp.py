"""Mixed precision on the CPU: slow there, but with the same casts as on a GPU."""

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models import build_model
from models.cca import RCCA
from models.layers.batch_norm import BatchNorm
from utils.training import amp


class BatchNormAct(BatchNorm):  # on the CPU, Jittor cannot compare 16-bit numbers with 0, as a ReLU of its own does
    def execute(self, x):
        return super().execute(x, activation="leaky_relu")


class Net(nn.Module):
    """All layers of the networks: convolution, BatchNorm, attention, a residual, two outputs."""

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
    """Values and gradients: 16 bits between the layers, float32 outputs, and an unchanged state dict."""
    jt.set_global_seed(3)
    model = Net()
    model.cca.gamma.assign(jt.array([0.7]))
    jt.sync_all()
    x = jt.array(data)
    before = arrays(model)
    expected = [out.numpy() for out in model(x)]
    assert model.seen == ["float32"] * 3
    gradients = [g.numpy() for g in jt.grad(sum((out * out).mean() for out in model(x)), parameters(model))]

    amp.mixed(model, dtype)
    for _ in range(2):  # after the first pass the weights are float32 again
        outs = model(x)
        assert model.seen[:2] == [dtype] * 2 and all(out.dtype == "float32" for out in outs)
    mixed = [g for g in jt.grad(sum((out * out).mean() for out in model(x)), parameters(model))]
    tolerance = 1e-2 if dtype == "float16" else 0.3  # on the CPU Jittor truncates bfloat16 and sums in it
    assert all(g.dtype == "float32" for g in mixed)
    for a, b in zip([*expected, *gradients], [*(out.numpy() for out in outs), *(g.numpy() for g in mixed)]):
        assert 0 < np.linalg.norm(a - b) <= tolerance * max(np.linalg.norm(a), 0.1)  # 0 would be float32
    assert list(model.state_dict()) == list(before) and all(v.dtype == "float32" for v in model.state_dict().values())
    moving = ("running_mean", "running_var")
    assert all(np.array_equal(before[key], value) for key, value in arrays(model).items() if not key.endswith(moving))


def test_batch_norm_takes_16_bits_and_has_statistics_in_float32():
    """300 squared overflows float16, but the statistics of such a map are correct. Nothing is cast around the layer."""
    bn = BatchNorm(4)
    model = nn.Sequential(bn)
    amp.mixed(model, "float16")
    assert "execute" not in vars(bn)
    x = 300 + np.arange(2 * 4 * 3 * 3, dtype="float32").reshape(2, 4, 3, 3) % 7
    inside = bn(jt.array(x).float16())
    assert inside.dtype == "float16"
    bn.running_mean.assign(jt.zeros(4))
    y = model(jt.array(x).float16()).numpy()
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    expected = (x - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None]
    np.testing.assert_allclose(y, expected, atol=2e-2)
    np.testing.assert_allclose(bn.running_mean.numpy(), 0.1 * mean, rtol=1e-5)
    bn.eval()
    evaluated = bn(jt.array(x).float16(), residual=jt.array(-x).float16(), activation="relu")
    scale = 1 / np.sqrt(bn.running_var.numpy() + 1e-5)[:, None, None]
    expected = np.maximum((x - bn.running_mean.numpy()[:, None, None]) * scale - x, 0)
    assert evaluated.dtype == "float16"
    np.testing.assert_allclose(evaluated.float32().numpy(), expected, rtol=1e-3, atol=2e-2)


class Identity(jt.Function):
    """The identity; records the dtype of the gradient."""

    seen = []

    def execute(self, x):
        return x * 1

    def grad(self, g):
        self.seen.append(str(g.dtype))
        return g


class RecordingConv(nn.Conv2d):
    def execute(self, x):
        return Identity()(super().execute(x))


def test_gradients_of_a_convolution_have_its_dtype(data):
    """GELU computes in float32, so its gradient would be float32, which cuDNN does not accept here."""
    conv = RecordingConv(3, 4, 1)
    model = amp.mixed(nn.Sequential(conv), "float16")
    y = model[0](jt.array(data))
    assert y.dtype == "float16"
    loss = (y * jt.array(np.ones(y.shape, "float32"))).sum()  # float32 because of its other factor
    gradient = jt.grad(loss, conv.weight)
    assert gradient.dtype == "float32" and np.isfinite(gradient.numpy()).all() and Identity.seen == ["float16"]


def test_pooling_computes_in_float32_between_layers_of_16_bits(rng):
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
    """The layers of a ResNet get more arguments than x: the residual, the activation."""
    model = amp.mixed(build_model(name, 3), "bfloat16")
    x = jt.array(rng.standard_normal((2, 3, 33, 33)).astype("float32"))
    outs = model(x)
    assert [out.dtype for out in outs] == ["float32"] * 2
    gradients = jt.grad(sum((out * out).mean() for out in outs), parameters(model))
    assert all(g.dtype == "float32" and np.isfinite(g.numpy()).all() for g in gradients)
    assert any(np.abs(g.numpy()).max() > 0 for g in gradients)


def test_mixed_precision_twice_is_an_error():
    model = amp.mixed(nn.Sequential(nn.Linear(2, 2)), "bfloat16")
    with pytest.raises(ValueError, match="mixed precision already"):
        amp.mixed(model, "bfloat16")
    with pytest.raises(ValueError, match="dtype is 'float8'; choose from float16, bfloat16"):
        amp.mixed(nn.Sequential(nn.Linear(2, 2)), "float8")


def test_a_dtype_that_is_not_available_is_an_error():
    amp.check("float16", "cuda", [70])
    amp.check("bfloat16", "cuda", [80, 90])
    with pytest.raises(ValueError, match="--amp half is unknown; choose from float16, bfloat16"):
        amp.check("half", "cuda")
    with pytest.raises(ValueError, match="--amp float16 needs a GPU; the CPU has bfloat16"):
        amp.check("float16", "cpu")
    amp.check("bfloat16", "cpu")
    with pytest.raises(ValueError, match="bfloat16 needs compute capability 8.0, this GPU has 7.0; use float16"):
        amp.check("bfloat16", "cuda", [90, 70])
