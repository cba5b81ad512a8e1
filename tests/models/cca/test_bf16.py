"""The attention in bfloat16 on the CPU, compared with float64 and with PyTorch's bfloat16 at odd sizes."""

import subprocess
from pathlib import Path

import jittor as jt
import numpy as np
import pytest

from models.cca import criss_cross_attention
from models.cca.functional import channels_last_attention, has_bf16
from models.cca.kernels import ChannelsLast, FusedBF16

SRC = Path(__file__).resolve().parents[3] / "models" / "cca" / "src"
# one-pixel lines; no multiples of vectors, pairs, tiles or strips; several strips; volumes
SIZES = [(1, 1), (1, 9), (9, 1), (5, 7), (16, 16), (17, 33), (97, 13), (3, 130), (2, 3, 4), (5, 1, 18), (7, 17, 1)]


def draw(rng, sides, batch=2, cq=3, c=10):
    """q, k, v, g as float32 that bfloat16 represents exactly."""
    shapes = [(batch, n, *sides) for n in (cq, cq, c, c)]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    arrays[0] *= 0.5
    return [jt.array(x).bfloat16().float32().numpy() for x in arrays]


def run(function, q, k, v, g, dtype="bfloat16"):
    """-> out, dq, dk, dv as numpy."""
    with jt.flag_scope(auto_convert_64_to_32=0):
        q, k, v = (jt.array(x.astype(np.float64)).cast(dtype) for x in (q, k, v))
        out = function(q, k, v)
        gradients = jt.grad((out.float64() * jt.array(g.astype(np.float64))).sum(), [q, k, v])
        return [x.float64().numpy() for x in (out, *gradients)]


def fused(q, k, v):
    """The kernels of bfloat16 on any processor; on one without AVX512-BF16 they multiply in float32."""
    return ChannelsLast(back=True)(FusedBF16()(*(ChannelsLast()(x) for x in (q, k, v))))


def exact(q, k, v):
    return criss_cross_attention(q, k, v, "reference")


def error(result, expected):
    return np.linalg.norm(result - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("cq, c", [(3, 10), (8, 64), (33, 97)])
@pytest.mark.parametrize("sides", SIZES)
def test_near_the_definition_in_float64(rng, sides, cq, c):
    inputs = draw(rng, sides, cq=cq, c=c)
    for result, expected in zip(run(fused, *inputs), run(exact, *inputs, dtype="float64")):
        if np.abs(expected).max() > 1e-9:  # with one position, the gradients of q and k are 0
            assert error(result, expected) < 1.5e-2  # dq is a difference of rounded numbers
        else:
            assert np.abs(result).max() < 1e-2


@pytest.mark.parametrize("sides, cq, c", [((17, 33), 64, 256), ((5, 7), 3, 10), ((33, 65), 5, 49)])
def test_at_most_twice_the_error_of_pytorch(rng, sides, cq, c):
    torch = pytest.importorskip("torch")
    from scripts.benchmark import torch_models

    inputs = draw(rng, sides, cq=cq, c=c)
    q, k, v = (torch.from_numpy(x).bfloat16().requires_grad_() for x in inputs[:3])
    out = torch_models.criss_cross(q, k, v)
    out.backward(torch.from_numpy(inputs[3]).bfloat16())
    peers = [x.detach().double().numpy() for x in (out, q.grad, k.grad, v.grad)]
    for ours, peer, expected in zip(run(fused, *inputs), peers, run(exact, *inputs, dtype="float64")):
        assert error(ours, expected) < 2 * error(peer, expected)


def test_equal_values_give_exactly_that_value(rng):
    q, k, v, _ = draw(rng, (13, 35))
    v[:] = np.float32(1.3984375)
    np.testing.assert_array_equal(run(fused, q, k, v, v)[0], v)


def test_both_layouts_and_both_backends(rng):
    inputs = draw(rng, (7, 9))
    expected = run(exact, *inputs, dtype="float64")

    def last(backend):
        def call(*maps):
            maps = [ChannelsLast()(x) for x in maps]
            return ChannelsLast(back=True)(channels_last_attention(*maps, backend))

        return call

    for function in (criss_cross_attention, last("fused"), last("reference")):
        assert error(run(function, *inputs)[0], expected[0]) < 1e-2


def test_nan_is_passed_on(rng):
    q, k, v, _ = (jt.array(x).bfloat16() for x in draw(rng, (5, 7)))
    k[0, 0, 2, 3] = float("nan")
    out = fused(q, k, v).float32().isnan().numpy()
    assert out[0, :, 2].all() and out[0, :, :, 3].all() and not out[1].any() and not out[0, :, 0, 0].any()


def test_bitwise_the_same_with_any_number_of_threads(run_command):
    code = """
import sys; sys.path.insert(0, "."); sys.path.insert(0, "tests/models/cca")
from utils import runtime; runtime.start("cpu")
import hashlib, numpy as np
from test_bf16 import draw, fused, run
results = run(fused, *draw(np.random.default_rng(1), (19, 37), cq=8, c=40))
print("DIGEST", hashlib.sha256(b"".join(x.tobytes() for x in results)).hexdigest())
"""
    done = [run_command("python", "-c", code, env={"OMP_NUM_THREADS": str(n)}) for n in (1, 2, 3)]
    digests = {line for d in done for line in d.stdout.splitlines() if line.startswith("DIGEST")}
    assert all(d.returncode == 0 for d in done) and len(digests) == 1, [d.stderr for d in done]


@pytest.mark.parametrize("machine", ["haswell", "skylake-avx512", "sapphirerapids"])
def test_the_kernels_compile_for_each_processor(machine, tmp_path):
    """sapphirerapids has AMX, which these tests cannot run everywhere."""
    command = [
        "g++",
        "-std=c++14",
        "-Ofast",
        f"-march={machine}",
        "-fopenmp",
        "-Wall",
        "-Werror",
        "-Wno-maybe-uninitialized",
        "-c",
        "-x",
        "c++",
    ]
    file = tmp_path / "all.cc"
    file.write_text(f'#include "{SRC / "bf16_attention.h"}"\nauto one = cca::forward16;\nauto two = cca::backward16;\n')
    done = subprocess.run([*command, file, "-o", tmp_path / "all.o"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_processor_is_asked():
    flags = Path("/proc/cpuinfo").read_text().split()
    assert has_bf16() == ("avx512_bf16" in flags)
