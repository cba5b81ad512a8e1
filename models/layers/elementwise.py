"""What VAN computes between convolutions: GELU, product with a gate, sum with a scaled branch, layer normalisation.

Each has a plain form in Jittor operations, the definition, which also serves CUDA and 16 bits, and a kernel for float32
on the CPU on all threads (src/elementwise.h): Jittor itself computes such operators on one thread.
"""

from pathlib import Path

import jittor as jt
from jittor import nn

FOLDER = Path(__file__).resolve().parent
FILES = (FOLDER.parent / "cca" / "src" / "simd.h", FOLDER / "src" / "elementwise.h")
HEADER = "".join(f'#include "{path}"\n' for path in FILES)
MAPS = "const elementwise::Maps m = {in0_shape0, in0_shape1, in0->num / (in0_shape0 * in0_shape1)};\n"


def on_cpu(*arrays):
    return not jt.flags.use_cuda and all(x.dtype == "float32" for x in arrays)


def call(shapes, inputs, source, **numbers):
    types = ["float32"] * len(shapes)
    return jt.code(shapes, types, inputs, cpu_header=HEADER, cpu_src=source, data=numbers)


def gelu(x):
    return Gelu()(x) if on_cpu(x) else plain_gelu(x)


def plain_gelu(x):
    return nn.gelu(x)


class Gelu(jt.Function):
    def execute(self, x):
        self.saved = x
        return call([x.shape], [x], "elementwise::gelu(in0->num, in0_p, out0_p);")[0]

    def grad(self, g):
        return call([g.shape], [self.saved, g], "elementwise::gelu_gradient(in0->num, in0_p, in1_p, out0_p);")[0]


def product(x, gate):
    return Product()(x, gate) if on_cpu(x, gate) else plain_product(x, gate)


def plain_product(x, gate):
    return x * gate


class Product(jt.Function):
    """Both arrays have the same shape."""

    def execute(self, x, gate):
        self.saved = x, gate
        return call([x.shape], [x, gate], "elementwise::product(in0->num, in0_p, in1_p, out0_p);")[0]

    def grad(self, g):
        source = "elementwise::product_gradient(in0->num, in0_p, in1_p, in2_p, out0_p, out1_p);"
        return call([g.shape] * 2, [*self.saved, g], source)


def scaled_sum(x, branch, factor):
    """x + factor * branch: x and branch (B, C, H, W), factor (B, C)"""
    return (ScaledSum() if on_cpu(x, branch, factor) else plain_scaled_sum)(x, branch, factor)


def plain_scaled_sum(x, branch, factor):
    return x + branch * factor.broadcast(branch.shape, [2, 3])


class ScaledSum(jt.Function):
    def execute(self, x, branch, factor):
        self.saved = branch, factor
        source = "elementwise::scaled_sum(in2->num, in0->num / in2->num, in0_p, in1_p, in2_p, out0_p);"
        return call([x.shape], [x, branch, factor], source)[0]

    def grad(self, g):
        branch, factor = self.saved
        source = """elementwise::scaled_sum_gradient(in1->num, in0->num / in1->num, in0_p, in1_p, in2_p, out0_p,
                                                     out1_p);"""
        return g, *call([branch.shape, factor.shape], [branch, factor, g], source)


def layer_norm(x, weight, bias, eps):
    """Over the channels of (B, C, H, W)."""
    return LayerNorm(eps)(x, weight, bias) if on_cpu(x, weight, bias) else plain_layer_norm(x, weight, bias, eps)


def plain_layer_norm(x, weight, bias, eps):
    x = x - jt.mean(x, dims=[1], keepdims=True)
    x = x / jt.sqrt(jt.mean(x * x, dims=[1], keepdims=True) + eps)
    return weight.reshape((1, -1, 1, 1)) * x + bias.reshape((1, -1, 1, 1))


class LayerNorm(jt.Function):
    def __init__(self, eps):
        self.eps = eps

    def execute(self, x, weight, bias):
        points = (x.shape[0], *x.shape[2:])
        source = 'elementwise::layer_norm(m, data["eps"], in0_p, in1_p, in2_p, out0_p, out1_p, out2_p);'
        y, mean, factor = call([x.shape, points, points], [x, weight, bias], MAPS + source, eps=self.eps)
        self.saved = x, weight, mean, factor
        return y

    def grad(self, g):
        x, weight, *_ = self.saved
        source = "elementwise::layer_norm_gradient(m, in0_p, in1_p, in2_p, in3_p, in4_p, out0_p, out1_p, out2_p);"
        return call([x.shape, weight.shape, weight.shape], [*self.saved, g], MAPS + source)
