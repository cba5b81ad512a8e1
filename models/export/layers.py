"""Conversion of single layers, one or a few nodes each: function(graph, layer, x, name) -> Map."""

import math

import numpy as np

from models.export.graph import Map
from models.layers.batch_norm import SLOPES, BatchNorm


def conv(g, m, x, name):
    """Any convolution, also with groups."""
    kernel, stride, pad, dilation = (tuple(v) for v in (m.kernel_size, m.stride, m.padding, m.dilation))
    inputs = [x.name, g.weight(f"{name}.weight", m.weight.numpy())]
    if m.bias is not None:
        inputs.append(g.weight(f"{name}.bias", m.bias.numpy()))
    y = g.node(
        "Conv", inputs, name, kernel_shape=kernel, strides=stride, pads=pad * 2, dilations=dilation, group=m.groups
    )
    shape = None
    if x.shape:
        sides = zip(x.shape[2:], kernel, stride, pad, dilation)
        shape = (x.shape[0], m.out_channels, *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides))
    return Map(y, shape)


def norm(g, m, x, name, residual=None, activation="none"):
    """A BatchNorm or, after folding, `Folded`; then the sum with `residual`, then the activation."""
    if isinstance(m, BatchNorm):
        keys = ("weight", "bias", "running_mean", "running_var")
        parts = [g.weight(f"{name}.{key}", getattr(m, key).numpy()) for key in keys]
        x = x.like(g.node("BatchNormalization", [x.name, *parts], name, epsilon=m.eps))
    if residual is not None:
        x = plus(g, x, residual, f"{name}.sum")
    return activate(g, x, activation, f"{name}.act")


def activate(g, x, activation, name):
    slope = SLOPES[activation]
    if slope == 1:
        return x
    return x.like(g.node("LeakyRelu", [x.name], name, alpha=slope) if slope else g.node("Relu", [x.name], name))


def plus(g, x, y, name):
    return x.like(g.node("Add", [x.name, y.name], name))


def times(g, x, y, name):
    """`y`: a Map or the name of a constant."""
    return x.like(g.node("Mul", [x.name, getattr(y, "name", y)], name))


def gelu(g, x, name):
    """x / sqrt(2), Erf, + 1, * x, * 0.5: runtimes recognise this form and fuse it into one kernel."""
    y = g.node("Div", [x.name, g.number(math.sqrt(2))], f"{name}.scaled")
    y = g.node("Add", [g.node("Erf", [y], f"{name}.erf"), g.number(1.0)], f"{name}.plus")
    return x.like(g.node("Mul", [g.node("Mul", [x.name, y], f"{name}.gated"), g.number(0.5)], name))


def layer_norm(g, m, x, name):
    """Over the channels; in float32 even with --float16, because squares of values above 255 overflow float16."""
    x = g.to_float32(x)
    scale, shift = (np.reshape(part.numpy(), (1, -1, 1, 1)) for part in (m.weight, m.bias))
    mean = g.node("ReduceMean", [x.name], f"{name}.mean", axes=[1], keepdims=1)
    centred = g.node("Sub", [x.name, mean], f"{name}.centred")
    square = g.node("Mul", [centred, centred], f"{name}.square")
    variance = g.node("ReduceMean", [square], f"{name}.variance", axes=[1], keepdims=1)
    variance = g.node("Add", [variance, g.weight(f"{name}.eps", np.float32(m.eps), exact=True)], f"{name}.positive")
    y = g.node("Div", [centred, g.node("Sqrt", [variance], f"{name}.deviation")], f"{name}.hat")
    y = g.node("Mul", [y, g.weight(f"{name}.weight", scale, exact=True)], f"{name}.scaled")
    y = g.node("Add", [y, g.weight(f"{name}.bias", shift, exact=True)], name)
    return g.to_working(x.like(y))


def max_pool(g, m, x, name):
    """3x3, stride 2. Rounding up is one more pixel of padding at the end, as some runtimes get ceil_mode wrong."""
    up = int(m.ceil_mode)
    y = g.node("MaxPool", [x.name], name, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1 + up, 1 + up))
    shape = x.shape and (*x.shape[:2], *((side + up - 1) // 2 + 1 for side in x.shape[2:]))
    return Map(y, shape)


MODES = {True: "align_corners", False: "half_pixel"}  # as PyTorch's and Jittor's interpolate


def resize(g, x, to, name, align_corners=True):
    """Bilinear to the height and width of the Map `to`; x is float32."""
    if x.shape and x.shape[2:] == to.shape[2:]:
        return x
    if x.shape:
        shape = (*x.shape[:2], *to.shape[2:])
        sizes = g.integers(*shape)
    else:
        shape, parts = None, [g.sizes(x, 0, 2), g.sizes(to, 2, 4)]
        sizes = g.node("Concat", parts, f"{name}.sizes", axis=0)
    attributes = {"mode": "linear", "coordinate_transformation_mode": MODES[align_corners]}
    return Map(g.node("Resize", [x.name, "", "", sizes], name, **attributes), shape)


def concat(g, maps, name):
    shape = maps[0].shape
    if shape:
        shape = (shape[0], sum(x.shape[1] for x in maps), *shape[2:])
    return Map(g.node("Concat", [x.name for x in maps], name, axis=1), shape)
