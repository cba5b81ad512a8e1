"""Criss-cross attention in Jittor operations (transpose, matmul, softmax): the reference for the fused kernels.

For each pixel: dot products of its query with the keys of all pixels in its row and column, itself once (H + W - 1 in
all), no scaling, one softmax over all of them, weighted sum of the values. Volumes have one more axis.
"""

import jittor as jt
from jittor import nn


def attention_weights(q, k):
    """q, k: (B, Cq, S1, .., Sn) -> (B, S1, .., Sn, S1 + .. + Sn), those along S1 first, then S2, ..

    The pixel itself lies on every axis. It is counted on the last axis; on the others its weight is 0.
    """
    parts, total = exponentials(q, k)
    return divide(parts, total)


def divide(x, total):
    """x / total, computed in float64. With -Ofast, float32 division uses an approximate reciprocal: on some processors
    n / n differs from 1 in the last bit."""
    return (x.float64() / total.float64()).cast(x.dtype)


def exponentials(q, k):
    """Numerator and denominator of the softmax: exp(energy - maximum), (B, S1, .., Sn, S1 + .. + Sn), and its sum."""
    energies = criss_cross_energies(q, k)
    parts = (energies - energies.max(-1, keepdims=True).stop_grad()).exp()
    return parts, parts.sum(-1, keepdims=True)


def criss_cross_energies(q, k):
    """Dot products with the keys along each axis, (B, S1, .., Sn, S1 + .. + Sn); -1e30 where the pixel repeats."""
    axes = len(q.shape) - 2
    energies = []
    for axis in range(axes):
        e = nn.matmul(lines(q, axis), lines(k, axis).transpose(-1, -2))  # (B, .., Sa, Sa)
        e = e.float32() if e.dtype != "float64" else e
        if axis < axes - 1:
            size = e.shape[-1]
            here = jt.arange(size)
            itself = here.unsqueeze(0) == here.unsqueeze(1)  # (Sa, Sa)
            e = jt.ternary(itself.broadcast(e.shape), jt.full_like(e, -1e30), e)  # finite: -inf - -inf would be NaN
        energies.append(from_lines(e, axis))  # (B, S1, .., Sn, Sa)
    return jt.concat(energies, dim=-1)


def criss_cross_attention_reference(q, k, v):
    """q, k: (B, Cq, S1, .., Sn), v: (B, C, S1, .., Sn) -> like v. The softmax runs in at least float32."""
    weights, total = exponentials(q, k)  # divided at the end: then equal values give exactly that value
    return weighted_sum(weights, v, total)


def weighted_sum(weights, v, total=None):
    """weights (B, S1, .., Sn, S1 + .. + Sn), v (B, C, S1, .., Sn) -> like v, divided by `total` (B, S1, .., Sn, 1)."""
    axes = len(v.shape) - 2
    out, start = None, 0
    for axis in range(axes):
        size = v.shape[2 + axis]
        w = weights[..., start : start + size]  # (B, S1, .., Sn, Sa)
        start += size
        w = to_lines(w, axis)  # (B, .., Sa, Sa)
        part = from_lines(nn.matmul(w, lines(v, axis).cast(w.dtype)), axis)  # (B, S1, .., Sn, C)
        out = part if out is None else out + part
    order = [0, axes + 1] + list(range(1, axes + 1))
    out = out if total is None else divide(out, total)
    return out.transpose(order).cast(v.dtype)  # (B, C, S1, .., Sn)


def lines(x, axis):
    """(B, C, S1, .., Sn) -> (B, the other axes, Sa, C): one matrix for each line along `axis`."""
    others = [2 + a for a in range(len(x.shape) - 2) if a != axis]
    return x.transpose([0, *others, 2 + axis, 1])


def to_lines(x, axis):
    """(B, S1, .., Sn, M) -> (B, the other axes, Sa, M)."""
    others = [1 + a for a in range(len(x.shape) - 2) if a != axis]
    return x.transpose([0, *others, 1 + axis, len(x.shape) - 1])


def from_lines(x, axis):
    """(B, the other axes, Sa, M) -> (B, S1, .., Sn, M)."""
    axes = len(x.shape) - 2
    order = list(range(1, axes))
    order.insert(axis, axes)
    return x.transpose([0, *order, axes + 1])
