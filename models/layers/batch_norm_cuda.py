"""BatchNorm in training on the GPU (src/batch_norm.cuh), for float32, float16 and bfloat16; statistics are float32.

The sum with the residual and the activation are part of the kernels. Bytes that a value of a map in 16 bits moves:

    kernel      reads                     writes             no residual    with one
    moments     x                                            2              2
    apply       x, residual               y                  4              6
    sums        gradient, x, y            -                  4              6
    gradient    gradient, x, y            dx, d_residual     6              10
    all                                                      16             24

Jittor's operators on a float32 copy move about 54. y is read only with a residual, because without one its sign follows
from x. For the backward pass x, and with a residual and an activation y, are kept, and nothing else of their size.
"""

from pathlib import Path

import jittor as jt

from models.layers.ranks import row_of_each_rank, sum_over_ranks

MODELS = Path(__file__).resolve().parents[1]
FILES = (MODELS / "cca" / "src" / "cuda_memory.cuh", MODELS / "layers" / "src" / "batch_norm.cuh")
CUDA_HEADER = "".join(f'#include "{path}"\n' for path in FILES)
DTYPES = ("float32", "float16", "bfloat16")
BLOCKS, LEAST = 4096, 8192  # thread blocks that sum, if each has that many values
MAPS = (
    "const batch_norm::Maps maps = {int(in0_shape0), int(in0_shape1), int(in0->num / (in0_shape0 * in0_shape1)), 0};\n"
)
LAYER = 'const batch_norm::Layer layer = {in1_p, in2_p, in3_p, in4_p, float(data["eps"]), float(data["slope"])};\n'


def slices(x):
    """The number of thread blocks that share the sums of a channel; it depends on the shape only."""
    channels = x.shape[1]
    values = x.numel() // channels
    return max(1, min(-(-BLOCKS // channels), -(-values // LEAST)))


class BatchNormCUDA(jt.Function):
    """x, residual (or None): one shape and dtype; weight, bias: (C,) float32 -> y, mean, biased variance, count."""

    def __init__(self, slope):
        self.slope = slope

    def execute(self, x, weight, bias, eps, residual):
        channels = x.shape[1]
        self.numbers = {"eps": float(eps), "slope": float(self.slope)}
        source = "batch_norm::moments(maps, out1_shape0, in0_p, out1_p, out0_p);"
        row, _ = float32([(2 * channels + 1,), (slices(x), 3, channels)], [x], MAPS + source)
        maps = "const batch_norm::Maps maps = {1, int(out0_shape0), 1, 0};\n"
        source = "batch_norm::merge(maps, in0_shape0, in0_p, out0_p, out1_p, out2_p);"
        mean, var, count = float32([(channels,), (channels,), (1,)], [row_of_each_rank(row)], maps + source)
        layer = [mean, var, weight, bias]
        inputs = [x, *layer] + [residual] * (residual is not None)
        source = f"batch_norm::apply(maps, layer, in0_p, {pointer('in5', residual is not None)}, out0_p);"
        (y,) = launch([x.shape], [x.dtype], inputs, MAPS + LAYER + source, **self.numbers)
        self.with_residual, self.signs = residual is not None, [y] * (residual is not None and self.slope != 1)
        self.saved = x, layer, count
        return y, mean, var, count

    def grad(self, g, *_):
        x, layer, count = self.saved
        g, channels, signs = g.cast(x.dtype), x.shape[1], self.signs
        inputs = [x, *layer, g]
        source = f"batch_norm::sums(maps, layer, out1_shape0, in5_p, in0_p, {pointer('in6', signs)}, out1_p, out0_p);"
        shapes = [(2 * channels,), (slices(x), 2, channels)]
        both, _ = float32(shapes, inputs + signs, MAPS + LAYER + source, **self.numbers)
        (of_all,) = sum_over_ranks(both)
        source = f"""batch_norm::gradient(maps, layer, in6_p, in7_p, in5_p, in0_p, {pointer("in8", signs)}, out0_p,
                                          {pointer("out1", signs)});"""
        outputs = 2 if signs else 1  # without an activation the gradient of the residual is g
        inputs = [*inputs, of_all, count, *signs]
        dx, *d_residual = launch(
            [x.shape] * outputs, [x.dtype] * outputs, inputs, MAPS + LAYER + source, **self.numbers
        )
        d_residual = (d_residual or [g])[0] if self.with_residual else None
        return dx, both[channels:], both[:channels], None, d_residual


def pointer(name, there):
    return f"{name}_p" if there else "(in0_type*)nullptr"


def float32(shapes, inputs, source, **numbers):
    return launch(shapes, ["float32"] * len(shapes), inputs, source, **numbers)


def launch(shapes, dtypes, inputs, source, **numbers):
    return jt.code(shapes, dtypes, inputs, data=numbers, **cuda_source(source))


def cuda_source(source):
    return {"cuda_header": CUDA_HEADER, "cuda_src": source}
