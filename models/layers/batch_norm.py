"""The BatchNorm of every network here: statistics over the batch of all ranks, exactly, and PyTorch's running variance.

Keys are weight, bias, running_mean, running_var. Jittor's own keeps a biased running variance, takes E[x^2] - E[x]^2,
which loses the variance of a channel with a large mean, and weighs all ranks alike when their batches differ in size.
"""

import jittor as jt
from jittor import nn

from models.layers.normalise import activate, normalise


class BatchNorm(nn.Module):
    """(B, C, ...) -> the same shape; then `+ add`, then an activation, if they are given: `slope` is that below 0.

    `frozen`: as in evaluation, whatever the mode; see `freeze`.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.is_train, self.frozen = True, False
        self.weight = jt.init.constant((num_features,), "float32", 1.0)
        self.bias = jt.init.constant((num_features,), "float32", 0.0)
        self.running_mean = jt.init.constant((num_features,), "float32", 0.0).stop_grad()
        self.running_var = jt.init.constant((num_features,), "float32", 1.0).stop_grad()

    def execute(self, x, add=None, slope=1.0):
        if self.is_train and not self.frozen:
            y, mean, var, count = normalise(x, self.weight, self.bias, self.eps, add, slope)
            self.running_mean.update(self.running_mean + (mean - self.running_mean) * self.momentum)
            var = var * (count / (count - 1).maximum(1.0))  # unbiased
            self.running_var.update(self.running_var + (var - self.running_var) * self.momentum)
            return y
        dims = [0, *range(2, x.ndim)]
        scale = self.weight / jt.sqrt(self.running_var + self.eps)
        shift = self.bias - self.running_mean * scale
        y = x * scale.broadcast(x, dims) + shift.broadcast(x, dims)
        return activate(y if add is None else y + add, slope)

    def folded(self):
        return Folded()


class Folded(nn.Module):
    """What is left of a BatchNorm that went into the convolution before it; see fold.py."""

    def execute(self, x, add=None, slope=1.0):
        return activate(x if add is None else x + add, slope)


def freeze(model):
    """Fix the statistics and the scales of every BatchNorm in `model`, for fine-tuning with small batches."""
    layers = [module for module in model.modules() if isinstance(module, BatchNorm)]
    for layer in layers:
        layer.frozen = True
        layer.weight.stop_grad()
        layer.bias.stop_grad()
    return len(layers)
