"""Depthwise convolution on the CPU (src/depthwise_cpu.h) and on CUDA (src/depthwise.cuh).

The CPU kernels are those of VAN: float32, stride 1, a square kernel of 3, 5 or 7. For others, and as the definition,
there is the convolution of Jittor (`plain`).

Jittor's CUDA kernel is not used: Jittor selects it only if CUDA was on when the layer was built, it does not compile
with CUDA 13, and its weight gradients are summed by atomics, so they differ from run to run.
"""

from pathlib import Path

import jittor as jt
from jittor import nn

FOLDER = Path(__file__).resolve().parent
FILE = FOLDER / "src" / "depthwise.cuh"
CPU_FILES = (FOLDER.parent / "cca" / "src" / "simd.h", FOLDER / "src" / "depthwise_cpu.h")
CPU_HEADER = "".join(f'#include "{path}"\n' for path in CPU_FILES)
CPU_SHAPE = """
    const int kernel = in1_shape2;
    const depthwise_cpu::Shape s = {int(in0_shape0), int(in0_shape1), int(in0_shape2), int(in0_shape3), int(data["oh"]),
                                    int(data["ow"]), int(data["pad"]), int(data["dilation"])};
"""
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


class DepthwiseCPU(jt.Function):
    """x (B, C, H, W), weight (C, 1, k, k), bias (C,) or None -> (B, C, oh, ow)."""

    def __init__(self, pad, dilation):
        self.pad, self.dilation = pad, dilation

    def execute(self, x, weight, bias):
        oh, ow = (side + 2 * self.pad - self.dilation * (weight.shape[2] - 1) for side in x.shape[2:])
        self.data = {"oh": oh, "ow": ow, "pad": self.pad, "dilation": self.dilation}
        self.saved = x, weight
        self.with_bias = bias is not None
        source = f"depthwise_cpu::forward(kernel, s, in0_p, in1_p, {'in2_p' if self.with_bias else 'nullptr'}, out0_p);"
        return self.call([(*x.shape[:2], oh, ow)], [x, weight] + ([bias] if self.with_bias else []), source)[0]

    def grad(self, dy):
        x, weight = self.saved
        source = "depthwise_cpu::backward(kernel, s, in0_p, in1_p, in2_p, out0_p, out1_p, out2_p);"
        dx, dw, db = self.call([x.shape, weight.shape, (x.shape[1],)], [x, weight, dy], source)
        return dx, dw, db if self.with_bias else None

    def call(self, shapes, inputs, source):
        data = {name: float(value) for name, value in self.data.items()}
        types = ["float32"] * len(shapes)
        return jt.code(shapes, types, inputs, cpu_header=CPU_HEADER, cpu_src=CPU_SHAPE + source, data=data)


class DepthwiseConv2d(nn.Conv2d):
    def __init__(self, channels, kernel_size, stride=1, padding=0, dilation=1, bias=True):
        super().__init__(channels, channels, kernel_size, stride, padding, dilation, groups=channels, bias=bias)
        self.__dict__.pop("depthwise_conv", None)  # set by Jittor if CUDA is on

    def execute(self, x):
        if jt.flags.use_cuda:
            y = DepthwiseCUDA(self.stride, self.padding, self.dilation)(x, self.weight)
            return y if self.bias is None else y + self.bias.reshape((1, -1, 1, 1))
        if self.has_cpu_kernel(x):
            return DepthwiseCPU(self.padding[0], self.dilation[0])(x, self.weight, self.bias)
        return self.plain(x)

    def plain(self, x):
        return super().execute(x)

    def has_cpu_kernel(self, x):
        (kernel, other), pad, dilation = self.kernel_size, self.padding[0], self.dilation[0]
        reach = dilation * (kernel - 1)
        square = kernel == other and self.padding[1] == pad and self.dilation[1] == dilation
        inside = min(x.shape[2:]) + 2 * pad > reach >= pad
        return x.dtype == "float32" and kernel in (3, 5, 7) and tuple(self.stride) == (1, 1) and square and inside
