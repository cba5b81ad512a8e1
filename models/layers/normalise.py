"""Normalisation over the batch of all ranks, then `+ add`, then an activation: in plain operations, and fused.

`plain` and `fused` take (x, weight, bias, eps, add, slope) and give y, mean, biased variance, number of values of a
channel. `add` is None or like x; `slope` is that of the activation below 0, 1 for none. The gradients are written out:
Jittor's own would keep two more arrays of the size of x. On the CPU Jittor runs what is no convolution on one thread,
and walks over x for each sum; src/batch_norm.h uses all threads, and walks twice forward and twice backward.
"""

from pathlib import Path

import jittor as jt
from jittor import nn

FILE = Path(__file__).resolve().parent / "src" / "batch_norm.h"


def activate(x, slope):
    return x if slope == 1 else nn.leaky_relu(x, slope) if slope else nn.relu(x)


def normalise(x, *others):
    return (fused if x.dtype == "float32" and not jt.flags.use_cuda else plain)(x, *others)


def plain(x, weight, bias, eps, add=None, slope=1.0):
    y, *statistics = Plain()(x.float32(), weight, bias, eps)
    y = y.cast(x.dtype)
    return activate(y if add is None else y + add, slope), *statistics


def fused(x, weight, bias, eps, add=None, slope=1.0):
    """Float32 on the CPU."""
    return Fused(slope)(x, weight, bias, eps, add)


class Plain(jt.Function):
    """What is before `+ add`, in plain operations."""

    def execute(self, x, weight, bias, eps):
        self.dims = [0, *range(2, x.ndim)]
        own = jt.array([float(x.numel() // x.shape[1])])
        mean, count = sum_over_ranks(x.sum(self.dims), own)
        mean = mean / count
        centred = x - mean.broadcast(x, self.dims)
        (var,) = sum_over_ranks((centred * centred).sum(self.dims))
        var = var / count
        deviation = jt.sqrt(var + eps)
        self.saved = x, mean, deviation, weight, count
        y = centred * (weight / deviation).broadcast(x, self.dims) + bias.broadcast(x, self.dims)
        return y, mean, var, count

    def grad(self, g, *_):
        x, mean, deviation, weight, count = self.saved
        hat = (x - mean.broadcast(x, self.dims)) / deviation.broadcast(x, self.dims)
        own_bias, own_weight = g.sum(self.dims), (g * hat).sum(self.dims)
        all_bias, all_weight = sum_over_ranks(own_bias, own_weight)
        shared = (all_bias / count).broadcast(x, self.dims) + hat * (all_weight / count).broadcast(x, self.dims)
        return (g - shared) * (weight / deviation).broadcast(x, self.dims), own_weight, own_bias, None


class Fused(jt.Function):
    def __init__(self, slope):
        self.slope = slope

    def execute(self, x, weight, bias, eps, add):
        own = jt.array([float(x.numel() // x.shape[1])])
        channels = tuple(weight.shape)
        own_mean, squares = call([channels] * 2, [x], "norm::moments(maps, in0_p, out0_p, out1_p);")
        total, count = sum_over_ranks(own_mean * own, own)
        mean = total / count
        (var,) = sum_over_ranks(squares + (own_mean - mean).sqr() * own)
        var = var / count
        deviation = jt.sqrt(var + eps)
        scale = weight / deviation
        source = "norm::apply(maps, slope, in0_p, in1_p, in2_p, in3_p, {}, out0_p);"
        inputs = [x, mean, scale, bias] + ([] if add is None else [add])
        (y,) = call([x.shape], inputs, source.format("nullptr" if add is None else "in4_p"), slope=self.slope)
        self.saved = x, y, mean, deviation, scale, count, add is not None
        return y, mean, var, count

    def grad(self, g, *_):
        x, y, mean, deviation, scale, count, added = self.saved
        source = "norm::sums(maps, slope, in0_p, in1_p, in2_p, in3_p, out0_p, out1_p);"
        own_bias, own_x = call([mean.shape] * 2, [g, x, y, mean], source, slope=self.slope)
        own_weight = own_x / deviation
        all_bias, all_weight = sum_over_ranks(own_bias, own_weight)
        tilt, shift = scale / deviation * all_weight / count, scale * all_bias / count
        source = "norm::gradient(maps, slope, in0_p, in1_p, in2_p, in3_p, in4_p, in5_p, in6_p, out0_p, {});"
        by_x, *by_add = call(
            [x.shape] * (2 if added else 1),
            [g, x, y, mean, scale, tilt, shift],
            source.format("out1_p" if added else "nullptr"),
            slope=self.slope,
        )
        return by_x, own_weight, own_bias, None, by_add[0] if added else None


def call(shapes, inputs, source, **numbers):
    maps = "const norm::Maps maps = {in0_shape0, in0_shape1, in0->num / (in0_shape0 * in0_shape1)};\n"
    read = "".join(f'const float {name} = data["{name}"];\n' for name in numbers)
    return jt.code(
        shapes,
        ["float32"] * len(shapes),
        inputs,
        cpu_header=f'#include "{FILE}"\n',
        cpu_src=maps + read + source,
        data=numbers,
    )


def sum_over_ranks(*vectors):
    """Each vector summed over all ranks, in one message."""
    if not jt.in_mpi:
        return vectors
    total = jt.concat(vectors).mpi_all_reduce("add")
    ends = [sum(len(v) for v in vectors[: k + 1]) for k in range(len(vectors))]
    return tuple(total[end - len(v) : end] for end, v in zip(ends, vectors))
