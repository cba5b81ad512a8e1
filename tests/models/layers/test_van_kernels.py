"""The CPU kernels of VAN, apart from the depthwise convolution: against their plain siblings in float64."""

import ctypes

import jittor as jt
import numpy as np
import pytest

from models.layers import elementwise as e
from models.layers.pointwise import PointwiseConv2d
from models.layers.resize import plain_resize, resize

SHAPES = [(2, 5, 13, 17), (1, 3, 1, 1), (2, 33, 9, 9), (1, 7, 67, 31)]
FUNCTIONS = {  # kernel, plain sibling, shapes of the inputs, given the shape of x
    "gelu": (e.gelu, e.plain_gelu, lambda s: [s]),
    "product": (e.product, e.plain_product, lambda s: [s, s]),
    "scaled sum": (e.scaled_sum, e.plain_scaled_sum, lambda s: [s, s, s[:2]]),
    "layer norm": (
        lambda *inputs: e.layer_norm(*inputs, 1e-6),
        lambda *inputs: e.plain_layer_norm(*inputs, 1e-6),
        lambda s: [s, s[1:2], s[1:2]],
    ),
}
RESIZES = [((9, 13), (65, 97)), ((1, 1), (6, 5)), ((33, 40), (17, 21)), ((3, 4), (3, 9)), ((5, 7), (64, 50))]


def run(function, arrays, g, dtype=np.float32):
    """-> result and gradients of the inputs"""
    with jt.flag_scope(auto_convert_64_to_32=0):
        inputs = [jt.array(a.astype(dtype)) for a in arrays]
        y = function(*inputs)
        gradients = jt.grad((y * jt.array(g.astype(dtype))).sum(), inputs)
        return [v.numpy() for v in (y, *gradients)]


def close(results, expected):
    for ours, exact in zip(results, expected):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, exact, atol=4e-6 * max(1, abs(exact).max()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_those_of_the_plain_sibling_in_float64(name, shape, rng):
    kernel, plain, shapes = FUNCTIONS[name]
    arrays = [rng.standard_normal(s).astype(np.float32) * 3 for s in shapes(shape)]
    g = rng.standard_normal(shape).astype(np.float32)
    close(run(kernel, arrays, g), run(plain, arrays, g, np.float64))


def test_gelu_in_its_tails_is_that_of_float64():
    from math import erfc, sqrt

    x = np.array([-40, -12, -6, -3, -1e-4, 0, 1e-4, 3, 6, 12, 40], np.float32)
    ours = e.gelu(jt.array(x)).numpy()
    exact = np.array([v * erfc(-v / sqrt(2)) / 2 for v in x.astype(float)])
    np.testing.assert_allclose(ours, exact, rtol=5e-6, atol=1e-30)


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("small, large", RESIZES)
def test_resizing_is_that_of_the_plain_sibling(small, large, corners, rng):
    x = rng.standard_normal((2, 3, *small)).astype(np.float32)
    g = rng.standard_normal((2, 3, *large)).astype(np.float32)
    results = [run(lambda v, f=f: f(v, large, corners), [x], g) for f in (resize, plain_resize)]
    for ours, expected in zip(*results):
        np.testing.assert_allclose(ours, expected, atol=1e-5 * max(1, abs(expected).max()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape, channels", [((2, 5, 13, 17), 7), ((1, 3, 1, 1), 1), ((2, 32, 9, 9), 64)])
def test_the_pointwise_convolution_is_that_of_the_plain_sibling(shape, channels, bias, rng):
    layer = PointwiseConv2d(shape[1], channels, bias)
    if bias:
        layer.bias.assign(jt.array(rng.standard_normal(channels).astype(np.float32)))
    x, g = jt.array(rng.standard_normal(shape).astype(np.float32)), jt.randn(shape[0], channels, *shape[2:])
    results = []
    for function in (layer, layer.plain):
        y = function(x)
        results.append([v.numpy() for v in (y, *jt.grad((y * g).sum(), [x, *layer.parameters()]))])
    assert len(results[0]) == 4 if bias else 3
    for ours, expected in zip(*results):
        np.testing.assert_allclose(ours, expected, atol=1e-5 * max(1, abs(expected).max()))


@pytest.mark.parametrize("name", [*FUNCTIONS, "resize"])
def test_results_do_not_depend_on_the_number_of_threads(name, rng):
    shape = (2, 33, 20, 17)
    if name == "resize":
        kernel, arrays, shape = lambda x: resize(x, (65, 50)), [rng.standard_normal(shape)], (2, 33, 65, 50)
    else:
        kernel, _, shapes = FUNCTIONS[name]
        arrays = [rng.standard_normal(s) for s in shapes(shape)]
    threads, g = ctypes.CDLL("libgomp.so.1"), rng.standard_normal(shape)
    before, results = threads.omp_get_max_threads(), []
    try:
        for count in (1, 2, 5):
            threads.omp_set_num_threads(count)
            results.append(run(kernel, arrays, g))
    finally:
        threads.omp_set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)
