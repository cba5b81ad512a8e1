"""Synchronised BatchNorm: exact statistics over the batches of all ranks, running statistics as in PyTorch.

Keys are weight, bias, running_mean, running_var. Jittor's BatchNorm differs: its running variance is biased, it
computes E[x^2] - E[x]^2, which is inaccurate for channels with a large mean, and it gives all ranks the same weight
even if their batches differ in size.

`plain` (Jittor operations) and `fused` (src/batch_norm.h, float32 on the CPU, multi-threaded) compute the same:
normalisation, then the sum with `residual`, then the activation. Both take (x, weight, bias, eps, residual,
activation) and return y, mean, biased variance, number of values per channel. The gradients are explicit, because
Jittor's automatic ones would keep two more arrays of the size of x.
"""

from pathlib import Path

import jittor as jt
from jittor import nn

FILE = Path(__file__).resolve().parent / "src" / "batch_norm.h"
SLOPES = {"none": 1.0, "relu": 0.0, "leaky_relu": 0.01}  # activation -> slope for negative inputs


def activate(x, activation):
    slope = SLOPES[activation]
    return x if slope == 1 else nn.leaky_relu(x, slope) if slope else nn.relu(x)


class BatchNorm(nn.Module):
    """(B, C, ...) -> the same shape: activation(normalised x + residual).

    `frozen`: running statistics are used in training, too; see `freeze`.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.is_train, self.frozen = True, False
        self.weight = jt.init.constant((num_features,), "float32", 1.0)
        self.bias = jt.init.constant((num_features,), "float32", 0.0)
        self.running_mean = jt.init.constant((num_features,), "float32", 0.0).stop_grad()
        self.running_var = jt.init.constant((num_features,), "float32", 1.0).stop_grad()

    def execute(self, x, residual=None, activation="none"):
        if self.is_train and not self.frozen:
            y, mean, var, count = normalise(x, self.weight, self.bias, self.eps, residual, activation)
            self.track(mean, var, count)
            return y
        dims = [0, *range(2, x.ndim)]
        scale = self.weight / jt.sqrt(self.running_var + self.eps)
        shift = self.bias - self.running_mean * scale
        y = x * scale.broadcast(x, dims) + shift.broadcast(x, dims)
        return activate(y if residual is None else y + residual, activation)

    def track(self, mean, var, count):
        """Update the running statistics."""
        self.running_mean.update(self.running_mean + (mean - self.running_mean) * self.momentum)
        var = var * (count / (count - 1).maximum(1.0))  # unbiased
        self.running_var.update(self.running_var + (var - self.running_var) * self.momentum)

    def folded(self):
        return Folded()


class Folded(nn.Module):
    """Replaces a BatchNorm that was folded into the convolution before it; see fold.py."""

    def execute(self, x, residual=None, activation="none"):
        return activate(x if residual is None else x + residual, activation)


def freeze(model):
    """Freeze statistics, weight and bias of every BatchNorm in `model`, for fine-tuning with small batches. -> count"""
    layers = [module for module in model.modules() if isinstance(module, BatchNorm)]
    for layer in layers:
        layer.frozen = True
        layer.weight.stop_grad()
        layer.bias.stop_grad()
    return len(layers)


def normalise(x, *others):
    return (fused if x.dtype == "float32" and not jt.flags.use_cuda else plain)(x, *others)


def plain(x, weight, bias, eps, residual=None, activation="none"):
    y, *statistics = Plain()(x.float32(), weight, bias, eps)
    y = y.cast(x.dtype)
    return activate(y if residual is None else y + residual, activation), *statistics


def fused(x, weight, bias, eps, residual=None, activation="none"):
    """For float32 on the CPU."""
    return Fused(SLOPES[activation])(x, weight, bias, eps, residual)


class Plain(jt.Function):
    """Normalisation without residual sum and activation, in Jittor operations."""

    def execute(self, x, weight, bias, eps):
        self.dims = [0, *range(2, x.ndim)]
        local_count = jt.array([float(x.numel() // x.shape[1])])
        mean, count = sum_over_ranks(x.sum(self.dims), local_count)
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
        normalised = (x - mean.broadcast(x, self.dims)) / deviation.broadcast(x, self.dims)
        d_bias, d_weight = g.sum(self.dims), (g * normalised).sum(self.dims)  # of this rank
        all_bias, all_weight = sum_over_ranks(d_bias, d_weight)
        shift, slope = ((total / count).broadcast(x, self.dims) for total in (all_bias, all_weight))
        return (g - (shift + normalised * slope)) * (weight / deviation).broadcast(x, self.dims), d_weight, d_bias, None


class Fused(jt.Function):
    def __init__(self, slope):
        self.slope = slope

    def execute(self, x, weight, bias, eps, residual):
        local_count = jt.array([float(x.numel() // x.shape[1])])
        channels = tuple(weight.shape)
        local_mean, squares = call([channels] * 2, [x], "norm::moments(maps, in0_p, out0_p, out1_p);")
        total, count = sum_over_ranks(local_mean * local_count, local_count)
        mean = total / count
        (var,) = sum_over_ranks(squares + (local_mean - mean).sqr() * local_count)
        var = var / count
        deviation = jt.sqrt(var + eps)
        scale = weight / deviation
        source = "norm::apply(maps, slope, in0_p, in1_p, in2_p, in3_p, {}, out0_p);"
        inputs = [x, mean, scale, bias] + ([] if residual is None else [residual])
        (y,) = call([x.shape], inputs, source.format("nullptr" if residual is None else "in4_p"), slope=self.slope)
        self.saved = x, y, mean, deviation, scale, count, residual is not None
        return y, mean, var, count

    def grad(self, g, *_):
        x, y, mean, deviation, scale, count, with_residual = self.saved
        source = "norm::sums(maps, slope, in0_p, in1_p, in2_p, in3_p, out0_p, out1_p);"
        d_bias, sum_gx = call([mean.shape] * 2, [g, x, y, mean], source, slope=self.slope)
        d_weight = sum_gx / deviation  # of this rank
        all_bias, all_weight = sum_over_ranks(d_bias, d_weight)
        tilt, shift = scale / deviation * all_weight / count, scale * all_bias / count
        source = "norm::gradient(maps, slope, in0_p, in1_p, in2_p, in3_p, in4_p, in5_p, in6_p, out0_p, {});"
        dx, *d_residual = call(
            [x.shape] * (2 if with_residual else 1),
            [g, x, y, mean, scale, tilt, shift],
            source.format("out1_p" if with_residual else "nullptr"),
            slope=self.slope,
        )
        return dx, d_weight, d_bias, None, d_residual[0] if with_residual else None


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
    """The sum of each vector over all ranks, in one all-reduce."""
    if not jt.in_mpi:
        return vectors
    total = jt.concat(vectors).mpi_all_reduce("add")
    ends = [sum(len(v) for v in vectors[: k + 1]) for k in range(len(vectors))]
    return tuple(total[end - len(v) : end] for end, v in zip(ends, vectors))
