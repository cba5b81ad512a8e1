"""1x1 convolution: matrix products of oneDNN in float32 on the CPU (src/pointwise.h), Jittor's convolution elsewhere.

Jittor's call of oneDNN reorders input, weights and output of each convolution, which costs more than the product where
there are few channels.
"""

from pathlib import Path

import jittor as jt
from jittor import nn

from models.layers.conv import folder

FILE = Path(__file__).resolve().parent / "src" / "pointwise.h"
SHAPE = """
    const pointwise::Shape s = {in0_shape0, in0_shape1, in1_shape0, int64_t(in0_shape2) * in0_shape3};
"""


class Pointwise(jt.Function):
    """x (B, I, H, W), weight (O, I, 1, 1), bias (O,) or None -> (B, O, H, W)"""

    def execute(self, x, weight, bias):
        self.saved = x, weight
        self.with_bias = bias is not None
        source = f"pointwise::forward(s, in0_p, in1_p, {'in2_p' if self.with_bias else 'nullptr'}, out0_p);"
        shape = (x.shape[0], weight.shape[0], *x.shape[2:])
        return call([shape], [x, weight] + ([bias] if self.with_bias else []), source)[0]

    def grad(self, dy):
        x, weight = self.saved
        source = "pointwise::backward(s, in0_p, in1_p, in2_p, out0_p, out1_p, out2_p);"
        dx, dw, db = call([x.shape, weight.shape, (weight.shape[0],)], [x, weight, dy], source)
        return dx, dw, db if self.with_bias else None


def call(shapes, inputs, source):
    flags = f"FLAGS: -I{folder()}/include -L{folder()}/lib -lmkldnn "
    header = f'#include "{FILE}"\n'
    with jt.flag_scope(compile_options={flags: 1}):
        return jt.code(shapes, ["float32"] * len(shapes), inputs, cpu_header=header, cpu_src=SHAPE + source)


class PointwiseConv2d(nn.Conv2d):
    def __init__(self, in_channels, channels, bias=True):
        super().__init__(in_channels, channels, 1, bias=bias)

    def execute(self, x):
        if jt.flags.use_cuda or x.dtype != "float32" or folder() is None:
            return self.plain(x)
        return Pointwise()(x, self.weight, self.bias)

    def plain(self, x):
        return super().execute(x)
