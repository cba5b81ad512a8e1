"""Conv2d that calls oneDNN directly (src/packed.h) on processors with AVX-512, and Jittor's convolution elsewhere.

Jittor lets oneDNN 2.6 choose the memory layout. Its choice spends up to a quarter of the time on reordering, and its
kernels have up to eight times the rounding error of the ones used here.
"""

import ctypes
import functools
from pathlib import Path

import jittor as jt
import jittor_utils
from jittor import nn

FILE = Path(__file__).resolve().parent / "src" / "packed.h"
LANES = 16
AVX512_CORE, AVX512_CORE_BF16 = 0x27, 0xE7  # dnnl_cpu_isa_t


class Version(ctypes.Structure):
    _fields_ = [("major", ctypes.c_int), ("minor", ctypes.c_int)]


def folder():
    """The folder of the oneDNN library that Jittor uses; None if its version or the processor is not supported."""
    return capabilities()[0]


@functools.cache
def why_no_bfloat16():
    """Why models/bfloat16.py cannot run on this processor; "" if it can."""
    where, isa = capabilities()
    if where is None:
        return "it needs oneDNN 2.6 and AVX-512"
    return "" if isa & AVX512_CORE_BF16 == AVX512_CORE_BF16 else "this processor has neither AVX512-BF16 nor AMX"


@functools.cache
def capabilities():
    """-> the folder of the oneDNN library or None, the instruction set that it uses"""
    root = Path(jittor_utils.home()) / ".cache" / "jittor" / "mkl"
    folders = [path for path in root.glob("dnnl*") if path.is_dir()]
    if jt.compile_extern.mkl_ops is None or len(folders) != 1:
        return None, 0
    library = ctypes.CDLL(str(folders[0] / "lib" / "libmkldnn.so"))
    library.dnnl_version.restype = ctypes.POINTER(Version)
    version, isa = library.dnnl_version().contents, library.dnnl_get_effective_cpu_isa()
    if version.major != 2 or version.minor < 6 or isa & AVX512_CORE != AVX512_CORE:
        return None, isa  # no fast kernels for residual sums or for some dilations
    return folders[0], isa


def call(shape, inputs, source, **numbers):
    flags = f"FLAGS: -I{folder()}/include -L{folder()}/lib -lmkldnn "
    with jt.flag_scope(compile_options={flags: 1}):
        return jt.code(
            shape,
            "float32",
            inputs,
            cpu_header=f'#include "{FILE}"\n',
            cpu_src="auto n = [&](const char* name) { return int(data[name]); };\n" + source,
            data={name: float(value) for name, value in numbers.items()},
        )


class Convolution(jt.Function):
    """x (B, C, H, W), weight (O, C, k, k) -> (B, O, oh, ow). The gradients are computed by Jittor's operators."""

    def __init__(self, stride, pad, dilation):
        self.window = {"stride": stride, "pad": pad, "dilation": dilation}

    def execute(self, x, weight):
        self.saved = x, weight
        kernel, window = weight.shape[2], self.window
        reach = window["dilation"] * (kernel - 1) + 1
        oh, ow = ((side + 2 * window["pad"] - reach) // window["stride"] + 1 for side in x.shape[2:])
        source = """
            packed::plain_convolution(in0_shape0, in0_shape1, in0_shape2, in0_shape3, out0_shape1, out0_shape2,
                                      out0_shape3, {n("kernel"), n("stride"), n("pad"), n("dilation")}, in0_p, in1_p,
                                      out0_p);"""
        return call((x.shape[0], weight.shape[0], oh, ow), [x, weight], source, kernel=kernel, **window)

    def grad(self, dy):
        (x, weight), ops = self.saved, jt.compile_extern.mkl_ops
        window = [self.window[name] for name in ("stride", "pad", "dilation") for _ in "hw"]
        dx = ops.mkl_conv_backward_x(weight, dy, *x.shape[2:], *window)
        return dx, ops.mkl_conv_backward_w(x, dy, *weight.shape[2:], *window)


class Conv2d(nn.Conv2d):
    """For square kernels and one group."""

    def execute(self, x):
        partial_block = self.in_channels % LANES or self.out_channels % LANES
        if partial_block or jt.flags.use_cuda or x.dtype != "float32" or folder() is None:
            return super().execute(x)
        y = Convolution(self.stride[0], self.padding[0], self.dilation[0])(x, self.weight)
        return y if self.bias is None else y + self.bias.broadcast(y.shape, [0, 2, 3])
