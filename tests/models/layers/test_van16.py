"""The layers of a VAN in bfloat16 on the CPU, compared with their definitions in float32 at odd sizes."""

import jittor as jt
import numpy as np
import pytest
from test_maps16 import SHAPES, compare, draw

from models.layers import plain16, van16
from models.layers.depthwise import DepthwiseConv2d
from models.van import LayerNorm

DEPTHWISE = [  # batch, height, width, channels, kernel, dilation, padding
    (2, 13, 17, 32, 5, 1, 2),
    (1, 9, 31, 17, 7, 3, 9),
    (3, 8, 5, 70, 3, 1, 1),
    (1, 1, 1, 16, 7, 3, 9),
    (1, 23, 40, 5, 7, 2, 3),  # the output is smaller
    (2, 6, 3, 33, 3, 2, 4),  # or larger
    (1, 70, 9, 1, 5, 4, 8),
]


def definitions(name):
    return [getattr(module, name) for module in (van16, plain16)]


@pytest.mark.parametrize("case", DEPTHWISE)
def test_depthwise_convolution(rng, case):
    batch, h, w, channels, kernel, dilation, pad = case
    layer = DepthwiseConv2d(channels, kernel, padding=pad, dilation=dilation)
    given = [rng.standard_normal(shape).astype(np.float32) for shape in ((channels, 1, kernel, kernel), (channels,))]

    def by(function):
        def run(x, weight, bias):
            layer.weight, layer.bias = weight, bias
            return function(layer, x)

        return run

    x = draw(rng, (batch, h, w, channels))
    compare(rng, *map(by, definitions("depthwise")), [x], given)
    with jt.no_grad():  # with GELU, for evaluation
        ours, expected = (
            by(function)(jt.array(x).cast(dtype), *map(jt.array, given)).float32().numpy()
            for function, dtype in zip(definitions("depthwise_gelu"), ("bfloat16", "float32"))
        )
    assert np.abs(ours - expected).max() <= 2**-8 * max(np.abs(expected).max(), 1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_gelu_and_product(rng, shape):
    compare(rng, *definitions("gelu"), [4 * draw(rng, shape)])
    compare(rng, *definitions("product"), [draw(rng, shape), draw(rng, shape)])


def test_gelu_of_large_numbers():
    x = jt.array(np.float32([-200, -30, -0.0, 0, 9, 200])).bfloat16()
    assert van16.gelu(x).float32().numpy().tolist() == [0, 0, 0, 0, 9, 200]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("parts", [1, 2])
def test_sum_with_a_scaled_branch(rng, shape, parts):
    def by(function):
        return lambda *inputs: function(inputs[0], inputs[-1], *inputs[1:-1])

    maps = [draw(rng, shape) for _ in range(1 + parts)]
    factor = rng.standard_normal((shape[0], shape[3])).astype(np.float32)
    factor[-1] = 0  # a dropped sample
    compare(rng, *map(by, definitions("branch_sum")), maps, [factor])


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm(rng, shape):
    norm = LayerNorm(shape[3])

    def by(function):
        def run(x, weight, bias):
            norm.weight, norm.bias = weight, bias
            return function(norm, x)

        return run

    given = [rng.standard_normal(shape[3]).astype(np.float32) for _ in range(2)]
    compare(rng, *map(by, definitions("layer_norm")), [draw(rng, shape)], given, tolerance=2**-7)


def test_bitwise_the_same_with_any_number_of_threads(run_command):
    code = """
import sys; sys.path.insert(0, ".")
from utils import runtime; runtime.start("cpu")
import hashlib, jittor as jt, numpy as np
from models.layers import van16
from models.layers.depthwise import DepthwiseConv2d
from models.van import LayerNorm
x, g = (jt.array(np.random.default_rng(n).standard_normal((2, 37, 67, 40)).astype("float32")) for n in (1, 2))
jt.set_global_seed(0)
x, factor, norm, layer = x.bfloat16(), jt.ones((2, 40)), LayerNorm(40), DepthwiseConv2d(40, 7, padding=9, dilation=3)
y = van16.gelu(van16.depthwise(layer, van16.layer_norm(norm, x)))
z = van16.branch_sum(x, factor, y, van16.product(x, y))
parts = [z, *jt.grad((z.float32() * g).sum(), [x, factor, layer.weight, layer.bias, norm.weight, norm.bias])]
print("DIGEST", hashlib.sha256(b"".join(part.float32().numpy().tobytes() for part in parts)).hexdigest())
"""
    done = [run_command("python", "-c", code, env={"OMP_NUM_THREADS": str(n)}) for n in (1, 2, 3)]
    digests = {line for d in done for line in d.stdout.splitlines() if line.startswith("DIGEST")}
    assert all(d.returncode == 0 for d in done) and len(digests) == 1, [d.stderr for d in done]
