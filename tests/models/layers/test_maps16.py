"""The layers of a network in bfloat16 on the CPU, compared with their definitions in float32 at odd sizes."""

import functools

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models.layers import channels_last, conv, maps16, plain16

SHAPES = [(1, 1, 1, 2), (3, 5, 7, 17), (2, 1, 9, 64), (1, 13, 11, 257), (2, 33, 31, 3)]
needs_bf16 = pytest.mark.skipif(bool(conv.why_no_bfloat16()), reason="oneDNN has no bfloat16 on this processor")


def draw(rng, shape):
    """Numbers that are bfloat16 already, as float32: the definition gets the same input."""
    return jt.array(rng.standard_normal(shape).astype(np.float32)).bfloat16().float32().numpy()


def compare(rng, function, definition, maps, others=(), tolerance=2**-8):
    """Values and gradients: each result is the float32 one, rounded once (half of 2^-8), for the same gradient."""
    results, upstream = [], None
    for call, dtype in ((function, "bfloat16"), (definition, "float32")):
        inputs = [jt.array(x).cast(dtype) for x in maps] + [jt.array(x) for x in others]
        outputs = call(*inputs)
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        upstream = upstream or [draw(rng, y.shape) for y in outputs]
        loss = sum((y.float32() * jt.array(g)).sum() for y, g in zip(outputs, upstream))
        results.append([v.float32().numpy() for v in (*outputs, *jt.grad(loss, inputs))])
    for ours, expected in zip(*results):
        assert ours.shape == expected.shape
        assert np.abs(ours - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-3)


def by(layer, name):
    """(function, definition) of a layer's name, with leading arguments."""
    return [functools.partial(getattr(module, name), *layer) for module in (maps16, plain16)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation, added", [("none", False), ("relu", True), ("leaky_relu", False)])
@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norm(rng, shape, activation, added, frozen):
    c = shape[-1]
    statistics = rng.standard_normal(c).astype(np.float32), rng.uniform(0.5, 2, c).astype(np.float32)
    fixed = [jt.array(x) for x in statistics] if frozen else None

    def call(module):
        def run(x, *rest):
            *add, weight, bias = rest
            add = add[0] if add else None
            return module.normalise(x, weight, bias, 1e-5, add, activation, fixed)[0]

        return run

    maps = [draw(rng, shape)] + [draw(rng, shape)] * added
    others = [rng.standard_normal(c).astype(np.float32) for _ in range(2)]
    if activation != "none" and not frozen:  # at the kink, rounding may change the sign: no element may be close to it
        others[1] = np.where(others[1] > 0, 9, -9).astype(np.float32)
    compare(rng, call(maps16), call(plain16), maps, others, tolerance=2**-7)


def test_statistics_of_a_large_mean_are_exact(rng):
    x = jt.array(draw(rng, (3, 9, 11, 40)) + 256).bfloat16()
    _, mean, var, count = maps16.normalise(x, jt.ones(40), jt.ones(40), 1e-5)
    exact = x.float32().numpy().astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), exact.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(var.numpy(), exact.var((0, 1, 2)), rtol=1e-5)
    assert count.item() == 3 * 9 * 11


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_and_concatenation(rng, shape):
    wide = (*shape[:3], shape[3] + 3)
    compare(rng, *by((), "twice"), [draw(rng, shape)])
    compare(rng, *by((), "join"), [draw(rng, shape), draw(rng, wide)])
    swap = [lambda y, x, gamma, f=module.scaled_sum: f(gamma, y, x) for module in (maps16, plain16)]
    compare(rng, *swap, [draw(rng, shape), draw(rng, shape)], [np.float32([0.7])])


@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize("shape", [(2, 9, 12, 17), (1, 8, 5, 64), (3, 4, 4, 1), (1, 33, 70, 5)])
def test_max_pool(rng, shape, ceil):
    pool = nn.Pool(3, 2, 1, op="maximum", ceil_mode=ceil)
    x = rng.permutation(np.prod(shape)).reshape(shape)  # no two equal: both then choose the same place
    x = x.astype(np.float32) % 251 if x.size > 256 else x.astype(np.float32)
    small = shape[1] * shape[2] <= 251
    results = [
        f(x)
        for f in (
            lambda x: maps16.max_pool(pool, jt.array(x).bfloat16()).float32().numpy(),
            lambda x: plain16.max_pool(pool, jt.array(x)).numpy(),
        )
    ]
    np.testing.assert_array_equal(*results)
    if small:
        x = np.stack([rng.permutation(shape[1] * shape[2]).reshape(shape[1:3]) for _ in range(shape[0] * shape[3])])
        x = x.reshape(shape[0], shape[3], *shape[1:3]).transpose(0, 2, 3, 1).astype(np.float32)
        compare(rng, *by((pool,), "max_pool"), [x])


@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (2, 1, 3, 4), (1, 2, 2, 4), (1, 3, 1, 4)])
def test_max_pool_of_small_maps(rng, shape):
    x = draw(rng, shape)
    pool = nn.Pool(3, 2, 1, op="maximum", ceil_mode=True)
    result = maps16.max_pool(pool, jt.array(x).bfloat16()).float32().numpy()
    padded = np.pad(x, ((0, 0), (1, 3), (1, 3), (0, 0)), constant_values=-np.inf)
    for i in range(result.shape[1]):
        for j in range(result.shape[2]):
            window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            np.testing.assert_array_equal(result[:, i, j], window.max((1, 2)))


CONVOLUTIONS = [  # batch, in, out, height, width, kernel, stride, dilation, bias
    (2, 16, 32, 13, 17, 3, 1, 1, False),
    (1, 3, 17, 11, 8, 7, 2, 1, True),
    (3, 5, 16, 7, 5, 3, 1, 4, True),
    (1, 48, 19, 5, 1, 1, 2, 1, True),
    (1, 64, 64, 1, 1, 3, 1, 2, False),
    (2, 128, 40, 9, 10, 3, 2, 1, False),
]


@needs_bf16
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions(rng, case):
    batch, inside, out, h, w, kernel, stride, dilation, bias = case
    layer = nn.Conv2d(inside, out, kernel, stride, dilation * (kernel // 2), dilation, bias=bias)
    layer.weight.assign(jt.array(draw(rng, layer.weight.shape)))
    given = [x.numpy() for x in (layer.weight, layer.bias) if x is not None]

    def call(module):
        def run(x, *parameters):
            layer.weight, layer.bias = parameters[0], parameters[1] if bias else None
            return module.convolve(layer, x)

        return run

    compare(rng, call(channels_last), call(plain16), [draw(rng, (batch, h, w, inside))], given)


@needs_bf16
@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("activation, added", [("relu", True), ("leaky_relu", False), ("none", True)])
def test_convolutions_with_packed_weights(rng, case, activation, added):
    """Packed for one size of x, used for another."""
    batch, inside, out, h, w, kernel, stride, dilation, bias = case
    layer = nn.Conv2d(inside, out, kernel, stride, dilation * (kernel // 2), dilation, bias=bias)
    layer.weight.assign(jt.array(draw(rng, layer.weight.shape)))
    layer.packed_weight = channels_last.pack(layer, jt.zeros((1, 33, 33, inside)).bfloat16())
    x = draw(rng, (batch, h, w, inside))
    shape = channels_last.convolve(layer, jt.array(x).bfloat16()).shape
    add = draw(rng, shape) if added else None
    ours = channels_last.infer(layer, jt.array(x).bfloat16(), jt.array(add).bfloat16() if added else None, activation)
    expected = plain16.infer(layer, jt.array(x), jt.array(add) if added else None, activation).numpy()
    assert np.abs(ours.float32().numpy() - expected).max() <= 2**-8 * np.abs(expected).max()


@needs_bf16
def test_layouts(rng):
    x = draw(rng, (2, 19, 5, 7))
    last = channels_last.to_last(jt.array(x))
    np.testing.assert_array_equal(last.float32().numpy(), x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(channels_last.to_first(last).numpy(), x)
    halves = jt.array(np.float32([1 + 2**-8, 1 + 3 * 2**-8]).reshape(1, 1, 1, 2))  # rounds to nearest, half to even
    assert channels_last.to_last(halves).float32().numpy().ravel().tolist() == [1, 1 + 2**-6]


def test_bitwise_the_same_with_any_number_of_threads(run_command):
    code = """
import sys; sys.path.insert(0, ".")
from utils import runtime; runtime.start("cpu")
import hashlib, jittor as jt, numpy as np
from models.layers import maps16
x, g = (jt.array(np.random.default_rng(n).standard_normal((2, 31, 67, 70)).astype("float32")) for n in (1, 2))
x, weight, gamma = x.bfloat16(), jt.ones(70), jt.array([0.5])
y = maps16.normalise(x, weight, weight, 1e-5, None, "relu")[0]
z = maps16.scaled_sum(gamma, y, x)
parts = [z, *jt.grad((z.float32() * g).sum(), [x, weight, gamma])]
print("DIGEST", hashlib.sha256(b"".join(part.float32().numpy().tobytes() for part in parts)).hexdigest())
"""
    done = [run_command("python", "-c", code, env={"OMP_NUM_THREADS": str(n)}) for n in (1, 2, 3)]
    digests = {line for d in done for line in d.stdout.splitlines() if line.startswith("DIGEST")}
    assert all(d.returncode == 0 for d in done) and len(digests) == 1, [d.stderr for d in done]
