"""Criss-cross attention in reshapes, matmul and softmax: the definition, and the path that works everywhere.

For pixel u: energies against every pixel in its row and its column, itself once (H + W - 1 in all), no scaling, softmax
over them together, weighted sum of the values. A volume has one more axis and nothing else new.
"""

import jittor as jt
from jittor import nn


def attention_weights(q, k):
    """q, k: (B, Cq, S1, .., Sn) -> (B, S1, .., Sn, S1 + .. + Sn), the entries along axis 1 first, then axis 2, ..

    A pixel meets itself on every axis; only the last axis keeps it, the others hold weight 0 there.
    """
    parts, total = exponentials(q, k)
    return divide(parts, total)


def divide(x, total):
    """In float64: compiled with -Ofast, float32 is divided by way of an approximate reciprocal, and on some processors
    n / n then misses 1 in the last digit."""
    return (x.float64() / total.float64()).cast(x.dtype)


def exponentials(q, k):
    """The softmax before its division: exp(energy - largest) as above, and its sum (B, S1, .., Sn, 1)."""
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
    energies = jt.concat(energies, dim=-1)
    parts = (energies - energies.max(-1, keepdims=True).stop_grad()).exp()
    return parts, parts.sum(-1, keepdims=True)


def criss_cross_attention_reference(q, k, v):
    """q, k: (B, Cq, S1, .., Sn), v: (B, C, S1, .., Sn) -> like v. The softmax runs in float32 or better."""
    weights, total = exponentials(q, k)  # divided by the total at the end: equal values then give exactly that value
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
    return divide(out, total).transpose(order).cast(v.dtype)  # (B, C, S1, .., Sn)


def lines(x, axis):
    """(B, C, S1, .., Sn) -> (B, the other axes, Sa, C): each line along `axis` a small matrix."""
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
