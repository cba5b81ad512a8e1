"""Losses on logits at the network's own stride. `segmentation_loss` gives named losses, the total among them.

Under mpirun every mean runs over the batch of all ranks. Gradients are averaged over ranks afterwards, so each rank
divides its own sum by the *mean* weight per rank: together that is the mean over the global batch, however unevenly
void pixels fall, and N ranks take the steps that one takes.
"""

import jittor as jt
import numpy as np
from jittor import nn


def upsample(logits, size):
    """Bilinear with align_corners=True, as the official loss and evaluation do; its gradient is the exact adjoint."""
    if tuple(logits.shape[2:]) == tuple(size):
        return logits
    return nn.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=True)


def mean_over_ranks(x):
    return x.mpi_all_reduce("mean") if jt.in_mpi else x


def sum_over_ranks(x):
    return x.mpi_all_reduce("add") if jt.in_mpi else x


def pixel_terms(logits, label):
    """-log softmax at the label: (B, K, ...), (B, ...) -> (B, ...). Where the label is no class it means nothing."""
    x = logits.float32()
    x = x - x.max(1, keepdims=True).stop_grad()
    at_label = jt.index(x.shape, dim=1) == label.unsqueeze(1).broadcast(x.shape)
    return x.exp().sum(1).log() - (x * at_label).sum(1)


def pixel_weights(label, ignore=255, class_weight=None):
    """1 where the label counts (or the weight of its class), 0 where it is ignored. -> float32 like label."""
    weight = (label != ignore).float32()
    if class_weight is None:
        return weight
    return weight * class_weight[label.maximum(0).minimum(class_weight.shape[0] - 1)]


def cross_entropy(logits, label, ignore=255, class_weight=None, total=None):
    """Weighted mean over the valid pixels of all ranks; no valid pixel gives 0. logits (B, K, H, W), label (B, H, W).

    `total` stands in for the sum of this batch's weights, for a batch that is a piece of a greater one.
    """
    weight = pixel_weights(label, ignore, class_weight)
    total = mean_over_ranks(weight.sum() if total is None else total)
    rows = (pixel_terms(logits, label) * weight).sum(-1)  # two steps: float32 keeps more digits of a long sum
    return rows.sum() / total.maximum(1e-6).stop_grad()


def ohem_label(logits, label, ignore=255, thresh=0.7, min_kept=100000, factor=8):
    """The label with every pixel ignored that the official OHEM drops: those that are predicted too well.

    A valid pixel is kept while the probability of its own class is <= threshold. The threshold is the (min_kept /
    factor^2)-th smallest probability on a grid `factor` times coarser, at least `thresh`; 1 if the grid has not that
    many valid points. Everything stays on the device, nothing here has a gradient, and all ranks share one threshold:
    `min_kept` counts over the global batch.
    """
    logits, wanted = logits.detach(), min_kept // factor**2
    own = (-pixel_terms(logits, label)).exp().minimum(1.0).stop_fuse()  # rounding can bring it just above 1
    threshold = jt.array([float(thresh)])
    if wanted > 0:
        points = coarse_probabilities(logits, label, own, ignore, factor)
        if jt.in_mpi:  # each rank adds a row of its own: a gather
            mine = (jt.index((jt.world_size, points.shape[0]), dim=0) == jt.rank).float32()
            points = sum_over_ranks(mine * points.broadcast(mine.shape, dims=[0])).reshape((-1,))
        _, points = jt.argsort(points)
        few = (points < 1.5).sum() <= wanted  # ignored points are 2
        last = min(wanted, points.shape[0]) - 1
        threshold = jt.ternary(few, jt.ones(1), threshold.maximum(points[last : last + 1]))
    keep = (label != ignore) & (own <= threshold.broadcast(own.shape))
    return jt.ternary(keep, label, jt.full_like(label, ignore)).stop_grad()


def coarse_probabilities(logits, label, own, ignore, factor):
    """Softmax at the label on the coarse grid, flat; 2 where ignored. `own` is the same at every pixel.

    The grid of scipy's zoom: round(n / factor) points from corner to corner, probabilities linear, labels nearest. A
    point that falls on a pixel has that pixel's number to the bit: if it sets the threshold, the pixel is kept.
    """
    (batch, classes, height, width), axes = logits.shape, []
    for side in (height, width):
        points = max(round(side / factor), 1)  # halves to even, as scipy
        at = np.arange(points) * ((side - 1) / max(points - 1, 1))
        low = np.minimum(at.astype(np.int32), side - 1)
        axes.append((low, np.minimum(low + 1, side - 1), at - low, np.floor(at + 0.5).astype(np.int32)))
    (y0, y1, fy, near_y), (x0, x1, fx, near_x) = axes
    rows, cols = logits.reshape((batch, classes, -1)), label.reshape((batch, -1))

    def flat(y, x):
        return jt.array((y[:, None] * width + x[None]).reshape(-1))

    label, probability = cols[:, flat(near_y, near_x)], 0  # (B, points)
    for y, x, share in (
        (y0, x0, np.outer(1 - fy, 1 - fx)),
        (y0, x1, np.outer(1 - fy, fx)),
        (y1, x0, np.outer(fy, 1 - fx)),
        (y1, x1, np.outer(fy, fx)),
    ):
        corner = (-pixel_terms(rows[:, :, flat(y, x)], label)).exp()
        probability = probability + corner * jt.array(share.reshape(1, -1).astype(np.float32)).broadcast(corner.shape)
    on_pixel = jt.array(np.logical_and.outer(fy == 0, fx == 0).reshape(1, -1)).broadcast(probability.shape)
    probability = jt.ternary(on_pixel, own.reshape((batch, -1))[:, flat(near_y, near_x)], probability.minimum(1.0))
    return jt.ternary(label == ignore, jt.full_like(probability, 2.0), probability).reshape((-1,))


def segmentation_loss(logits, label, ignore=255, aux_weight=0.4, ohem=None, class_weight=None, total=None):
    """logits: [main, auxiliary], label (B, H, W) int32 -> {"loss": sum, "main": .., "aux": ..}.

    `ohem` = {"thresh": .., "min_kept": ..} selects the pixels of the main loss; the auxiliary loss is never mined.
    """
    size = label.shape[1:]
    main = upsample(logits[0], size)  # (B, K, H, W)
    if ohem is None:
        losses = {"main": cross_entropy(main, label, ignore, class_weight, total)}
    else:
        losses = {"main": cross_entropy(main, ohem_label(main, label, ignore, **ohem), ignore, class_weight)}
    losses["loss"] = losses["main"]
    if len(logits) > 1:
        losses["aux"] = cross_entropy(upsample(logits[1], size), label, ignore, class_weight, total)
        losses["loss"] = losses["main"] + aux_weight * losses["aux"]
    return losses


class CategoryConsistentLoss(nn.Module):
    """Features of one class near their mean, means of different classes apart (section 3.4 of the TPAMI paper).

    The attention's output, (B, C, h, w), is reduced to 16 channels by a 1x1 convolution that is trained along and kept
    apart from the network; labels are taken at the nearest pixel. Returns {"var": .., "dis": .., "reg": ..} and "ccl",
    their weighted sum. Classes are those present in the global batch.
    """

    def __init__(self, in_channels, num_classes, channels=16):
        self.reduce = nn.Conv2d(in_channels, channels, 1)
        self.num_classes = num_classes

    def execute(self, features, label, ignore=255):
        size = features.shape[2:]
        rows, cols = (np.rint(np.linspace(0, a - 1, b)).astype(np.int32) for a, b in zip(label.shape[1:], size))
        at = jt.array((rows[:, None] * label.shape[2] + cols[None]).reshape(-1))
        small = label.reshape((label.shape[0], -1))[:, at].reshape((-1, *size))
        return category_consistency(self.reduce(features).float32(), small, self.num_classes, ignore)


def category_consistency(features, label, num_classes, ignore=255, near=0.5, far=1.5, weights=(1.0, 1.0, 0.001)):
    """features (B, C, h, w), label (B, h, w) on the same grid. `near` and `far` are the paper's delta_v and delta_d."""
    channels = features.shape[1]
    h = features.transpose((0, 2, 3, 1)).reshape((-1, channels))  # (N, C)
    label = label.reshape((-1, 1))
    member = (label.broadcast((h.shape[0], num_classes)) == jt.index((h.shape[0], num_classes), dim=1)) & (
        label != ignore
    )
    member = member.float32().stop_grad()  # (N, K)
    count = sum_over_ranks(member.sum(0)).stop_grad()  # (K,)
    present = (count > 0).float32()
    classes, pairs = present.sum(), present.sum() * (present.sum() - 1)
    mean = sum_over_ranks(jt.matmul(member.transpose(), h)) / count.maximum(1.0).unsqueeze(1)  # (K, C)

    distance = length(h - jt.matmul(member, mean))  # (N,)
    spread = jt.ternary(distance > far, distance - far + (far - near) ** 2, (distance - near).maximum(0.0).sqr())
    per_class = jt.matmul(spread.unsqueeze(0), member)[0] / count.maximum(1.0)  # (K,)
    var = per_class.sum() / classes.maximum(1.0)
    if jt.in_mpi:  # gradients are averaged over ranks: this rank's part of a sum counts that many times
        var = var * jt.world_size

    gap = length(mean.unsqueeze(0) - mean.unsqueeze(1))  # (K, K)
    both = present.unsqueeze(0) * present.unsqueeze(1) * (1 - jt.init.eye(num_classes))
    dis = ((2 * far - gap).maximum(0.0).sqr() * both).sum() / pairs.maximum(1.0)
    reg = (length(mean) * present).sum() / classes.maximum(1.0)
    return {"var": var, "dis": dis, "reg": reg, "ccl": weights[0] * var + weights[1] * dis + weights[2] * reg}


def length(x):
    """Euclidean norm over the last axis; its gradient at zero is zero, not infinite."""
    return x.sqr().sum(-1).maximum(1e-12).sqrt()


class Criterion(nn.Module):
    """What training minimises: `criterion(model(images), label)` -> {"loss": total, "main": .., "aux": .., "ccl": ..}.

    With `ccl` > 0 the category consistent loss is added, on the output of the attention of `model`.
    """

    def __init__(self, model, num_classes, ignore=255, aux_weight=0.4, ohem=None, class_weight=None, ccl=0.0):
        if class_weight is not None and len(class_weight) != num_classes:
            raise ValueError(f"there are {len(class_weight)} class weights for {num_classes} classes")
        self.options = {"ignore": ignore, "aux_weight": aux_weight, "ohem": ohem}
        self.weights, self.ccl, attended = class_weight, ccl, []
        self.attended = attended.pop  # a Var held as an attribute would count as a parameter

        def keep(output):
            attended[:] = [output]

        if ccl:
            self.consistency = CategoryConsistentLoss(model.head.cca.value_conv.out_channels, num_classes)
            model.head.cca.register_forward_hook(lambda module, inputs, output: keep(output))

    def execute(self, logits, label, total=None):
        losses = segmentation_loss(logits, label, class_weight=self.class_weight(), total=total, **self.options)
        if self.ccl:
            losses["ccl"] = self.consistency(self.attended(), label, self.options["ignore"])["ccl"]
            losses["loss"] = losses["loss"] + self.ccl * losses["ccl"]
        return losses

    def class_weight(self):
        return None if self.weights is None else jt.array(self.weights).float32()

    def total_weight(self, label):
        return pixel_weights(label, self.options["ignore"], self.class_weight()).sum()
