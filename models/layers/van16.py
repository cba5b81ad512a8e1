"""The layers of a VAN that other networks do not have, in bfloat16 on the CPU: maps (B, H, W, C), as in maps16.py.

src/depthwise16.h and src/van16.h compute in float32 and round each result once, to nearest. plain16.py has the
definitions.
"""

from pathlib import Path

import jittor as jt

MODELS = Path(__file__).resolve().parents[1]
FILES = (
    "cca/src/bf16.h",
    "cca/src/simd.h",
    "cca/src/bf16_product.h",
    "layers/src/elementwise.h",
    "layers/src/maps16.h",
    "layers/src/depthwise16.h",
    "layers/src/van16.h",
)
HEADER = "".join(f'#include "{MODELS / name}"\n' for name in FILES)
TYPE = "bfloat16"
COMMON = """
    auto n = [&](const char* name) { return int(data[name]); };
    auto bf = [](const void* p) { return static_cast<bf16::Number*>(const_cast<void*>(p)); };
"""
SHAPE = """
    const van16::Shape s = {int(in0_shape0), int(in0_shape1), int(in0_shape2), int(in0_shape3), n("oh"), n("ow"),
                            n("pad"), n("dilation")};
"""
ROWS = "const maps16::Rows rows = {in0->num / in0_shape3, in0_shape3};\n"
BRANCH = "const van16::Branch s = {in0_shape0, in0_shape1 * in0_shape2, in0_shape3};\n"


def call(shapes, dtypes, inputs, source, **numbers):
    data = {name: float(value) for name, value in numbers.items()}
    return jt.code(shapes, dtypes, inputs, cpu_header=HEADER, cpu_src=COMMON + source, data=data)


class Depthwise(jt.Function):
    """x (B, H, W, C), weight (C, 1, k, k) and bias (C,) float32 -> (B, oh, ow, C). `activated`: GELU of the result."""

    def __init__(self, pad, dilation, activated=False):
        self.numbers, self.activated = {"pad": pad, "dilation": dilation}, activated

    def execute(self, x, weight, bias):
        self.saved = x, weight
        numbers = self.numbers
        reach = numbers["dilation"] * (weight.shape[2] - 1)
        oh, ow = (side + 2 * numbers["pad"] - reach for side in x.shape[1:3])
        numbers.update(oh=oh, ow=ow)
        source = f"van16::depthwise(in1_shape2, s, {int(self.activated)}, bf(in0_p), in1_p, in2_p, bf(out0_p));"
        return call([(x.shape[0], oh, ow, x.shape[3])], [TYPE], [x, weight, bias], SHAPE + source, **numbers)[0]

    def grad(self, dy):
        x, weight = self.saved
        source = """van16::depthwise_gradient(in1_shape2, s, bf(in0_p), in1_p, bf(in2_p), bf(out0_p), out1_p,
                                              out2_p);"""
        shapes, dtypes = [x.shape, weight.shape, (x.shape[3],)], [TYPE, "float32", "float32"]
        return call(shapes, dtypes, [x, weight, dy], SHAPE + source, **self.numbers)


def depthwise(conv, x):
    """`conv`: a DepthwiseConv2d with stride 1, a square kernel of 3, 5 or 7, and a bias."""
    return Depthwise(conv.padding[0], conv.dilation[0])(x, conv.weight, conv.bias)


def depthwise_gelu(conv, x):
    """gelu(depthwise(conv, x)) without gradients."""
    return Depthwise(conv.padding[0], conv.dilation[0], activated=True)(x, conv.weight, conv.bias)


class Gelu(jt.Function):
    def execute(self, x):
        self.saved = x
        return call([x.shape], [TYPE], [x], "van16::gelu(in0->num, bf(in0_p), bf(out0_p));")[0]

    def grad(self, g):
        source = "van16::gelu_gradient(in0->num, bf(in0_p), bf(in1_p), bf(out0_p));"
        return call([g.shape], [TYPE], [self.saved, g], source)[0]


def gelu(x):
    return Gelu()(x)


class Product(jt.Function):
    def execute(self, x, gate):
        self.saved = x, gate
        return call([x.shape], [TYPE], [x, gate], "van16::product(in0->num, bf(in0_p), bf(in1_p), bf(out0_p));")[0]

    def grad(self, g):
        source = "van16::product_gradient(in0->num, bf(in0_p), bf(in1_p), bf(in2_p), bf(out0_p), bf(out1_p));"
        return call([g.shape] * 2, [TYPE] * 2, [*self.saved, g], source)


def product(x, gate):
    """x * gate, of one shape."""
    return Product()(x, gate)


class BranchSum(jt.Function):
    def execute(self, x, factor, a, b):
        self.saved = (factor, a) if b is None else (factor, a, b)
        inputs = [x, factor, a] + [b] * (b is not None)
        source = "van16::branch_sum(s, bf(in0_p), in1_p, bf(in2_p), {}, bf(out0_p));"
        return call([x.shape], [TYPE], inputs, BRANCH + source.format("nullptr" if b is None else "bf(in3_p)"))[0]

    def grad(self, g):
        factor, *parts = self.saved
        source = "van16::branch_sum_gradient(s, in1_p, bf(in2_p), {}, bf(in0_p), bf(out0_p), out1_p);"
        source = BRANCH + source.format("bf(in3_p)" if len(parts) > 1 else "nullptr")
        d, d_factor = call([g.shape, factor.shape], [TYPE, "float32"], [g, factor, *parts], source)
        return g, d_factor, d, d if len(parts) > 1 else None


def branch_sum(x, factor, a, b=None):
    """x + factor * (a + b): maps, factor (B, C) float32."""
    return BranchSum()(x, factor, a, b)


class LayerNorm(jt.Function):
    def __init__(self, eps):
        self.eps = eps

    def execute(self, x, weight, bias):
        source = 'van16::layer_norm(rows, data["eps"], bf(in0_p), in1_p, in2_p, bf(out0_p), out1_p, out2_p);'
        shapes, dtypes = [x.shape, x.shape[:3], x.shape[:3]], [TYPE, "float32", "float32"]
        y, *statistics = call(shapes, dtypes, [x, weight, bias], ROWS + source, eps=self.eps)
        self.saved = x, weight, *statistics
        return y

    def grad(self, g):
        x, weight, *_ = self.saved
        source = """van16::layer_norm_gradient(rows, bf(in0_p), in1_p, in2_p, in3_p, bf(in4_p), bf(out0_p), out1_p,
                                               out2_p);"""
        shapes, dtypes = [x.shape, weight.shape, weight.shape], [TYPE, "float32", "float32"]
        return call(shapes, dtypes, [*self.saved, g], ROWS + source)


def layer_norm(norm, x):
    """`norm`: a LayerNorm over the channels, with weight, bias and eps."""
    return LayerNorm(norm.eps)(x, norm.weight, norm.bias)
