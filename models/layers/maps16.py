"""Layers between the convolutions of a network in bfloat16 on the CPU, forward and gradients: maps (B, H, W, C).

src/maps16.h computes in float32 and rounds each result once, to nearest. BatchNorm has float32 weights and statistics,
as in batch_norm.py. plain16.py has the definitions.
"""

from pathlib import Path

import jittor as jt

from models.layers.batch_norm import SLOPES
from models.layers.ranks import moments_of_all_ranks, sum_over_ranks

MODELS = Path(__file__).resolve().parents[1]
HEADER = "".join(f'#include "{MODELS / name}"\n' for name in ("cca/src/bf16.h", "layers/src/maps16.h"))
TYPE = "bfloat16"
COMMON = """
    auto n = [&](const char* name) { return int(data[name]); };
    auto bf = [](const void* p) { return static_cast<bf16::Number*>(const_cast<void*>(p)); };
    const int last = in0->shape[in0->shape.size() - 1];
    const maps16::Rows rows = {in0->num / last, last};
"""


def call(shapes, dtypes, inputs, source, **numbers):
    return jt.code(
        shapes,
        dtypes,
        inputs,
        cpu_header=HEADER,
        cpu_src=COMMON + source,
        data={name: float(value) for name, value in numbers.items()},
    )


class Norm(jt.Function):
    """BatchNorm, the sum with `residual`, the activation. `fixed`: mean and variance, instead of those of x."""

    def __init__(self, slope, fixed=None):
        self.slope, self.fixed = slope, fixed

    def execute(self, x, weight, bias, eps, residual):
        channels = tuple(weight.shape)
        count = jt.array([float(x.numel() // x.shape[-1])])
        if self.fixed:
            mean, var = self.fixed
        else:
            source = "maps16::moments(rows, bf(in0_p), out0_p, out1_p);"
            moments = call([channels] * 2, ["float32"] * 2, [x], source)
            mean, var, count = moments_of_all_ranks(*moments, count)
        deviation = jt.sqrt(var + eps)
        scale = weight / deviation
        source = 'maps16::apply(rows, data["slope"], bf(in0_p), in1_p, in2_p, in3_p, {}, bf(out0_p));'
        source = source.format("nullptr" if residual is None else "bf(in4_p)")
        inputs = [x, mean, scale, bias] + [residual] * (residual is not None)
        y = call([x.shape], [TYPE], inputs, source, slope=self.slope)[0]
        self.saved = x, y, mean, deviation, scale, count, residual is not None
        return y, mean, var, count

    def grad(self, g, *_):
        x, y, mean, deviation, scale, count, with_residual = self.saved
        source = 'maps16::sums(rows, data["slope"], bf(in0_p), bf(in1_p), bf(in2_p), in3_p, out0_p, out1_p);'
        d_bias, sum_gx = call([mean.shape] * 2, ["float32"] * 2, [g, x, y, mean], source, slope=self.slope)
        d_weight = sum_gx / deviation  # of this rank
        if self.fixed:
            tilt, shift = jt.zeros(mean.shape), jt.zeros(mean.shape)
        else:
            all_bias, all_weight = sum_over_ranks(d_bias, d_weight)
            tilt, shift = scale / deviation * all_weight / count, scale * all_bias / count
        source = """maps16::gradient(rows, data["slope"], bf(in0_p), bf(in1_p), bf(in2_p), in3_p, in4_p, in5_p, in6_p,
                                     bf(out0_p), {});"""
        outputs = 2 if with_residual else 1
        dx, *d_residual = call(
            [x.shape] * outputs,
            [TYPE] * outputs,
            [g, x, y, mean, scale, tilt, shift],
            source.format("bf(out1_p)" if with_residual else "nullptr"),
            slope=self.slope,
        )
        return dx, d_weight, d_bias, None, d_residual[0] if with_residual else None


def normalise(x, weight, bias, eps, residual=None, activation="none", fixed=None):
    """-> y, mean, biased variance, number of values per channel; as in batch_norm.py."""
    return Norm(SLOPES[activation], fixed)(x, weight, bias, eps, residual)


class Twice(jt.Function):
    """x -> x, x; the two gradients are added in float32."""

    def execute(self, x):
        return x, x

    def grad(self, a, b):
        if a is None or b is None:
            return b if a is None else a
        return call([a.shape], [TYPE], [a, b], "maps16::add(rows, 1, bf(in0_p), bf(in1_p), bf(out0_p));")[0]


def twice(x):
    return Twice()(x)


class ScaledSum(jt.Function):
    """gamma * y + x, gamma: one float32 number."""

    def execute(self, gamma, y, x):
        self.saved = gamma, y
        return call([x.shape], [TYPE], [x, y, gamma], "maps16::add(rows, *in2_p, bf(in0_p), bf(in1_p), bf(out0_p));")[0]

    def grad(self, g):
        gamma, y = self.saved
        d_gamma = call([(1,)], ["float32"], [g, y], "maps16::inner_product(rows, bf(in0_p), bf(in1_p), out0_p);")[0]
        dy = call([g.shape], [TYPE], [g, gamma], "maps16::multiply(rows, *in1_p, bf(in0_p), bf(out0_p));")[0]
        return d_gamma, dy, g


def scaled_sum(gamma, y, x):
    return ScaledSum()(gamma, y, x)


class Join(jt.Function):
    """Concatenation along the channels."""

    def execute(self, a, b):
        self.shapes = a.shape, b.shape
        source = "maps16::join(rows.count, in0_shape3, in1_shape3, bf(in0_p), bf(in1_p), bf(out0_p));"
        return call([(*a.shape[:3], a.shape[3] + b.shape[3])], [TYPE], [a, b], source)[0]

    def grad(self, g):
        source = "maps16::split(rows.count, out0_shape3, out1_shape3, bf(in0_p), bf(out0_p), bf(out1_p));"
        return call(self.shapes, [TYPE] * 2, [g], source)


def join(a, b):
    return Join()(a, b)


class MaxPool(jt.Function):
    def __init__(self, window):
        self.window = window

    def execute(self, x):
        self.shape = x.shape
        b, h, w, c = x.shape
        window = self.window
        up = window["stride"] - 1 if window["ceil"] else 0
        oh, ow = ((side + 2 * window["pad"] - window["kernel"] + up) // window["stride"] + 1 for side in (h, w))
        source = """const maps16::Pool pool = {in0_shape0, in0_shape1, in0_shape2, in0_shape3, out0_shape1, out0_shape2,
                                               n("kernel"), n("stride"), n("pad")};
                    maps16::max_pool(pool, bf(in0_p), bf(out0_p), out1_p);"""
        y, self.place = call([(b, oh, ow, c)] * 2, [TYPE, "uint8"], [x], source, **window)
        return y

    def grad(self, g):
        source = """const maps16::Pool pool = {out0_shape0, out0_shape1, out0_shape2, out0_shape3, in0_shape1,
                                               in0_shape2, n("kernel"), n("stride"), n("pad")};
                    maps16::max_pool_gradient(pool, bf(in0_p), in1_p, bf(out0_p));"""
        return call([self.shape], [TYPE], [g, self.place], source, **self.window)[0]


def max_pool(pool, x):
    """`pool`: an nn.Pool with a square window whose padding is less than its stride."""
    window = {"kernel": pool.kernel_size[0], "stride": pool.stride[0], "pad": pool.padding[0], "ceil": pool.ceil_mode}
    return MaxPool(window)(x)
