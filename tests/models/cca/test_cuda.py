"""The CUDA kernels, run on the CPU with tests/support/cuda_standin.h, which checks every memory access."""

import types

import jittor as jt
import numpy as np
import pytest
from support.cuda_cca import (
    TYPES,
    Kernels,
    attention,
    build,
    distances,
    draw,
    jittor_source,
    rounded,
    to_float64,
    to_type,
)

from models.cca import criss_cross_attention, functional, kernels

# one-pixel lines; smaller than a square of 16; several squares, no multiples of 16; longer than a tile; volumes
SIZES = [(1, 1), (1, 9), (9, 1), (5, 7), (13, 17), (33, 31), (131, 5), (3, 140), (2, 3, 4), (5, 1, 18), (7, 17, 1)]


@pytest.fixture(scope="module")
def built():
    return Kernels(build())


@pytest.fixture
def gpu(built):
    built.device()
    return built


@pytest.mark.parametrize("batch, cq, c", [(1, 3, 10), (3, 9, 41)])
@pytest.mark.parametrize("sides", SIZES)
def test_float32_is_exact_to_1e_5(gpu, rng, sides, batch, cq, c):
    inputs = draw(rng, sides, batch, cq, c)
    results, expected = gpu.run(*inputs), attention(*rounded(inputs, "float32"))
    assert max(distances(results, expected)) < 1e-5


def reference(inputs, dtype):
    """-> out, dq, dk, dv of the reference backend in `dtype`."""
    q, k, v, g = (jt.array(x.astype(np.float32)).cast(dtype) for x in inputs)
    out = criss_cross_attention(q, k, v, "reference")
    grads = jt.grad((out.float32() * g.float32()).sum(), [q, k, v])
    return [x.float32().numpy().astype("f8") for x in (out, *grads)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("sides", SIZES[:-2])
def test_the_error_in_16_bits_is_at_most_twice_that_of_the_reference(gpu, rng, sides, dtype):
    inputs = rounded(draw(rng, sides, 1 if max(sides) > 32 else 3, 9, 21), dtype)
    expected = attention(*inputs)
    errors = [
        [np.abs(a - b).max() for a, b in zip(result, expected)]
        for result in (gpu.run(*inputs, dtype), reference(inputs, dtype))
    ]
    for part, ours, theirs in zip(("out", "dq", "dk", "dv"), *errors):
        assert ours <= 2 * theirs + 1e-5, part


@pytest.mark.parametrize("dtype", TYPES)
def test_97x97_forward(gpu, rng, dtype):
    q, k, v, _ = rounded(draw(rng, (97, 97), cq=8, c=9), dtype)
    out, _ = gpu.forward(*(to_type(x, dtype) for x in (q, k, v)), dtype)
    bound = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    assert distances([to_float64(out, dtype)], [attention(q, k, v)])[0] < bound


@pytest.mark.parametrize("shared", [20 << 10, 48 << 10, 96 << 10])
@pytest.mark.parametrize("dtype", TYPES)
def test_less_shared_memory_gives_smaller_tiles_and_the_same_result(gpu, rng, dtype, shared):
    """Several tiles of queries and keys along both axes, and groups that do not divide the number of lines."""
    inputs = rounded(draw(rng, (37, 43), cq=5, c=37), dtype)
    expected = attention(*inputs)
    gpu.device(shared, processors=4)
    bound = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
    assert max(distances(gpu.run(*inputs, dtype), expected)) < bound
    assert all(bytes <= shared for _, _, bytes in gpu.launches())


@pytest.mark.parametrize("sides", [(16, 40), (24, 16)])
@pytest.mark.parametrize("dtype", TYPES)
def test_16_byte_loads_are_used_for_aligned_tensors_only(gpu, rng, sides, dtype):
    inputs = rounded(draw(rng, sides, batch=2), dtype)
    plain = gpu.run(*inputs, dtype)
    assert max(distances(plain, attention(*inputs))) < 3e-2
    q, k, v, g = (to_type(x, dtype) for x in inputs)
    moved = [np.concatenate([x.ravel()[:1], x.ravel()])[1:].reshape(x.shape) for x in (q, k, v, g)]
    assert all(x.ctypes.data % 16 for x in moved)
    out, stats = gpu.forward(*moved[:3], dtype)
    grads = gpu.backward(*moved[:3], out, stats, moved[3], dtype)
    for a, b in zip(plain, (out, *grads)):
        np.testing.assert_array_equal(a, to_float64(b, dtype))


def test_bfloat16_without_tensor_cores_for_it(rng):
    """On cards before A100, bfloat16 is multiplied in float32."""
    kernels_75 = Kernels(build(flags=("-D__CUDA_ARCH__=750",)))
    inputs = rounded(draw(rng, (13, 17), c=40), "bfloat16")
    assert max(distances(kernels_75.run(*inputs, "bfloat16"), attention(*inputs))) < 3e-2


def test_any_number_of_channels(gpu, rng):
    for cq, c in ((1, 1), (17, 3), (64, 96)):
        inputs = draw(rng, (6, 11), cq=cq, c=c)
        inputs[0] *= 0.3
        assert max(distances(gpu.run(*inputs), attention(*rounded(inputs, "float32")))) < 1e-5


def test_tiles_are_chosen_for_the_card(gpu):
    """At 8x512x97x97, columns are read in groups, rows one by one; more shared memory gives larger tiles."""
    h200, v100 = (232448, 132), (98304, 80)
    for dtype in ("float32", "float16"):
        for kernel in ("statistics", "values", "gradients"):
            large, small = (gpu.plan(dtype, kernel, 0, (8, 64, 512, 97, 97), *card) for card in (h200, v100))
            rows = gpu.plan(dtype, kernel, 1, (8, 64, 512, 97, 97), *h200)
            assert large["lines"] >= 2 and rows["lines"] == 1 and small["bytes"] <= 98304
    assert gpu.plan("float32", "values", 0, (8, 64, 512, 97, 97), *h200)["bytes"] > 98304
    one_image = gpu.plan("float32", "values", 0, (1, 64, 512, 97, 97), *h200)
    assert one_image["parts"] > 1  # several blocks share the channels


def test_results_are_right_if_several_blocks_share_the_channels(gpu, rng):
    gpu.device(processors=1000)
    inputs = draw(rng, (6, 11), c=300)
    assert max(distances(gpu.run(*inputs), attention(*rounded(inputs, "float32")))) < 1e-5


def test_results_are_bitwise_reproducible(gpu, rng):
    inputs = draw(rng, (13, 17), batch=2)
    for a, b in zip(gpu.run(*inputs), gpu.run(*inputs)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sides", [(5, 4), (16, 17), (3, 3, 4), (1, 1)])
@pytest.mark.parametrize("dtype", TYPES)
def test_equal_values_give_exactly_that_value(gpu, sides, dtype):
    """With H + W - 1 a power of two, the result is exact."""
    ones = np.ones((1, 4, *sides))
    for constant in (1, 3):
        out, _, _, dv = gpu.run(ones, ones, constant * ones, ones, dtype)
        assert (out == constant).all() and (dv == 1).all()


def test_extreme_energies_neither_overflow_nor_vanish(gpu, rng):
    q, k = np.ones((1, 1, 3, 40)), np.zeros((1, 1, 3, 40))
    k[0, 0, 1, 7] = 1e6
    v = rng.standard_normal((1, 2, 3, 40))
    out, *_ = gpu.run(q, k, v, v)
    np.testing.assert_allclose(out[0, :, 1], np.repeat(v[0, :, 1, 7:8], 40, 1), rtol=1e-6)
    assert all(np.isfinite(x).all() for x in gpu.run(-q, k, v, v))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_nan_propagates(gpu, rng, place):
    inputs = draw(rng, (5, 21))
    inputs[place][0, 0, 3, 4] = np.nan
    nan = np.isnan(gpu.run(*inputs)[0])
    assert nan[0, 0, 3, 4]
    if place > 0:  # a key or value affects its row and column only
        assert nan[0, 0, 3].all() and nan[0, 0, :, 4].all() and not nan[0, :, 0, 0].any()


def test_errors_contain_the_shape(gpu, rng):
    inputs = draw(rng, (5, 7), batch=2, cq=4)
    gpu.device(shared=1 << 10)
    with pytest.raises(RuntimeError, match=r"no tile fits .*\(batch 2, 4 and 10 channels, size 5x7\)"):
        gpu.run(*inputs)
    gpu.device(processors=0)
    with pytest.raises(RuntimeError, match=r"no CUDA-capable device \(batch 2, 4 and 10 channels, size 5x7\)"):
        gpu.run(*inputs)
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (1, 600, 2000, 2000), (0, 0, 0, 0))
    with pytest.raises(RuntimeError, match="2\\^31 elements or more in an image: .* size 2000x2000"):
        gpu.call("cca_forward", "float32", huge, huge, *[None] * 6, 0)


@pytest.mark.parametrize("dtype, both", [*((dtype, "0") for dtype in TYPES), ("float16", "1")])
def test_jittor_calls_the_kernels_with_the_right_arguments(monkeypatch, rng, dtype, both):
    """Shapes, dtypes and source of kernels.py, expanded by Jittor."""
    monkeypatch.setenv("CCA_BOTH_AXES", both)
    jittor_source(monkeypatch, kernels)
    inputs = rounded(draw(rng, (5, 7), batch=2, c=20), dtype)
    q, k, v, g = (jt.array(x.astype(np.float32)).cast(dtype) for x in inputs)
    out = kernels.FusedCUDA()(q, k, v)
    grads = jt.grad((out.float32() * g.float32()).sum(), [q, k, v])
    assert out.dtype == dtype and all(x.dtype == dtype for x in grads)
    bound = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
    assert max(distances([x.float32().numpy() for x in (out, *grads)], attention(*inputs))) < bound


def test_tensors_on_the_gpu_go_to_the_cuda_kernels(monkeypatch):
    flags = types.SimpleNamespace(use_cuda=1, cc_path="cl.exe")
    monkeypatch.setattr(functional, "jt", types.SimpleNamespace(flags=flags))
    assert [functional.resolve("fused", dtype) for dtype in TYPES] == ["fused"] * 3
    with pytest.raises(RuntimeError, match="the CUDA kernels take float32, float16 and bfloat16, not float64"):
        functional.resolve("fused", "float64")
    monkeypatch.setattr(functional, "_reported", set())
    assert functional.resolve("auto", "float64") == "reference"


@pytest.mark.cuda
@pytest.mark.skipif(not jt.flags.use_cuda, reason="needs a GPU: CCNET_TEST_DEVICE=cuda pytest -m cuda")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("sides", [*SIZES, (97, 97), (128, 256), (129, 257)])
def test_on_a_card(rng, sides, dtype):
    inputs = rounded(draw(rng, sides, 1 if max(sides) > 32 else 3, 9, 41), dtype)
    expected = attention(*inputs)
    q, k, v, g = (jt.array(x.astype(np.float32)).cast(dtype) for x in inputs)
    results = []
    for _ in range(2):
        out = criss_cross_attention(q, k, v, "fused")
        grads = jt.grad((out.float32() * g.float32()).sum(), [q, k, v])
        results.append([x.float32().numpy() for x in (out, *grads)])
    for first, second in zip(*results):
        np.testing.assert_array_equal(first, second)
    if dtype == "float32":
        assert max(distances(results[0], expected)) < 1e-5
    else:
        errors = [
            [np.abs(a - b).max() for a, b in zip(result, expected)] for result in (results[0], reference(inputs, dtype))
        ]
        assert all(ours <= 2 * theirs + 1e-5 for ours, theirs in zip(*errors))
