"""Cross entropy of each pixel of logits that are first resized to the labels (bilinear).

`plain` (Jittor operations) and `fused` (src/pixel_loss.h, float32 on the CPU, all threads) have the same signature and
compute the same. `plain` keeps several arrays of the size classes x pixels; `fused` keeps two numbers a pixel, and
computes the resized logits again for the gradient.
"""

from pathlib import Path

import jittor as jt
import numpy as np

from models.layers.resize import plain_resize

FOLDER = Path(__file__).resolve().parent
FILES = (FOLDER.parent / "cca" / "src" / "simd.h", FOLDER / "src" / "resize.h", FOLDER / "src" / "pixel_loss.h")
HEADER = "".join(f'#include "{path}"\n' for path in FILES)  # all named: Jittor recompiles when one of them changes


def on_cpu(logits):
    return logits.dtype == "float32" and logits.ndim == 4 and not jt.flags.use_cuda


def pixel_loss(logits, labels, align_corners=True):
    """logits (B, K, h, w), labels (B, H, W) int32 -> loss, log_sum, both (B, H, W) float32.

    loss: -log softmax at the label, undefined where the label is not a class, for example at ignored pixels.
    log_sum: log of the sum of exp(logits), without a gradient.
    """
    return (fused if on_cpu(logits) else plain)(logits, labels, align_corners)


def plain(logits, labels, align_corners=True):
    x = plain_resize(logits, labels.shape[1:], align_corners).float32()
    most = x.max(1, keepdims=True).stop_grad()
    x = x - most
    at_label = jt.index(x.shape, dim=1) == labels.unsqueeze(1).broadcast(x.shape)
    log_sum = x.exp().sum(1).log()
    return log_sum - (x * at_label).sum(1), (log_sum + most.squeeze(1)).stop_grad()


def fused(logits, labels, align_corners=True):
    """For float32 on the CPU. The loss of pixels whose label is not a class is 0."""
    loss, log_sum = Fused(align_corners)(logits, labels.int32())
    return loss, log_sum.stop_grad()


class Fused(jt.Function):
    def __init__(self, align_corners):
        self.align_corners = align_corners

    def execute(self, logits, labels):
        source = "pixel_loss::forward(s, in0_p, in1_p, out0_p, out1_p);"
        loss, log_sum = call([labels.shape] * 2, [logits, labels], source, self.align_corners)
        self.saved = logits, labels, log_sum
        return loss, log_sum

    def grad(self, g, _):
        source = "pixel_loss::backward(s, in0_p, in1_p, in2_p, in3_p, out0_p);"
        (d_logits,) = call([self.saved[0].shape], [*self.saved, g], source, self.align_corners)
        return d_logits, None


def call(shapes, inputs, source, align_corners, **numbers):
    shape = """const pixel_loss::Shape s = {int(in0_shape0), int(in0_shape1), int(in0_shape2), int(in0_shape3),
                                             int(in1_shape1), int(in1_shape2), data["corners"] != 0};\n"""
    return jt.code(
        shapes,
        ["float32"] * len(shapes),
        inputs,
        cpu_header=HEADER,
        cpu_src=shape + source,
        data={"corners": float(align_corners), **numbers},
    )


def coarse_probabilities(logits, labels, log_sum, probability, ignore, factor, align_corners=True):
    """Probability of the label at each point of the coarse grid of OHEM, shape (points,); 2 where ignored.

    The grid is that of scipy's zoom: round(n / factor) points from corner to corner, probabilities interpolated
    linearly, labels nearest. A point at the position of a pixel gets exactly its value of `probability` (B, H, W), so
    the pixel that defines the threshold is itself kept.
    """
    function = coarse_fused if on_cpu(logits) else coarse_plain
    return function(logits, labels, log_sum, probability, ignore, factor, align_corners)


def grid_points(labels, factor):
    return [max(round(side / factor), 1) for side in labels.shape[1:]]  # rounds half to even, as scipy does


def coarse_fused(logits, labels, log_sum, probability, ignore, factor, align_corners=True):
    rows, columns = grid_points(labels, factor)
    source = """pixel_loss::coarse(s, int(data["rows"]), int(data["columns"]), int(data["ignore"]), in0_p, in1_p, in2_p,
                                   in3_p, out0_p);"""
    numbers = {"rows": float(rows), "columns": float(columns), "ignore": float(ignore)}
    inputs = [logits, labels.int32(), log_sum, probability]
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
