"""The CUDA kernels, run on the stand-in (cuda_standin.h): the same files, with every access watched."""

import shutil
import types

import jittor as jt
import numpy as np
import pytest
from support.cuda_cca import SRC, TYPES, Kernels, attention, build, jittor_source, to_float64, to_type

from models.cca import criss_cross_attention, functional, kernels

# one-pixel lines; smaller than a square of 16; no multiple of anything; several squares; longer than a tile; volumes
SIZES = [(1, 1), (1, 9), (9, 1), (5, 7), (13, 17), (33, 31), (131, 5), (3, 140), (2, 3, 4), (5, 1, 18), (7, 17, 1)]


@pytest.fixture(scope="module")
def built():
    return Kernels(build())


@pytest.fixture
def gpu(built):
    built.device()
    return built


def draw(rng, sides, batch=1, cq=3, c=10):
    return [rng.standard_normal((batch, n, *sides)) for n in (cq, cq, c, c)]


def rounded(inputs, dtype):
    return [to_float64(to_type(x, dtype), dtype) for x in inputs]


def distances(got, want):
    return [np.abs(a - b).max() / max(np.abs(b).max(), 1) for a, b in zip(got, want)]


@pytest.mark.parametrize("batch, cq, c", [(1, 3, 10), (3, 9, 41)])
@pytest.mark.parametrize("sides", SIZES)
def test_float32_is_exact_to_1e_5(gpu, rng, sides, batch, cq, c):
    inputs = draw(rng, sides, batch, cq, c)
    got, want = gpu.run(*inputs), attention(*rounded(inputs, "float32"))
    assert max(distances(got, want)) < 1e-5


def reference(inputs, dtype):
    """out, dq, dk, dv of plain operations in the type, by Jittor."""
    q, k, v, g = (jt.array(x.astype(np.float32)).cast(dtype) for x in inputs)
    out = criss_cross_attention(q, k, v, "reference")
    grads = jt.grad((out.float32() * g.float32()).sum(), [q, k, v])
    return [x.float32().numpy().astype("f8") for x in (out, *grads)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("sides", SIZES[:-2])
def test_16_bits_are_at_most_twice_as_wrong_as_plain_operations_in_them(gpu, rng, sides, dtype):
    inputs = rounded(draw(rng, sides, 1 if max(sides) > 32 else 3, 9, 21), dtype)
    want = attention(*inputs)
    errors = [
        [np.abs(a - b).max() for a, b in zip(got, want)] for got in (gpu.run(*inputs, dtype), reference(inputs, dtype))
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
def test_small_shared_memory_means_more_tiles_and_the_same_result(gpu, rng, dtype, shared):
    """Several tiles of queries and of keys along both axes, in groups of lines that do not divide the picture."""
    inputs = rounded(draw(rng, (37, 43), cq=5, c=37), dtype)
    want = attention(*inputs)
    gpu.device(shared, processors=4)
    bound = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
    assert max(distances(gpu.run(*inputs, dtype), want)) < bound
    assert all(bytes <= shared for _, _, bytes in gpu.launches())


@pytest.mark.parametrize("sides", [(16, 40), (24, 16)])
@pytest.mark.parametrize("dtype", TYPES)
def test_16_byte_loads_where_the_picture_allows_them_and_not_where_the_tensor_starts_elsewhere(gpu, rng, sides, dtype):
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
    """Cards before A100 multiply it in float32."""
    old = Kernels(build(flags=("-D__CUDA_ARCH__=750",)))
    inputs = rounded(draw(rng, (13, 17), c=40), "bfloat16")
    assert max(distances(old.run(*inputs, "bfloat16"), attention(*inputs))) < 3e-2


def test_any_number_of_channels(gpu, rng):
    for cq, c in ((1, 1), (17, 3), (64, 96)):
        inputs = draw(rng, (6, 11), cq=cq, c=c)
        inputs[0] *= 0.3
        assert max(distances(gpu.run(*inputs), attention(*rounded(inputs, "float32")))) < 1e-5


def test_tiles_are_chosen_for_the_card(gpu):
    """At 8x512x97x97 columns are read in groups, rows alone; a card with more shared memory gets larger tiles."""
    h200, v100 = (232448, 132), (98304, 80)
    for dtype in ("float32", "float16"):
        for kernel in ("statistics", "values", "gradients"):
            large, small = (gpu.plan(dtype, kernel, 0, (8, 64, 512, 97, 97), *card) for card in (h200, v100))
            rows = gpu.plan(dtype, kernel, 1, (8, 64, 512, 97, 97), *h200)
            assert large["lines"] >= 2 and rows["lines"] == 1 and small["bytes"] <= 98304
    assert gpu.plan("float32", "values", 0, (8, 64, 512, 97, 97), *h200)["bytes"] > 98304
    assert (
        gpu.plan("float32", "values", 0, (1, 64, 512, 97, 97), *h200)["parts"] > 1
    )  # one picture: blocks share channels


def test_many_blocks_share_the_channels_of_a_small_batch(gpu, rng):
    gpu.device(processors=1000)
    inputs = draw(rng, (6, 11), c=300)
    assert max(distances(gpu.run(*inputs), attention(*rounded(inputs, "float32")))) < 1e-5


def test_the_same_bits_every_time(gpu, rng):
    inputs = draw(rng, (13, 17), batch=2)
    for a, b in zip(gpu.run(*inputs), gpu.run(*inputs)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sides", [(5, 4), (16, 17), (3, 3, 4), (1, 1)])
@pytest.mark.parametrize("dtype", TYPES)
def test_equal_inputs_give_exactly_that_value(gpu, sides, dtype):
    """The classic check: with H + W - 1 a power of two, no digit is lost."""
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
def test_a_nan_shows(gpu, rng, place):
    inputs = draw(rng, (5, 21))
    inputs[place][0, 0, 3, 4] = np.nan
    nan = np.isnan(gpu.run(*inputs)[0])
    assert nan[0, 0, 3, 4]
    if place > 0:  # a key or a value is seen by its row and its column, and by nobody else
        assert nan[0, 0, 3].all() and nan[0, 0, :, 4].all() and not nan[0, :, 0, 0].any()


def test_errors_name_the_size(gpu, rng):
    inputs = draw(rng, (5, 7), batch=2, cq=4)
    gpu.device(shared=1 << 10)
    with pytest.raises(RuntimeError, match=r"no tile fits .*\(batch 2, 4 and 10 channels, size 5x7\)"):
        gpu.run(*inputs)
    gpu.device(processors=0)
    with pytest.raises(RuntimeError, match=r"no CUDA-capable device \(batch 2, 4 and 10 channels, size 5x7\)"):
        gpu.run(*inputs)
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (1, 600, 2000, 2000), (0, 0, 0, 0))
    with pytest.raises(RuntimeError, match="2\\^31 numbers or more in a picture: .* size 2000x2000"):
        gpu.call("cca_forward", "float32", huge, huge, *[None] * 6)


@pytest.mark.parametrize("dtype", TYPES)
def test_jittor_calls_the_kernels_as_they_want_to_be_called(monkeypatch, rng, dtype):
    """The functions, shapes, types and source of kernels.py, expanded by Jittor itself."""
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
    monkeypatch.setattr(functional, "_said", set())
    assert functional.resolve("auto", "float64") == "reference"


@pytest.mark.cuda
@pytest.mark.skipif(not jt.flags.use_cuda, reason="no GPU in use; there: CCNET_TEST_DEVICE=cuda pytest -m cuda")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("sides", [*SIZES, (97, 97), (128, 256), (129, 257)])
def test_on_a_real_card(rng, sides, dtype):
    inputs = rounded(draw(rng, sides, 1 if max(sides) > 32 else 3, 9, 41), dtype)
    want = attention(*inputs)
    q, k, v, g = (jt.array(x.astype(np.float32)).cast(dtype) for x in inputs)
    results = []
    for _ in range(2):
        out = criss_cross_attention(q, k, v, "fused")
        grads = jt.grad((out.float32() * g.float32()).sum(), [q, k, v])
        results.append([x.float32().numpy() for x in (out, *grads)])
    for first, again in zip(*results):
        np.testing.assert_array_equal(first, again)
    if dtype == "float32":
        assert max(distances(results[0], want)) < 1e-5
    else:
        errors = [[np.abs(a - b).max() for a, b in zip(got, want)] for got in (results[0], reference(inputs, dtype))]
        assert all(ours <= 2 * theirs + 1e-5 for ours, theirs in zip(*errors))


# what is planted: file, text, what takes its place, and what must be said
FAULTS = {
    "reads behind the end of a line": (
        "cuda_memory.cuh",
        "x[n] = real && i < positions ?",
        "x[n] = real && i <= positions ?",
        "read outside [qk] at byte",
    ),
    "no barrier after staging": (
        "cuda_tiles.cuh",
        "        __syncthreads();\n        meet<T>",
        "        meet<T>",
        "read of what nothing has written, shared memory",
    ),
    "no barrier before staging again": (
        "cuda_tiles.cuh",
        "queries, keys);\n        __syncthreads();\n    }",
        "queries, keys);\n    }",
        "race: .* shared memory",
    ),
    "lanes do not wait for each other": (
        "cuda_tiles.cuh",
        "square, pitch);\n            __syncwarp();",
        "square, pitch);",
        "shared memory",
    ),
    "a barrier that some warps skip": (
        "cuda_tiles.cuh",
        "        __syncthreads();\n        meet<T>",
        "        if (here.row == 0) __syncthreads();\n        meet<T>",
        "race|not every thread reaches the barrier|threads meet at different barriers",
    ),
    "padding is not zeroed": (
        "cuda_memory.cuh",
        "if (i0 + n * step < tile.positions) row",
        "if (i0 + n * step < positions) row",
        "read of what nothing has written, shared memory",
    ),
    "all blocks write the first lines": (
        "cuda_tiles.cuh",
        "start = p.axis.start(first + (line",
        "start = p.axis.start(0 * first + (line",
        "race: .* stats|read of what nothing has written, stats",
    ),
    "axes are merged without rescaling": (
        "cuda_forward.cuh",
        "total = total * expf(top - m) +",
        "total = total +",
        "",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_caught(fault, rng, tmp_path):
    file, text, other, words = FAULTS[fault]
    shutil.copytree(SRC, tmp_path / "src")
    source = (SRC / file).read_text()
    assert source.count(text) == 1
    (tmp_path / "src" / file).write_text(source.replace(text, other))
    broken = Kernels(build(src=tmp_path / "src", flags=("-O1",)))
    inputs = draw(rng, (21, 35), cq=40)
    if words:
        with pytest.raises(RuntimeError, match=words):
            broken.run(*inputs)
    else:
        assert distances(broken.run(*inputs), attention(*rounded(inputs, "float32")))[0] > 1e-3
