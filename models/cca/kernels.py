"""The fused kernels as jt.Functions. The C++ and CUDA code is in src/ and also compiles without Jittor.

Shapes are passed at run time: there is one binary per dtype and number of axes.
"""

from pathlib import Path

import jittor as jt

SRC = Path(__file__).resolve().parent / "src"
# Jittor recompiles when a file that is included here changes. Its scanner does not support relative paths; the files
# therefore indent their own includes (#    include), which the scanner skips.
CPU_FILES = ("simd.h", "lines.h", "cpu_common.h", "cpu_forward.h", "cpu_backward.h", "cpu_rest.h", "cca_cpu.h")
CUDA_FILES = ("cuda_memory.cuh", "cuda_product.cuh", "cuda_tiles.cuh", "cuda_forward.cuh", "cuda_backward.cuh")
CUDA_FILES += ("cca_cuda.cuh",)
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


class FusedCUDA(jt.Function):
    """The same on the GPU, for float32, float16 and bfloat16. Statistics and sums are always float32.

    16-bit results are summed in additional float32 outputs, which are discarded; float32 results in place.
    """

    def execute(self, q, k, v):
        stats = (2, v.shape[0], *v.shape[2:])
        sums = [] if v.dtype == "float32" else [v.shape]
        out, stats, *_ = jt.code(
            [v.shape, stats, *sums],
            [v.dtype, "float32", *["float32"] * len(sums)],
            [q, k, v],
            **cuda_source(f"""
            cca::forward_cuda<out0_type>({call(len(v.shape) - 2)}, in0_p, in1_p, in2_p, out0_p, out1_p,
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
