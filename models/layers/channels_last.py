"""Convolutions of a network in bfloat16 on the CPU, forward and gradients: maps (B, H, W, C), weights float32.

oneDNN computes them (src/channels_last.h). Jittor's own operators for bfloat16 are not used: on the CPU they truncate,
and its convolution and comparison take no bfloat16. maps16.py has the other layers, plain16.py the definitions.
"""

from pathlib import Path

import jittor as jt

from models.layers.batch_norm import SLOPES
from models.layers.conv import folder

FILE = Path(__file__).resolve().parent / "src" / "channels_last.h"
TYPE = "bfloat16"
DESCRIPTION = 1024  # bytes; oneDNN's description of a layout is smaller
WINDOW = """
    const channels_last::Convolution window = {{{}, n("out"), n("oh"), n("ow"), n("kernel"), n("stride"), n("pad"),
                                               n("dilation")}};
"""


def call(shapes, dtypes, inputs, source, **numbers):
    flags = f"FLAGS: -I{folder()}/include -L{folder()}/lib -lmkldnn "
    with jt.flag_scope(compile_options={flags: 1}):
        return jt.code(
            shapes,
            dtypes,
            inputs,
            cpu_header=f'#include "{FILE}"\n',
            cpu_src="auto n = [&](const char* name) { return int(data[name]); };\n" + source,
            data={name: float(value) for name, value in numbers.items()},
        )


class ToLast(jt.Function):
    """(B, C, H, W) float32 -> (B, H, W, C) bfloat16."""

    def execute(self, x):
        return change_layout(x, True)

    def grad(self, g):
        return change_layout(g, False)


class ToFirst(jt.Function):
    """(B, H, W, C) bfloat16 -> (B, C, H, W) float32."""

    def execute(self, x):
        return change_layout(x, False)

    def grad(self, g):
        return change_layout(g, True)


def change_layout(x, to_last):
    b, *sides = x.shape
    c, h, w = sides if to_last else (sides[2], sides[0], sides[1])
    source = 'channels_last::change_layout(n("to_last"), in0_shape0, n("c"), n("h"), n("w"), in0_p, out0_p);'
    shape, dtype = ((b, h, w, c), TYPE) if to_last else ((b, c, h, w), "float32")
    return call([shape], [dtype], [x], source, to_last=to_last, c=c, h=h, w=w)[0]


def to_last(x):
    return ToLast()(x)


def to_first(x):
    return ToFirst()(x)


def window_of(conv, x):
    """-> the numbers of a Convolution in channels_last.h, for x (B, H, W, C)."""
    kernel, stride, pad, dilation = conv.kernel_size[0], conv.stride[0], conv.padding[0], conv.dilation[0]
    reach = dilation * (kernel - 1) + 1
    oh, ow = ((side + 2 * pad - reach) // stride + 1 for side in x.shape[1:3])
    sizes = {"out": conv.out_channels, "oh": oh, "ow": ow}
    return {**sizes, "kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation}


class Convolution(jt.Function):
    """x (B, H, W, I) bfloat16, weight (O, I, k, k) and bias (O) float32 or None -> (B, H, W, O) bfloat16."""

    def __init__(self, window):
        self.window = window

    def execute(self, x, weight, bias):
        self.saved = x, weight, bias
        source = (
            WINDOW.format("in0_shape0, in0_shape3, in0_shape1, in0_shape2")
            + f"""
            channels_last::forward(window, 1, in0_p, channels_last::plain_weight(window), in1_p,
                                   {"nullptr" if bias is None else "in2_p"}, nullptr, out0_p);"""
        )
        shape = (x.shape[0], self.window["oh"], self.window["ow"], self.window["out"])
        return call([shape], [TYPE], [x, weight] + [bias] * (bias is not None), source, **self.window)[0]

    def grad(self, dy):
        x, weight, bias = self.saved
        source = WINDOW.format('in0_shape0, n("in"), n("h"), n("w")')
        source += "channels_last::gradient_of_x(window, in0_p, in1_p, out0_p);"
        sizes = {"in": x.shape[3], "h": x.shape[1], "w": x.shape[2], **self.window}
        dx = call([x.shape], [TYPE], [dy, weight], source, **sizes)[0]
        source = (
            WINDOW.format("in0_shape0, in0_shape3, in0_shape1, in0_shape2")
            + f"""
            channels_last::gradient_of_weight(window, in0_p, in1_p, out0_p, {"nullptr" if bias is None else "out1_p"});
            """
        )
        shapes = [weight.shape] + ([] if bias is None else [bias.shape])
        d_weight, *d_bias = call(shapes, ["float32"] * len(shapes), [x, dy], source, **self.window)
        return dx, d_weight, d_bias[0] if d_bias else None


def convolve(conv, x):
    """`conv`: a Conv2d with a square kernel and one group."""
    return Convolution(window_of(conv, x))(x, conv.weight, conv.bias)


def pack(conv, x):
    """Rearrange the weights of `conv` once, for evaluation; x has a usual size. -> (weights, description)"""
    window, source = window_of(conv, x), WINDOW.format("in1_shape0, in1_shape3, in1_shape1, in1_shape2")
    weight, like = conv.weight, [conv.weight, x]
    size = call([(1,)], ["int32"], like, source + "*out0_p = channels_last::packed_bytes(window);", **window)[0]
    fill = f'static_assert(sizeof(dnnl_memory_desc_t) <= {DESCRIPTION}, "");\n'
    fill += "channels_last::pack(window, in0_p, out0_p, out1_p);"
    return call([(size.item(),), (DESCRIPTION,)], ["uint8", "uint8"], [weight, x], source + fill, **window)


def infer(conv, x, residual=None, activation="none"):
    """activation(conv(x) + residual) with the packed weights of `conv`, without gradients."""
    window, last = window_of(conv, x), 3 + (conv.bias is not None)
    source = (
        WINDOW.format("in0_shape0, in0_shape3, in0_shape1, in0_shape2")
        + f"""
        channels_last::forward(window, data["slope"], in0_p, channels_last::described(in2_p), in1_p,
                               {"nullptr" if conv.bias is None else "in3_p"},
                               {"nullptr" if residual is None else f"in{last}_p"}, out0_p);"""
    )
    inputs = [x, *conv.packed_weight] + [conv.bias] * (conv.bias is not None) + [residual] * (residual is not None)
    shape = (x.shape[0], window["oh"], window["ow"], window["out"])
    return call([shape], [TYPE], inputs, source, slope=SLOPES[activation], **window)[0]
