"""Depthwise convolution on the CPU (oneDNN, called by Jittor) and on CUDA (src/depthwise.cuh).

Jittor's CUDA kernel is not used: Jittor selects it only if CUDA was on when the layer was built, it does not compile
with CUDA 13, and its weight gradients are summed by atomics, so they differ from run to run.
"""

from pathlib import Path

import jittor as jt
from jittor import nn

FILE = Path(__file__).resolve().parent / "src" / "depthwise.cuh"
SHAPE = """
    auto number = [&](const char* name) { return int(data[name]); };
    const depthwise::Shape s = {int(in0_shape0), int(in0_shape1), int(in0_shape2), int(in0_shape3), number("oh"),
                                number("ow"), number("kh"), number("kw"), number("stride_h"), number("stride_w"),
                                number("pad_h"), number("pad_w"), number("dil_h"), number("dil_w")};
"""
CHECK = """
    const cudaError_t error = cudaGetLastError();
    CHECK(error == cudaSuccess) << "depthwise convolution:" << cudaGetErrorString(error);
"""


class DepthwiseCUDA(jt.Function):
    """x (B, C, H, W), weight (C, 1, kh, kw) -> (B, C, oh, ow). One compiled kernel serves all sizes."""

    def __init__(self, stride, padding, dilation):
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def execute(self, x, weight):
        kernel = tuple(weight.shape[2:])
        out = [
            (side + 2 * p - d * (k - 1) - 1) // s + 1
            for side, k, s, p, d in zip(x.shape[2:], kernel, self.stride, self.padding, self.dilation)
        ]
        names = ("o", "k", "stride_", "pad_", "dil_")
        pairs = (out, kernel, self.stride, self.padding, self.dilation)
        self.data = {n + axis: float(p[i]) for n, p in zip(names, pairs) for i, axis in enumerate("hw")}
        self.saved = x, weight
        return jt.code(
            (*x.shape[:2], *out),
            x.dtype,
            [x, weight],
            cuda_header=f'#include "{FILE}"\n',
            cuda_src=SHAPE + "depthwise::launch_forward<in0_type>(s, in0_p, in1_p, out0_p);" + CHECK,
            data=self.data,
        )

    def grad(self, dy):
        x, weight = self.saved
        slices = max(1, min(64, dy.shape[0] * dy.shape[2]))
        total = "float64" if x.dtype == "float64" else "float32"
        dx, dw, _ = jt.code(
            [x.shape, weight.shape, (slices, weight.numel())],
            [x.dtype, weight.dtype, total],
            [x, weight, dy],
            cuda_header=f'#include "{FILE}"\n',
            cuda_src=SHAPE
            + "depthwise::launch_backward<in0_type>(s, out2_shape0, in0_p, in1_p, in2_p, out0_p, out1_p, out2_p);"
            + CHECK,
            data=self.data,
        )
        return dx, dw


class DepthwiseConv2d(nn.Conv2d):
    def __init__(self, channels, kernel_size, stride=1, padding=0, dilation=1, bias=True):
        super().__init__(channels, channels, kernel_size, stride, padding, dilation, groups=channels, bias=bias)
        self.__dict__.pop("depthwise_conv", None)  # set by Jittor if CUDA is on

    def execute(self, x):
        if not jt.flags.use_cuda:
            return super().execute(x)
        y = DepthwiseCUDA(self.stride, self.padding, self.dilation)(x, self.weight)
        return y if self.bias is None else y + self.bias.reshape((1, -1, 1, 1))
