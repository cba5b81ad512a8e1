"""channels_last.py, maps16.py and van16.py in Jittor's operators and float32: the definitions for the tests.

Maps are (B, H, W, C), as there, in any dtype; the results are float32.
"""

import jittor as jt
from jittor import nn

from models.layers.batch_norm import activate, plain


def to_last(x):
    return x.float32().permute(0, 2, 3, 1)


def to_first(x):
    return x.float32().permute(0, 3, 1, 2)


def convolve(conv, x):
    return to_last(nn.Conv2d.execute(conv, to_first(x)))


def infer(conv, x, residual=None, activation="none"):
    y = convolve(conv, x)
    return activate(y if residual is None else y + residual.float32(), activation)


def normalise(x, weight, bias, eps, residual=None, activation="none", fixed=None):
    residual = None if residual is None else to_first(residual)
    if fixed is None:
        y, *statistics = plain(to_first(x), weight, bias, eps, residual, activation)
        return to_last(y), *statistics
    mean, var = fixed
    y = (x.float32() - mean) * (weight / jt.sqrt(var + eps)) + bias
    y = activate(y if residual is None else y + to_last(residual), activation)
    return y, mean, var, jt.array([float(x.numel() // x.shape[-1])])


def twice(x):
    return x.float32(), x.float32()


def scaled_sum(gamma, y, x):
    return gamma * y.float32() + x.float32()


def join(a, b):
    return jt.concat([a.float32(), b.float32()], dim=3)


def max_pool(pool, x):
    """For sides above 3; Jittor's pooling fails on smaller ones."""
    return to_last(pool(to_first(x)))


def depthwise(conv, x):
    return to_last(nn.Conv2d.execute(conv, to_first(x)))


def depthwise_gelu(conv, x):
    return gelu(depthwise(conv, x))


def gelu(x):
    return nn.gelu(x.float32())


def product(x, gate):
    return x.float32() * gate.float32()


def branch_sum(x, factor, a, b=None):
    branch = a.float32() if b is None else a.float32() + b.float32()
    return x.float32() + factor.broadcast(branch.shape, [1, 2]) * branch


def layer_norm(norm, x):
    x = x.float32() - jt.mean(x.float32(), dim=3, keepdims=True)
    return x / jt.sqrt(jt.mean(x * x, dim=3, keepdims=True) + norm.eps) * norm.weight + norm.bias
