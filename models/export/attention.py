"""Criss-cross attention as MatMul, Add, Softmax, Slice: operators of every runtime (no Einsum, Where or Reshape)."""

import numpy as np
from onnx import TensorProto

from models.export.graph import END
from models.export.layers import conv

MASKED = -3e4  # weight 0 after the softmax, like -inf, but finite in float16 and 8 bits


def rcca(g, m, x, name):
    """`recurrence` passes. They share their weights, which are stored once."""
    mask = diagonal(g, x, name) if m.recurrence else None
    for _ in range(m.recurrence):
        x = one_pass(g, m, x, mask, name)
    return x


def one_pass(g, m, x, mask, name):
    """(B, C, H, W) -> gamma * attention + x. `mask` removes the pixel itself from its column; its row keeps it."""
    q, k, v = (conv(g, getattr(m, f"{part}_conv"), x, f"{name}.{part}_conv").name for part in ("query", "key", "value"))

    def turn(value, order, role):
        return g.transpose(value, order, f"{name}.{role}")

    columns = [turn(q, (0, 3, 2, 1), "q_columns"), turn(k, (0, 3, 1, 2), "k_columns")]  # (B, W, H, C'), (B, W, C', H)
    rows = [turn(q, (0, 2, 3, 1), "q_rows"), turn(k, (0, 2, 1, 3), "k_rows")]  # (B, H, W, C'), (B, H, C', W)
    down = g.node("MatMul", columns, f"{name}.energy_columns")  # (B, W, H, H)
    down = turn(g.node("Add", [down, mask], f"{name}.masked"), (0, 2, 1, 3), "energy_down")  # (B, H, W, H)
    across = g.node("MatMul", rows, f"{name}.energy_rows")  # (B, H, W, W)
    energy = g.node("Concat", [down, across], f"{name}.energy", axis=3)
    weights = g.node("Softmax", [energy], f"{name}.attention", axis=3)  # (B, H, W, H + W)

    height, axis = g.sizes(x, 2, 3), g.integers(3)
    down = g.node("Slice", [weights, g.integers(0), height, axis], f"{name}.attention_down")
    across = g.node("Slice", [weights, height, g.integers(END), axis], f"{name}.attention_rows")
    down = [turn(down, (0, 2, 1, 3), "attention_columns"), turn(v, (0, 3, 2, 1), "v_columns")]  # (B, W, H, C) behind
    across = [across, turn(v, (0, 2, 3, 1), "v_rows")]
    down = turn(g.node("MatMul", down, f"{name}.columns"), (0, 3, 2, 1), "from_columns")  # (B, C, H, W)
    across = turn(g.node("MatMul", across, f"{name}.rows"), (0, 3, 1, 2), "from_rows")
    both = g.node("Add", [down, across], f"{name}.gathered")
    scaled = g.node("Mul", [both, g.per_channel(f"{name}.gamma", m.gamma.numpy())], f"{name}.scaled")
    return x.like(g.node("Add", [scaled, x.name], name))


def diagonal(g, x, name):
    """(H, H): MASKED on the diagonal, else 0. If H is unknown at export, it is computed in the graph."""
    if x.shape:
        return g.weight(f"{name}.mask", MASKED * np.eye(x.shape[2]))
    zero, one = (g.weight(f"whole {n} (scalar)", np.int64(n), exact=True) for n in (0, 1))
    height = g.node("Squeeze", [g.sizes(x, 2, 3), g.integers(0)], f"{name}.height")
    here = g.node("Range", [zero, height, one], f"{name}.here")
    pairs = [g.node("Unsqueeze", [here, g.integers(side)], f"{name}.here{side}") for side in (0, 1)]
    same = g.node("Equal", pairs, f"{name}.same")
    same = g.node("Cast", [same], f"{name}.itself", to=TensorProto.FLOAT16 if g.half else TensorProto.FLOAT)
    return g.node("Mul", [same, g.number(MASKED)], f"{name}.mask")
