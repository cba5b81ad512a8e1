"""The fused kernels as jt.Functions. This is the only file that calls jt.code; the C++ is in src/ and compiles alone.

Shapes reach the kernels at run time: one binary serves every size of a type and rank.
"""

from pathlib import Path

import jittor as jt

SRC = Path(__file__).resolve().parent / "src"
# Jittor watches the files it is told of here and recompiles when one changes; in the files themselves the includes are
# written so that its scanner, which knows no relative paths, passes over them.
CPU_FILES = ("simd.h", "lines.h", "cpu_common.h", "cpu_forward.h", "cpu_backward.h", "cpu_rest.h", "cca_cpu.h")
CPU_HEADER = "".join(f'#include "{SRC / name}"\n' for name in CPU_FILES)


def sides(axes):
    """C++ for the sizes of the picture or volume, read from the value, input 2."""
    return "{" + ", ".join(f"in2_shape{2 + axis}" for axis in range(axes)) + "}"


class FusedCPU(jt.Function):
    """q, k: (B, Cq, S1, .., Sn), v: (B, C, S1, .., Sn), float32 or float64 -> like v. O(S) numbers are kept."""

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
