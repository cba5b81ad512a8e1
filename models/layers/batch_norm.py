"""Synchronised BatchNorm: exact statistics over the batches of all ranks, running statistics as in PyTorch.

Keys are weight, bias, running_mean, running_var. Jittor's BatchNorm differs: its running variance is biased, it
computes E[x^2] - E[x]^2, which is inaccurate for channels with a large mean, and it gives all ranks the same weight
even if their batches differ in size.

`plain` (Jittor operations), `fused` (src/batch_norm.h, float32 on the CPU, multi-threaded) and `cuda`
(batch_norm_cuda.py) compute the same: normalisation, then the sum with `residual`, then the activation. All take
(x, weight, bias, eps, residual, activation) and return y, mean, biased variance, number of values per channel; sums
and statistics are float32, y has the dtype of x. The gradients are explicit, because Jittor's automatic ones would keep
two more arrays of the size of x. The statistics of all ranks take one all-reduce call, the gradients another.
"""

from pathlib import Path

import jittor as jt
from jittor import nn

from models.layers.batch_norm_cuda import DTYPES, BatchNormCUDA
from models.layers.ranks import moments_of_all_ranks, sum_over_ranks

FILE = Path(__file__).resolve().parent / "src" / "batch_norm.h"
SLOPES = {"none": 1.0, "relu": 0.0, "leaky_relu": 0.01}  # activation -> slope for negative inputs


def activate(x, activation):
    slope = SLOPES[activation]
    return x if slope == 1 else nn.leaky_relu(x, slope) if slope else nn.relu(x)


class BatchNorm(nn.Module):
    """(B, C, ...) -> the same shape: activation(normalised x + residual).

    `frozen`: running statistics are used in training, too; see `freeze`. x may be float16 or bfloat16, as y is then.
    """

    computes_in_16_bits = True  # mixed precision casts neither x nor the weights (utils/training/amp.py)

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
        y = x.float32() * scale.broadcast(x, dims) + shift.broadcast(x, dims)
        return finish(y, residual, activation, x.dtype)

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
    if jt.flags.use_cuda:
        return (cuda if x.dtype in DTYPES else plain)(x, *others)
    return (fused if x.dtype == "float32" else plain)(x, *others)


def finish(y, residual, activation, dtype):
    """The sum and the activation in float32: on the CPU, Jittor cannot compare 16-bit numbers with 0."""
    return activate(y if residual is None else y + residual.float32(), activation).cast(dtype)


def plain(x, weight, bias, eps, residual=None, activation="none"):
    y, *statistics = Plain()(x.float32(), weight, bias, eps)
    return finish(y, residual, activation, x.dtype), *statistics


def cuda(x, weight, bias, eps, residual=None, activation="none"):
    """For float32, float16 and bfloat16 on the GPU."""
    residual = None if residual is None else residual.cast(x.dtype)
    return BatchNormCUDA(SLOPES[activation])(x, weight, bias, eps, residual)


def fused(x, weight, bias, eps, residual=None, activation="none"):
    """For float32 on the CPU."""
    return Fused(SLOPES[activation])(x, weight, bias, eps, residual)


class Plain(jt.Function):
    """Normalisation without residual sum and activation, in Jittor operations."""

    def execute(self, x, weight, bias, eps):
        self.dims = [0, *range(2, x.ndim)]
        count = jt.array([float(x.numel() // x.shape[1])])
        mean = x.sum(self.dims) / count
        squares = (x - mean.broadcast(x, self.dims)).sqr().sum(self.dims)
        mean, var, count = moments_of_all_ranks(mean, squares, count)
        centred = x - mean.broadcast(x, self.dims)
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
        moments = call([tuple(weight.shape)] * 2, [x], "norm::moments(maps, in0_p, out0_p, out1_p);")
        mean, var, count = moments_of_all_ranks(*moments, jt.array([float(x.numel() // x.shape[1])]))
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
