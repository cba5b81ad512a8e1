import jittor as jt
import numpy as np
import pytest

from models.layers import batch_norm, dropout
from models.layers.batch_norm import BatchNorm, freeze

SHAPE = (3, 4, 5, 7)


def layer_and_batch(rng, offset=0.0):
    layer = BatchNorm(4)
    layer.weight.assign(rng.uniform(0.5, 1.5, 4).astype(np.float32))
    layer.bias.assign(rng.standard_normal(4).astype(np.float32))
    x = rng.standard_normal(SHAPE).astype(np.float32) * 2 + offset
    return layer, x, rng.standard_normal(SHAPE).astype(np.float32)


def by_definition(x, weight, bias, upstream, eps=1e-5):
    """-> output, gradients of x, weight and bias, in float64."""
    x, upstream = x.astype(float), upstream.astype(float)
    axes, wide = (0, 2, 3), (None, slice(None), None, None)
    mean, var, n = x.mean(axes), x.var(axes), x.size // x.shape[1]
    normalised = (x - mean[wide]) / np.sqrt(var + eps)[wide]
    by_bias, by_weight = upstream.sum(axes), (upstream * normalised).sum(axes)
    by_x = (weight / np.sqrt(var + eps))[wide] * (upstream - by_bias[wide] / n - normalised * by_weight[wide] / n)
    return normalised * weight[wide] + bias[wide], by_x, by_weight, by_bias


@pytest.mark.parametrize("offset, tolerance", [(0.0, 2e-6), (1000.0, 2e-3)])
def test_output_and_gradients_also_with_a_large_mean(rng, offset, tolerance):
    """At a mean of 1000, E[x^2] - E[x]^2 in float32 has no correct digit; here the error is that of x."""
    layer, x, upstream = layer_and_batch(rng, offset)
    var = jt.array(x)
    y = layer(var)
    results = [
        y.numpy(),
        *(g.numpy() for g in jt.grad((y * jt.array(upstream)).sum(), [var, layer.weight, layer.bias])),
    ]
    for result, expected in zip(results, by_definition(x, layer.weight.numpy(), layer.bias.numpy(), upstream)):
        np.testing.assert_allclose(result, expected, atol=tolerance * abs(expected).max())


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "none"])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (3, 5, 1, 1), (7, 3), (2, 17, 13), (2, 3, 31, 67), (1, 33, 1, 1031)])
def test_fused_equals_plain(rng, shape, added, activation):
    """Outputs, statistics and all gradients, at sizes that are no multiples of a vector."""
    x, add, upstream = (jt.array(rng.standard_normal(shape).astype(np.float32) * 2 + 1) for _ in range(3))
    weight, bias = (jt.array(rng.standard_normal(shape[1]).astype(np.float32)) for _ in range(2))
    inputs = [x, weight, bias] + [add] * added

    results = []
    for function in (batch_norm.fused, batch_norm.plain):
        y, *statistics = function(x, weight, bias, 1e-5, add if added else None, activation)
        results.append([v.numpy() for v in (y, *statistics, *jt.grad((y * upstream).sum(), inputs))])
    for result, expected in zip(*results):
        np.testing.assert_allclose(result, expected, atol=3e-5 * max(1, abs(expected).max()), rtol=0)


def test_fused_is_bitwise_reproducible_with_any_number_of_threads(run_command):
    code = """
import sys, os; sys.path.insert(0, ".")
from utils import runtime; runtime.start("cpu")
import hashlib, jittor as jt, numpy as np
from models.layers import batch_norm
x, g = (np.random.default_rng(n).standard_normal((2, 19, 31, 67)).astype(np.float32) for n in (1, 2))
x, weight = jt.array(x), jt.ones(19)
y = batch_norm.fused(x, weight, weight, 1e-5, None, "relu")[0]
parts = [y, *jt.grad((y * jt.array(g)).sum(), [x, weight])]
print("DIGEST", hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest())
"""
    done = [run_command("python", "-c", code, env={"OMP_NUM_THREADS": str(n)}) for n in (1, 2, 3)]
    digests = {line for d in done for line in d.stdout.splitlines() if line.startswith("DIGEST")}
    assert all(d.returncode == 0 for d in done) and len(digests) == 1, [d.stderr for d in done]


def test_running_statistics_equal_those_of_pytorch(rng):
    """Momentum 0.1 of the mean and of the unbiased variance."""
    layer, x, _ = layer_and_batch(rng, 3.0)
    layer(jt.array(x)).sync()
    layer(jt.array(x + 1)).sync()
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * 0.9 * mean + 0.1 * (mean + 1), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.81 + (0.09 + 0.1) * var, rtol=1e-5)


def test_evaluation_uses_the_running_statistics_and_changes_nothing(rng):
    layer, x, _ = layer_and_batch(rng)
    layer.running_mean.assign(np.float32([1, 2, 3, 4]))
    layer.running_var.assign(np.float32([4, 1, 9, 16]))
    layer.eval()
    expected = (x - np.float32([1, 2, 3, 4])[:, None, None]) / np.sqrt(np.float32([4, 1, 9, 16]) + 1e-5)[:, None, None]
    expected = expected * layer.weight.numpy()[:, None, None] + layer.bias.numpy()[:, None, None]
    np.testing.assert_allclose(layer(jt.array(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer.running_mean.numpy(), [1, 2, 3, 4])


def test_frozen_uses_running_statistics_in_training_and_has_no_gradient(rng):
    layer, x, _ = layer_and_batch(rng)
    layer.eval()
    expected = layer(jt.array(x)).numpy()
    layer.train()
    assert freeze(layer) == 1
    np.testing.assert_array_equal(layer(jt.array(x)).numpy(), expected)
    assert layer.weight.is_stop_grad() and layer.bias.is_stop_grad()
    np.testing.assert_array_equal(layer.running_mean.numpy(), 0)


def test_keys_are_those_of_pytorch():
    assert list(BatchNorm(2).state_dict()) == ["weight", "bias", "running_mean", "running_var"]


def drawn(layer, shape, first=0, step=5):
    dropout.at(3, step, first)
    return layer(jt.ones(shape)).numpy()


def test_dropout_depends_on_seed_step_layer_and_sample_only():
    layer = dropout.Dropout2d(0.5)
    whole = drawn(layer, (6, 40, 2, 2))
    np.testing.assert_array_equal(whole, drawn(layer, (6, 40, 2, 2)))
    np.testing.assert_array_equal(whole[4:], drawn(layer, (2, 40, 2, 2), first=4))  # the rows of a rank
    assert (whole != drawn(layer, (6, 40, 2, 2), step=6)).any() and (whole != layer(jt.ones(6, 40, 2, 2)).numpy()).any()
    assert set(np.unique(whole)) == {0, 2} and (whole[:, :, :1, :1] == whole).all() and (whole[0] != whole[1]).any()
    layer.eval()
    assert (drawn(layer, (6, 40, 2, 2)) == 1).all()


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    out = drawn(dropout.DropPath(0.25), (400, 3, 2, 2))
    assert (out == out[:, :1, :1, :1]).all() and set(np.unique(out)) == {0, np.float32(4 / 3)}
    np.testing.assert_allclose(out.mean(), 1, atol=0.1)


def test_the_network_starts_in_training_mode():
    from models import build_model

    assert all(m.is_train for m in build_model("ccnet_r18", 9).modules() if hasattr(m, "is_train"))
