"""BatchNorm on the GPU: its kernels, run on the CPU with tests/support/cuda_standin.h, which checks every access."""

import types

import jittor as jt
import numpy as np
import pytest
from support import cuda_layers
from support.cuda_cca import TYPES, jittor_source, rounded

from models.layers import batch_norm, batch_norm_cuda
from models.layers.batch_norm import SLOPES

SHAPES = [(1, 1, 1, 2), (3, 5, 1, 1), (7, 3), (2, 17, 13), (2, 3, 31, 67), (1, 2, 97, 97), (3, 9, 8, 8)]
BOUNDS = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3}


@pytest.fixture(scope="module")
def library():
    return cuda_layers.load()


def by_definition(x, weight, bias, g, add, slope, eps=1e-5):
    """-> y, mean, var, dx, d_weight, d_bias, d_add in float64."""
    axes, wide = (0, *range(2, x.ndim)), (None, slice(None), *[None] * (x.ndim - 2))
    mean, var, n = x.mean(axes), x.var(axes), x.size // x.shape[1]
    deviation = np.sqrt(var + eps)[wide]
    normalised = (x - mean[wide]) / deviation
    z = normalised * weight[wide] + bias[wide] + (0 if add is None else add)
    h = g * np.where(z > 0, 1, slope)
    by_bias, by_weight = h.sum(axes), (h * normalised).sum(axes)
    dx = weight[wide] / deviation * (h - by_bias[wide] / n - normalised * by_weight[wide] / n)
    return np.where(z > 0, z, slope * z), mean, var, dx, by_weight, by_bias, None if add is None else h


def draw(rng, shape, added, offset=1.0):
    x, g, add = (rng.standard_normal(shape) * 2 + n for n in (offset, 0, 0))
    return x, *(rng.standard_normal(shape[1]).astype("f4").astype("f8") for _ in range(2)), g, add if added else None


def check(results, inputs, activation, bound):
    for result, expected in zip(results, by_definition(*inputs, SLOPES[activation])):
        assert (result is None) == (expected is None)
        if result is not None:
            np.testing.assert_allclose(result, expected, atol=bound * max(1, abs(expected).max()), rtol=0)


def round_maps(inputs, dtype):
    x, weight, bias, g, add = inputs
    x, g = rounded((x, g), dtype)
    return x, weight, bias, g, None if add is None else rounded([add], dtype)[0]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("activation, added", [("none", False), ("relu", False), ("relu", True), ("leaky_relu", True)])
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_those_of_the_definition(library, rng, shape, activation, added, dtype):
    inputs = round_maps(draw(rng, shape, added), dtype)
    x, weight, bias, g, add = inputs
    results = cuda_layers.norm(library, x, weight, bias, g, add, SLOPES[activation], dtype)
    check(results, inputs, activation, BOUNDS[dtype])


@pytest.mark.parametrize("shifts", [(0, 0), (1, 1), (3, 3), (1, 2), (0, 1)])
@pytest.mark.parametrize("dtype", TYPES)
def test_any_alignment(library, rng, dtype, shifts):
    """Maps that all start at the same distance from a multiple of 16 bytes are read by vectors, others singly."""
    inputs = round_maps(draw(rng, (2, 5, 9, 11), True), dtype)
    x, weight, bias, g, add = inputs
    check(cuda_layers.norm(library, x, weight, bias, g, add, 0.0, dtype, 2, shifts), inputs, "relu", BOUNDS[dtype])


@pytest.mark.parametrize("slices", [1, 2, 33, 70])
def test_any_number_of_blocks_to_a_channel(library, rng, slices):
    """Also more blocks than pieces, and more than the lanes of a warp; a plane of two pieces of different length."""
    inputs = round_maps(draw(rng, (2, 2, 1, 8195), False), "float32")
    x, weight, bias, g, add = inputs
    check(cuda_layers.norm(library, x, weight, bias, g, add, 1.0, "float32", slices), inputs, "none", 1e-5)


@pytest.mark.parametrize("offset, first", [(1000.0, None), (1000.0, 0.0), (-3e4, None), (0.0, 1e5)])
def test_statistics_are_exact_with_a_large_mean_or_an_outlier_first(library, rng, offset, first):
    """At a mean of 1000, E[x^2] - E[x]^2 in float32 has no correct digit. What counts is the error in deviations."""
    x, weight, bias, g, _ = round_maps(draw(rng, (3, 2, 33, 31), False, offset), "float32")
    if first is not None:
        x[0, :, 0, 0] = first
    _, mean, var, *_ = cuda_layers.norm(library, x, weight, bias, g)
    assert (abs(mean - x.mean((0, 2, 3))) < 5e-6 * x.std((0, 2, 3)) + 1e-7 * abs(offset)).all()
    np.testing.assert_allclose(var, x.var((0, 2, 3)), rtol=1e-5)


def test_a_constant_channel_has_variance_zero(library, rng):
    x, weight, bias, g, _ = draw(rng, (2, 3, 9, 9), False)
    y, mean, var, *_ = cuda_layers.norm(library, np.full_like(x, 7.7), weight, bias, g)
    assert (var == 0).all() and (mean == np.float32(7.7)).all()
    np.testing.assert_array_equal(y, np.broadcast_to(bias[:, None, None], y.shape))


def test_results_are_bitwise_reproducible(library, rng):
    inputs = draw(rng, (2, 3, 31, 67), True)
    first, second = (cuda_layers.norm(library, *inputs, 0.0, "float16") for _ in range(2))
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_reaches_its_channel_only(library, rng, value):
    x, weight, bias, g, _ = draw(rng, (2, 3, 9, 9), False)
    x[1, 1, 4, 4] = value
    y, _, var, dx, *_ = cuda_layers.norm(library, x, weight, bias, g, None, 0.0)
    assert np.isnan(var[1]) and np.isnan(y[1, 1, 4, 4]) and np.isnan(dx[:, 1]).all()
    assert np.isfinite(y[:, ::2]).all() and np.isfinite(dx[:, ::2]).all()


def test_the_statistics_of_ranks_merge_to_those_of_all_values(library, rng):
    """Batches of different size and mean; a rank without values."""
    parts = [rng.standard_normal((5, n)) + 100 * n for n in (7, 1, 300)]
    rows = [np.concatenate([p.mean(1), p.var(1) * p.shape[1], [p.shape[1]]]) for p in parts]
    mean, var, count = cuda_layers.merge(library, [np.zeros(11), *rows])
    together = np.concatenate(parts, 1)
    np.testing.assert_allclose(mean, together.mean(1), rtol=1e-6)
    np.testing.assert_allclose(var, together.var(1), rtol=1e-5)
    assert count == together.shape[1]


def test_errors_contain_the_shape(library, rng):
    inputs = draw(rng, (2, 3, 4, 5), False)
    with pytest.raises(RuntimeError, match=r"BatchNorm on the GPU, statistics: .* \(2 x 3 channels of 20 values\)"):
        cuda_layers.norm(library, *inputs, slices=0)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("activation, added", [("none", False), ("relu", False), ("relu", True), ("none", True)])
def test_jittor_calls_the_kernels_with_the_right_arguments(monkeypatch, rng, activation, added, dtype):
    """Shapes, dtypes and source of batch_norm_cuda.py, expanded by Jittor."""
    jittor_source(monkeypatch, batch_norm_cuda)
    inputs = round_maps(draw(rng, (2, 5, 9, 7), added), dtype)
    x, g, *add = (jt.array(a.astype("f4")).cast(dtype) for a in (inputs[0], inputs[3], inputs[4]) if a is not None)
    weight, bias = (jt.array(a.astype("f4")) for a in inputs[1:3])
    y, mean, var, count = batch_norm.cuda(x, weight, bias, 1e-5, add[0] if added else None, activation)
    gradients = jt.grad((y.float32() * g.float32()).sum(), [x, weight, bias, *add])
    assert y.dtype == dtype and all(v.dtype == dtype for v in (gradients[0], *gradients[3:])) and count.item() == 126
    results = [v.float32().numpy() for v in (y, mean, var, *gradients)] + [None] * (not added)
    check(results, inputs, activation, BOUNDS[dtype])


def test_a_module_on_the_gpu_calls_the_kernels(monkeypatch, rng):
    flags = types.SimpleNamespace(use_cuda=1)
    monkeypatch.setattr(batch_norm, "jt", types.SimpleNamespace(flags=flags))
    monkeypatch.setattr(batch_norm, "cuda", lambda *inputs: "cuda")
    monkeypatch.setattr(batch_norm, "plain", lambda *inputs: "plain")
    x = types.SimpleNamespace(dtype="float16")
    assert batch_norm.normalise(x) == "cuda"
    x.dtype = "float64"
    assert batch_norm.normalise(x) == "plain"


def test_the_number_of_blocks_depends_on_the_shape_only():
    cases = {(8, 64, 385, 385): 64, (8, 512, 97, 97): 8, (8, 2048, 97, 97): 2, (2, 4096, 3, 3): 1, (1, 1, 1, 1): 1}
    assert {shape: batch_norm_cuda.slices(jt.empty(shape)) for shape in cases} == cases


@pytest.mark.cuda
@pytest.mark.skipif(not jt.flags.use_cuda, reason="needs a GPU: CCNET_TEST_DEVICE=cuda pytest -m cuda")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (2, 64, 193, 193)])
def test_on_a_card(rng, shape, dtype):
    inputs = round_maps(draw(rng, shape, True), dtype)
    x, g, add = (jt.array(a.astype("f4")).cast(dtype) for a in (inputs[0], inputs[3], inputs[4]))
    weight, bias = (jt.array(a.astype("f4")) for a in inputs[1:3])
    results = []
    for _ in range(2):
        y, mean, var, _ = batch_norm.normalise(x, weight, bias, 1e-5, add, "relu")
        gradients = jt.grad((y.float32() * g.float32()).sum(), [x, weight, bias, add])
        results.append([v.float32().numpy() for v in (y, mean, var, *gradients)])
    for first, second in zip(*results):
        np.testing.assert_array_equal(first, second)
    check(results[0], inputs, "relu", 2 * BOUNDS[dtype])
