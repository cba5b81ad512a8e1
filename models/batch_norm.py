"""The BatchNorm of every network here: statistics over the batch of all ranks, exactly, and PyTorch's running variance.

Keys are weight, bias, running_mean, running_var. Jittor's own keeps a biased running variance, takes E[x^2] - E[x]^2,
which loses the variance of a channel with a large mean, and weighs all ranks alike when their batches differ in size.
"""

import jittor as jt
from jittor import nn


class BatchNorm(nn.Module):
    """(B, C, ...) -> the same shape. `frozen`: as in evaluation, whatever the mode; see `freeze`."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.is_train, self.frozen = True, False
        self.weight = jt.init.constant((num_features,), "float32", 1.0)
        self.bias = jt.init.constant((num_features,), "float32", 0.0)
        self.running_mean = jt.init.constant((num_features,), "float32", 0.0).stop_grad()
        self.running_var = jt.init.constant((num_features,), "float32", 1.0).stop_grad()

    def execute(self, x):
        if self.is_train and not self.frozen:
            y, mean, var, count = Normalise()(x.float32(), self.weight, self.bias, self.eps)
            self.running_mean.update(self.running_mean + (mean - self.running_mean) * self.momentum)
            var = var * (count / (count - 1).maximum(1.0))  # unbiased
            self.running_var.update(self.running_var + (var - self.running_var) * self.momentum)
            return y.cast(x.dtype)
        dims = [0, *range(2, x.ndim)]
        scale = self.weight / jt.sqrt(self.running_var + self.eps)
        shift = self.bias - self.running_mean * scale
        return x * scale.broadcast(x, dims) + shift.broadcast(x, dims)


def freeze(model):
    """Fix the statistics and the scales of every BatchNorm in `model`, for fine-tuning with small batches."""
    layers = [module for module in model.modules() if isinstance(module, BatchNorm)]
    for layer in layers:
        layer.frozen = True
        layer.weight.stop_grad()
        layer.bias.stop_grad()
    return len(layers)


class Normalise(jt.Function):
    """x, weight, bias -> y, mean, biased variance, number of values of a channel; all of them over all ranks.

    The gradient is written out: Jittor's own would keep two more arrays of the size of x, and take a quarter longer.
    """

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


def sum_over_ranks(*vectors):
    """Each vector summed over all ranks, in one message."""
    if not jt.in_mpi:
        return vectors
    total = jt.concat(vectors).mpi_all_reduce("add")
    ends = [sum(len(v) for v in vectors[: k + 1]) for k in range(len(vectors))]
    return tuple(total[end - len(v) : end] for end, v in zip(ends, vectors))
