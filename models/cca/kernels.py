"""The fused kernels as jt.Functions. The C++ and CUDA code is in src/ and also compiles without Jittor.

Shapes are passed at run time: there is one binary per dtype and number of axes.
"""

import os
from pathlib import Path

import jittor as jt

SRC = Path(__file__).resolve().parent / "src"
# Jittor recompiles when a file that is included here changes. Its scanner does not support relative paths; the files
# therefore indent their own includes (#    include), which the scanner skips.
CPU_FILES = ("simd.h", "lines.h", "cpu_common.h", "cpu_forward.h", "cpu_backward.h", "cpu_rest.h", "cca_cpu.h")
CUDA_FILES = ("cuda_memory.cuh", "cuda_ahead.cuh", "cuda_product.cuh", "cuda_tiles.cuh", "cuda_forward.cuh")
CUDA_FILES += ("cuda_backward.cuh", "cca_cuda.cuh", "cuda_both_axes.cuh")
BF16_FILES = ("simd.h", "lines.h", "cpu_common.h", "bf16.h", "bf16_product.h", "bf16_layout.h")
BF16_FILES += ("bf16_attention.h",)
BF16_HEADER = "".join(f'#include "{SRC / name}"\n' for name in BF16_FILES)
CPU_HEADER = "".join(f'#include "{SRC / name}"\n' for name in CPU_FILES)
CUDA_HEADER = "".join(f'#include "{SRC / name}"\n' for name in CUDA_FILES)


def sides(axes):
    """C++ for the spatial sizes, taken from v (input 2)."""
    return "{" + ", ".join(f"in2_shape{2 + axis}" for axis in range(axes)) + "}"


class FusedCPU(jt.Function):
    """q, k: (B, Cq, S1, .., Sn), v: (B, C, S1, .., Sn), float32 or float64 -> like v.

    For the backward pass two numbers per position are kept.
    """

    def execute(self, q, k, v):
        axes = len(v.shape) - 2
        out, stats = jt.code(
            [v.shape, (2, v.shape[0], *v.shape[2:])],
            [v.dtype, v.dtype],
            [q, k, v],
            cpu_header=CPU_HEADER,
            cpu_src=f"""
            cca::forward<out0_type>(in2_shape0, in0_shape1, in2_shape1, {sides(axes)},
                                    in0_p, in1_p, in2_p, out0_p, out1_p);
            """,
        )
        self.saved = q, k, v, out, stats
        return out

    def grad(self, g):
        q, k, v, out, stats = self.saved
        return jt.code(
            [q.shape, k.shape, v.shape],
            [v.dtype] * 3,
            [q, k, v, out, stats, g],
            cpu_header=CPU_HEADER,
            cpu_src=f"""
            cca::backward<out0_type>(in2_shape0, in0_shape1, in2_shape1, {sides(len(v.shape) - 2)},
                                     in0_p, in1_p, in2_p, in3_p, in4_p, in5_p, out0_p, out1_p, out2_p);
            """,
        )


class FusedBF16(jt.Function):
    """The same for bfloat16 on the CPU: float32 softmax and sums, weights rounded to bfloat16. q, k, v: (B, S.., C)."""

    def execute(self, q, k, v):
        out, stats = jt.code(
            [v.shape, (2, *v.shape[:-1])],
            [v.dtype, "float32"],
            [q, k, v],
            cpu_header=BF16_HEADER,
            cpu_src=bf16_source(len(v.shape) - 2)
            + "cca::forward16(shape, numbers(in0_p), numbers(in1_p), numbers(in2_p), numbers(out0_p), out1_p);",
        )
        self.saved = q, k, v, out, stats
        return out

    def grad(self, g):
        q, k, v, out, stats = self.saved
        return jt.code(
            [q.shape, k.shape, v.shape],
            [v.dtype] * 3,
            [q, k, v, out, stats, g],
            cpu_header=BF16_HEADER,
            cpu_src=bf16_source(len(v.shape) - 2)
            + """cca::backward16(shape, numbers(in0_p), numbers(in1_p), numbers(in2_p), numbers(in3_p), in4_p,
                                 numbers(in5_p), numbers(out0_p), numbers(out1_p), numbers(out2_p));""",
        )


def bf16_source(axes):
    sizes = ", ".join(f"in2_shape{1 + axis}" for axis in range(axes))
    return f"""
    auto numbers = [](const void* p) {{ return static_cast<cca::Number*>(const_cast<void*>(p)); }};
    const cca::Attention16 shape = {{in2_shape0, in0_shape{1 + axes}, in2_shape{1 + axes}, {{{sizes}}}}};
    """


class ChannelsLast(jt.Function):
    """bfloat16 (B, C, S..) -> (B, S.., C), or back."""

    def __init__(self, back=False):
        self.back = back

    def execute(self, x):
        return change_layout(x, self.back)

    def grad(self, g):
        return change_layout(g, not self.back)


def change_layout(x, back):
    batch, *sides = x.shape
    sides, c = (sides[:-1], sides[-1]) if back else (sides[1:], sides[0])
    source = """
    auto numbers = [](const void* p) { return static_cast<cca::Number*>(const_cast<void*>(p)); };
    const cca::i64 c = cca::i64(data["c"]), all = in0->num / in0_shape0 / c;
    const bool back = data["back"];
    cca::transpose_maps(in0_shape0, back ? all : c, back ? c : all, numbers(in0_p), numbers(out0_p));"""
    shape = (batch, c, *sides) if back else (batch, *sides, c)
    data = {"c": float(c), "back": float(back)}
    return jt.code(shape, x.dtype, [x], cpu_header=BF16_HEADER, cpu_src=source, data=data)


class FusedCUDA(jt.Function):
    """The same on the GPU, for float32, float16 and bfloat16. Statistics and sums are always float32.

    16-bit results are summed in additional float32 outputs, which are discarded; float32 results in place.
    """

    def execute(self, q, k, v):
        stats = (2, v.shape[0], *v.shape[2:])
        way = "by_image" if os.environ.get("CCA_BOTH_AXES") == "1" else "cuda"  # has not run on a card: on request
        sums = [] if v.dtype == "float32" else [(1, *v.shape[1:]) if way == "by_image" else v.shape]
        out, stats, *_ = jt.code(
            [v.shape, stats, *sums],
            [v.dtype, "float32", *["float32"] * len(sums)],
            [q, k, v],
            **cuda_source(f"""
            cca::forward_{way}<out0_type>({call(len(v.shape) - 2)}, in0_p, in1_p, in2_p, out0_p, out1_p,
                                          out{2 if sums else 0}_p);
            """),
        )
        self.saved = q, k, v, out, stats
        return out

    def grad(self, g):
        q, k, v, out, stats = self.saved
        shapes = [q.shape, k.shape, v.shape]
        sums = [] if v.dtype == "float32" else shapes
        first = 4 if sums else 0
        dq, dk, dv, *_ = jt.code(
            [*shapes, stats.shape[1:], *sums],
            [v.dtype] * 3 + ["float32"] * (1 + len(sums)),
            [q, k, v, out, stats, g.cast(v.dtype)],
            **cuda_source(f"""
            cca::backward_cuda<out0_type>({call(len(v.shape) - 2)}, {{
                in0_p, in1_p, in2_p, in3_p, in5_p, in4_p, out3_p, out{first}_p, out{first + 1}_p, out{first + 2}_p,
                out0_p, out1_p, out2_p}});
            """),
        )
        return dq, dk, dv


def call(axes):
    """C++ for a cca::Call: batch, channels of q and of v, spatial sizes."""
    sizes = ", ".join(f"int(in2_shape{2 + axis})" for axis in range(axes))
    return f"cca::Call{{int(in2_shape0), int(in0_shape1), int(in2_shape1), {{{sizes}}}}}"


def cuda_source(source):
    return {"cuda_header": CUDA_HEADER, "cuda_src": source}
