"""Bilinear resizing: kernels for float32 on the CPU (src/resize.h) and for float32, float16 and bfloat16 on the GPU
(src/resize.cuh), Jittor's operators for other dtypes."""

from pathlib import Path

import jittor as jt
from jittor import nn

MODELS = Path(__file__).resolve().parents[1]
FILE = MODELS / "layers" / "src" / "resize.h"
CUDA_FILES = (MODELS / "cca" / "src" / "cuda_memory.cuh", MODELS / "layers" / "src" / "resize.cuh")
CUDA_HEADER = "".join(f'#include "{path}"\n' for path in CUDA_FILES)
DTYPES = ("float32", "float16", "bfloat16")


def resize(x, size, align_corners=True):
    """x (B, C, h, w), size (H, W) -> (B, C, H, W). The gradient is the exact adjoint."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    if jt.flags.use_cuda and x.dtype in DTYPES:
        return Resize(cuda_source, size, align_corners)(x)
    if jt.flags.use_cuda or x.dtype != "float32":
        return plain_resize(x, size, align_corners)
    return Resize(cpu_source, size, align_corners)(x)


def plain_resize(x, size, align_corners=True):
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return nn.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


class Resize(jt.Function):
    """The functions in both sources have the same names and arguments; `source` chooses one."""

    def __init__(self, source, size, align_corners):
        self.source, self.size, self.align_corners = source, tuple(size), align_corners

    def execute(self, x):
        self.shape, self.dtype = tuple(x.shape), x.dtype
        source = """resize::forward(in0_shape0 * in0_shape1, in0_shape2, in0_shape3, out0_shape2, out0_shape3,
                                    data["corners"] != 0, in0_p, out0_p);"""
        return self.call((*self.shape[:2], *self.size), x, source)

    def grad(self, g):
        source = """resize::backward(in0_shape0 * in0_shape1, out0_shape2, out0_shape3, in0_shape2, in0_shape3,
                                     data["corners"] != 0, in0_p, out0_p);"""
        return self.call(self.shape, g.cast(self.dtype), source)

    def call(self, shape, x, source):
        data = {"corners": float(self.align_corners)}
        return jt.code(shape, self.dtype, [x], data=data, **self.source(source))


def cpu_source(source):
    return {"cpu_header": f'#include "{FILE}"\n', "cpu_src": source}


def cuda_source(source):
    return {"cuda_header": CUDA_HEADER, "cuda_src": source}
