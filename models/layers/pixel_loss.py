"""Cross entropy of each pixel of logits that are first resized to the labels (bilinear).

`plain` (Jittor operations), `fused` (src/pixel_loss.h, float32 on the CPU, all threads) and `cuda` (src/pixel_loss.cuh,
float32, float16 and bfloat16) have the same signature and compute the same. `plain` keeps several arrays of the size
classes x pixels; the others keep two numbers a pixel, and compute the resized logits again for the gradient. On the GPU
the gradient has the dtype of the logits; labels of uint8 are read as they are.
"""

from pathlib import Path

import jittor as jt
import numpy as np

from models.layers.resize import CUDA_FILES, DTYPES, plain_resize

FOLDER = Path(__file__).resolve().parent
FILES = (FOLDER.parent / "cca" / "src" / "simd.h", FOLDER / "src" / "resize.h", FOLDER / "src" / "pixel_loss.h")
HEADER = "".join(f'#include "{path}"\n' for path in FILES)  # all named: Jittor recompiles when one of them changes
CUDA_HEADER = "".join(f'#include "{path}"\n' for path in (*CUDA_FILES, FOLDER / "src" / "pixel_loss.cuh"))


def on_cpu(logits):
    return logits.dtype == "float32" and logits.ndim == 4 and not jt.flags.use_cuda


def on_cuda(logits):
    return logits.dtype in DTYPES and logits.ndim == 4 and bool(jt.flags.use_cuda)


def pixel_loss(logits, labels, align_corners=True):
    """logits (B, K, h, w), labels (B, H, W) int32 or uint8 -> loss, log_sum, both (B, H, W) float32.

    loss: -log softmax at the label, undefined where the label is not a class, for example at ignored pixels.
    log_sum: log of the sum of exp(logits), without a gradient.
    """
    function = cuda if on_cuda(logits) else fused if on_cpu(logits) else plain
    return function(logits, labels, align_corners)


def plain(logits, labels, align_corners=True):
    x = plain_resize(logits, labels.shape[1:], align_corners).float32()
    most = x.max(1, keepdims=True).stop_grad()
    x = x - most
    at_label = jt.index(x.shape, dim=1) == labels.unsqueeze(1).broadcast(x.shape)
    log_sum = x.exp().sum(1).log()
    return log_sum - (x * at_label).sum(1), (log_sum + most.squeeze(1)).stop_grad()


def fused(logits, labels, align_corners=True):
    """For float32 on the CPU. The loss of pixels whose label is not a class is 0."""
    loss, log_sum = Fused(call, align_corners)(logits, labels.int32())
    return loss, log_sum.stop_grad()


def cuda(logits, labels, align_corners=True):
    """For float32, float16 and bfloat16 on the GPU. The loss of pixels whose label is not a class is 0."""
    loss, log_sum = Fused(cuda_call, align_corners)(logits, labels_for_cuda(labels))
    return loss, log_sum.stop_grad()


def labels_for_cuda(labels):
    return labels if labels.dtype == "uint8" else labels.int32()


class Fused(jt.Function):
    """The functions in both sources have the same names and arguments; `call` chooses the source."""

    def __init__(self, call, align_corners):
        self.call, self.align_corners = call, align_corners

    def execute(self, logits, labels):
        source = "pixel_loss::forward(s, in0_p, in1_p, out0_p, out1_p);"
        loss, log_sum = self.call([labels.shape] * 2, [logits, labels], source, self.align_corners)
        self.saved = logits, labels, log_sum
        return loss, log_sum

    def grad(self, g, _):
        source = "pixel_loss::backward(s, in0_p, in1_p, in2_p, in3_p, out0_p);"
        logits = self.saved[0]
        (d_logits,) = self.call([logits.shape], [*self.saved, g], source, self.align_corners, logits.dtype)
        return d_logits, None


SHAPE = """const pixel_loss::Shape s = {int(in0_shape0), int(in0_shape1), int(in0_shape2), int(in0_shape3),
                                         int(in1_shape1), int(in1_shape2), data["corners"] != 0};\n"""


def call(shapes, inputs, source, align_corners, dtype="float32", **numbers):
    code = {"cpu_header": HEADER, "cpu_src": SHAPE + source}
    return launch(shapes, inputs, code, align_corners, dtype, numbers)


def cuda_call(shapes, inputs, source, align_corners, dtype="float32", **numbers):
    return launch(shapes, inputs, cuda_source(SHAPE + source), align_corners, dtype, numbers)


def launch(shapes, inputs, code, align_corners, dtype, numbers):
    return jt.code(shapes, [dtype] * len(shapes), inputs, data={"corners": float(align_corners), **numbers}, **code)


def cuda_source(source):
    return {"cuda_header": CUDA_HEADER, "cuda_src": source}


def coarse_probabilities(logits, labels, log_sum, probability, ignore, factor, align_corners=True):
    """Probability of the label at each point of the coarse grid of OHEM, shape (points,); 2 where ignored.

    The grid is that of scipy's zoom: round(n / factor) points from corner to corner, probabilities interpolated
    linearly, labels nearest. A point at the position of a pixel gets exactly its value of `probability` (B, H, W), so
    the pixel that defines the threshold is itself kept.
    """
    function = coarse_cuda if on_cuda(logits) else coarse_fused if on_cpu(logits) else coarse_plain
    return function(logits, labels, log_sum, probability, ignore, factor, align_corners)


def grid_points(labels, factor):
    return [max(round(side / factor), 1) for side in labels.shape[1:]]  # rounds half to even, as scipy does


def coarse_fused(logits, labels, log_sum, probability, ignore, factor, align_corners=True):
    return coarse(call, [logits, labels.int32(), log_sum, probability], ignore, factor, align_corners)


def coarse_cuda(logits, labels, log_sum, probability, ignore, factor, align_corners=True):
    return coarse(cuda_call, [logits, labels_for_cuda(labels), log_sum, probability], ignore, factor, align_corners)


def coarse(call, inputs, ignore, factor, align_corners):
    labels = inputs[1]
    rows, columns = grid_points(labels, factor)
    source = """pixel_loss::coarse(s, int(data["rows"]), int(data["columns"]), int(data["ignore"]), in0_p, in1_p, in2_p,
                                   in3_p, out0_p);"""
    numbers = {"rows": float(rows), "columns": float(columns), "ignore": float(ignore)}
    return call([(labels.shape[0] * rows * columns,)], inputs, source, align_corners, **numbers)[0]


def coarse_plain(logits, labels, log_sum, probability, ignore, factor, align_corners=True):
    (batch, height, width), axes = labels.shape, []
    for side, points in zip((height, width), grid_points(labels, factor)):
        at = np.arange(points) * ((side - 1) / max(points - 1, 1))
        low = np.minimum(at.astype(np.int32), side - 1)
        axes.append((low, np.minimum(low + 1, side - 1), at - low, np.floor(at + 0.5).astype(np.int32)))
    (y0, y1, fy, near_y), (x0, x1, fx, near_x) = axes
    logits = plain_resize(logits, (height, width), align_corners).float32()
    rows = logits.reshape((batch, logits.shape[1], -1))

    def flat(y, x):
        return jt.array((y[:, None] * width + x[None]).reshape(-1))

    labels, total = labels.reshape((batch, -1))[:, flat(near_y, near_x)], 0  # (B, points)
    for y, x, share in (
        (y0, x0, np.outer(1 - fy, 1 - fx)),
        (y0, x1, np.outer(1 - fy, fx)),
        (y1, x0, np.outer(fy, 1 - fx)),
        (y1, x1, np.outer(fy, fx)),
    ):
        corner = rows[:, :, flat(y, x)]
        at_label = jt.index(corner.shape, dim=1) == labels.unsqueeze(1).broadcast(corner.shape)
        corner = ((corner * at_label).sum(1) - log_sum.reshape((batch, -1))[:, flat(y, x)]).exp()
        total = total + corner * jt.array(share.reshape(1, -1).astype(np.float32)).broadcast(corner.shape)
    on_pixel = jt.array(np.logical_and.outer(fy == 0, fx == 0).reshape(1, -1)).broadcast(total.shape)
    at_pixel = probability.reshape((batch, -1))[:, flat(near_y, near_x)]
    total = jt.ternary(on_pixel, at_pixel, total.minimum(1.0))
    return jt.ternary(labels == ignore, jt.full_like(total, 2.0), total).reshape((-1,))
