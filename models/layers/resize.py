"""Bilinear resizing: a kernel for float32 on the CPU (src/resize.h), Jittor's operators elsewhere."""

from pathlib import Path

import jittor as jt
from jittor import nn

FILE = Path(__file__).resolve().parent / "src" / "resize.h"


def resize(x, size, align_corners=True):
    """x (B, C, h, w), size (H, W) -> (B, C, H, W). The gradient is the exact adjoint."""
    if jt.flags.use_cuda or x.dtype != "float32" or tuple(x.shape[2:]) == tuple(size):
        return plain_resize(x, size, align_corners)
    return Resize(size, align_corners)(x)


def plain_resize(x, size, align_corners=True):
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return nn.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


class Resize(jt.Function):
    def __init__(self, size, align_corners):
        self.size, self.align_corners = tuple(size), align_corners

    def execute(self, x):
        self.shape = tuple(x.shape)
        source = """resize::forward(in0_shape0 * in0_shape1, in0_shape2, in0_shape3, out0_shape2, out0_shape3,
                                    data["corners"] != 0, in0_p, out0_p);"""
        return self.call((*self.shape[:2], *self.size), x, source)

    def grad(self, g):
        source = """resize::backward(in0_shape0 * in0_shape1, out0_shape2, out0_shape3, in0_shape2, in0_shape3,
                                     data["corners"] != 0, in0_p, out0_p);"""
        return self.call(self.shape, g, source)

    def call(self, shape, x, source):
        data = {"corners": float(self.align_corners)}
        return jt.code(shape, "float32", [x], cpu_header=f'#include "{FILE}"\n', cpu_src=source, data=data)
