"""Bilinear resizing on the GPU: the kernels, run on the CPU with tests/support/cuda_standin.h."""

import importlib
import types

import jittor as jt
import numpy as np
import pytest
from support import cuda_layers
from support.cuda_cca import TYPES, jittor_source, rounded

resize = importlib.import_module("models.layers.resize")

CASES = [
    (9, 13, 65, 97),
    (33, 5, 65, 20),
    (11, 17, 13, 17),
    (40, 70, 13, 19),
    (1, 1, 6, 9),
    (6, 50, 7, 3),
    (7, 1, 1, 8),
]
BOUNDS = {"float32": 1e-6, "float16": 6e-4, "bfloat16": 5e-3}  # half a unit in the last place of the largest value


@pytest.fixture(scope="module")
def library():
    return cuda_layers.load()


def example(rng, case, dtype, planes=5):
    h, w, height, width = case
    return rounded([rng.standard_normal((planes, h, w)), rng.standard_normal((planes, height, width))], dtype)


def check(results, x, g, corners, dtype):
    rows, columns = (cuda_layers.interpolation(a, b, corners) for a, b in zip(x.shape[-2:], g.shape[-2:]))
    for result, expected in zip(results, (rows @ x @ columns.T, rows.T @ g @ columns)):
        np.testing.assert_allclose(result, expected, atol=BOUNDS[dtype] * max(1, abs(expected).max()), rtol=0)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_output_and_gradient_are_those_of_the_definition(library, rng, case, corners, dtype):
    x, g = example(rng, case, dtype)
    check(cuda_layers.resize(library, x, g, corners, dtype), x, g, corners, dtype)


def test_errors_contain_the_sizes(library):
    sizes = (cuda_layers.ctypes.c_int * 5)(3, 40000, 2, 40000, 5)
    with pytest.raises(RuntimeError, match="too large .3 planes, 40000x2 to 40000x5"):
        cuda_layers.call(library.run_resize, 0, sizes, 1, *[None] * 4)


@pytest.mark.parametrize("dtype", TYPES)
def test_jittor_calls_the_kernels_with_the_right_arguments(monkeypatch, rng, dtype):
    jittor_source(monkeypatch, resize)
    x, g = (a.reshape(1, *a.shape) for a in example(rng, CASES[0], dtype))
    inputs, upstream = (jt.array(a.astype("f4")).cast(dtype) for a in (x, g))
    y = resize.Resize(resize.cuda_source, g.shape[2:], False)(inputs)
    dx = jt.grad((y.float32() * upstream.float32()).sum(), inputs)
    assert y.dtype == dx.dtype == dtype
    check([v.float32().numpy() for v in (y, dx)], x, g, False, dtype)


def test_maps_on_the_gpu_go_to_the_kernels(monkeypatch):
    monkeypatch.setattr(resize, "jt", types.SimpleNamespace(flags=types.SimpleNamespace(use_cuda=1)))
    monkeypatch.setattr(resize, "Resize", lambda source, *options: lambda x: source)
    monkeypatch.setattr(resize, "plain_resize", lambda *inputs: "plain")
    x = types.SimpleNamespace(shape=(1, 2, 3, 4), dtype="float16")
    assert resize.resize(x, (6, 8)) is resize.cuda_source and resize.resize(x, (3, 4)) is x
    x.dtype = "float64"
    assert resize.resize(x, (6, 8)) == "plain"


@pytest.mark.cuda
@pytest.mark.skipif(not jt.flags.use_cuda, reason="needs a GPU: CCNET_TEST_DEVICE=cuda pytest -m cuda")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("case", [*CASES, (33, 33, 97, 97)])
def test_on_a_card(rng, case, dtype):
    x, g = (a.reshape(1, *a.shape) for a in example(rng, case, dtype))
    inputs, upstream = (jt.array(a.astype("f4")).cast(dtype) for a in (x, g))
    y = resize.resize(inputs, g.shape[2:])
    dx = jt.grad((y.float32() * upstream.float32()).sum(), inputs)
    check([v.float32().numpy() for v in (y, dx)], x, g, True, dtype)
