"""Losses on logits at the stride of the network. `segmentation_losses` returns a dict of losses, "loss" is the total.

Under mpirun every mean is taken over the global batch (the batches of all ranks). Gradients are averaged over ranks
afterwards, so each rank divides the sum over its pixels by the *mean* weight per rank. The result is the mean over the
global batch even if ignored pixels are distributed unevenly: N ranks train as one process does.
"""

import jittor as jt
import numpy as np
from jittor import nn

from models.dice import dice_loss, labelled_images


def upsample(logits, size):
    """Bilinear with align_corners=True, as in the official loss and evaluation. The gradient is the exact adjoint."""
    if tuple(logits.shape[2:]) == tuple(size):
        return logits
    return nn.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=True)


def mean_over_ranks(x):
    return x.mpi_all_reduce("mean") if jt.in_mpi else x


def sum_over_ranks(x):
    return x.mpi_all_reduce("add") if jt.in_mpi else x


def negative_log_likelihood(logits, labels):
    """-log softmax at the label of each pixel: logits (B, K, ...), labels (B, ...) -> (B, ...).

    Undefined where the label is not a class, for example at ignored pixels.
    """
    x = logits.float32()
    x = x - x.max(1, keepdims=True).stop_grad()
    at_label = jt.index(x.shape, dim=1) == labels.unsqueeze(1).broadcast(x.shape)
    return x.exp().sum(1).log() - (x * at_label).sum(1)


def pixel_weights(labels, ignore=255, class_weight=None):
    """The weight of each pixel in the mean, float32, shape of `labels`: 0 if ignored, else 1 or its class weight."""
    weight = (labels != ignore).float32()
    if class_weight is None:
        return weight
    return weight * class_weight[labels.maximum(0).minimum(class_weight.shape[0] - 1)]


def cross_entropy(logits, labels, ignore=255, class_weight=None, total=None):
    """Weighted mean over the valid pixels of all ranks; 0 without valid pixels. logits (B, K, H, W), labels (B, H, W).

    `total`: the sum of weights to divide by (default: that of this batch), for gradient accumulation.
    """
    weight = pixel_weights(labels, ignore, class_weight)
    total = mean_over_ranks(weight.sum() if total is None else total)
    rows = (negative_log_likelihood(logits, labels) * weight).sum(-1)  # (B, H); two sums: less rounding error
    return rows.sum() / total.maximum(1e-6).stop_grad()


def ohem_label(logits, labels, ignore=255, thresh=0.7, min_kept=100000, factor=8):
    """Online hard example mining: the labels with all easy pixels set to `ignore`, as in the official code.

    A valid pixel is kept if the probability of its label is <= threshold. The threshold is the (min_kept / factor^2)-th
    smallest probability on a grid `factor` times coarser, at least `thresh`; 1 if the grid has fewer valid points.
    Everything stays on the device and has no gradient. All ranks use one threshold: `min_kept` refers to the global
    batch.
    """
    logits, wanted = logits.detach(), min_kept // factor**2
    probability = (-negative_log_likelihood(logits, labels)).exp()
    probability = probability.minimum(1.0).stop_fuse()  # rounding can bring it just above 1
    threshold = jt.array([float(thresh)])
    if wanted > 0:
        points = coarse_probabilities(logits, labels, probability, ignore, factor)
        if jt.in_mpi:  # a gather: the sum of matrices in which each rank fills its row
            row = (jt.index((jt.world_size, points.shape[0]), dim=0) == jt.rank).float32()
            points = sum_over_ranks(row * points.broadcast(row.shape, dims=[0])).reshape((-1,))
        _, points = jt.argsort(points)
        few = (points < 1.5).sum() <= wanted  # ignored points have the value 2
        last = min(wanted, points.shape[0]) - 1
        threshold = jt.ternary(few, jt.ones(1), threshold.maximum(points[last : last + 1]))
    keep = (labels != ignore) & (probability <= threshold.broadcast(probability.shape))
    return jt.ternary(keep, labels, jt.full_like(labels, ignore)).stop_grad()


def coarse_probabilities(logits, labels, full_probability, ignore, factor):
    """Probability of the label at each point of the coarse grid, shape (points,); 2 where ignored.

    `full_probability` (B, H, W) is the same at each pixel. The grid is that of scipy's zoom: round(n / factor) points
    from corner to corner, probabilities interpolated linearly, labels nearest. A point at the position of a pixel gets
    exactly its value of `full_probability`, so the pixel that defines the threshold is itself kept.
    """
    (batch, classes, height, width), axes = logits.shape, []
    for side in (height, width):
        points = max(round(side / factor), 1)  # rounds half to even, as scipy does
        at = np.arange(points) * ((side - 1) / max(points - 1, 1))
        low = np.minimum(at.astype(np.int32), side - 1)
        axes.append((low, np.minimum(low + 1, side - 1), at - low, np.floor(at + 0.5).astype(np.int32)))
    (y0, y1, fy, near_y), (x0, x1, fx, near_x) = axes
    rows, cols = logits.reshape((batch, classes, -1)), labels.reshape((batch, -1))

    def flat(y, x):
        return jt.array((y[:, None] * width + x[None]).reshape(-1))

    labels, probability = cols[:, flat(near_y, near_x)], 0  # (B, points)
    for y, x, share in (
        (y0, x0, np.outer(1 - fy, 1 - fx)),
        (y0, x1, np.outer(1 - fy, fx)),
        (y1, x0, np.outer(fy, 1 - fx)),
        (y1, x1, np.outer(fy, fx)),
    ):
        corner = (-negative_log_likelihood(rows[:, :, flat(y, x)], labels)).exp()
        probability = probability + corner * jt.array(share.reshape(1, -1).astype(np.float32)).broadcast(corner.shape)
    on_pixel = jt.array(np.logical_and.outer(fy == 0, fx == 0).reshape(1, -1)).broadcast(probability.shape)
    at_pixel = full_probability.reshape((batch, -1))[:, flat(near_y, near_x)]
    probability = jt.ternary(on_pixel, at_pixel, probability.minimum(1.0))
    return jt.ternary(labels == ignore, jt.full_like(probability, 2.0), probability).reshape((-1,))


def segmentation_losses(
    logits, labels, ignore=255, aux_weight=0.4, ohem=None, class_weight=None, total=None, dice=0.0, images=None
):
    """logits [main, auxiliary], labels (B, H, W) int32 -> {"loss": main + aux_weight * aux, "main": .., "aux": ..}.

    `ohem`: options of `ohem_label` for the main loss, {"thresh": .., "min_kept": ..}; the auxiliary loss uses all
    valid pixels. `dice`: weight of the soft Dice loss of the main logits (dice.py), "dice"; `images`: the number of
    images that it divides by, as `total` is the sum of weights.
    """
    size = labels.shape[1:]
    main = upsample(logits[0], size)  # (B, K, H, W)
    if ohem is None:
        losses = {"main": cross_entropy(main, labels, ignore, class_weight, total)}
    else:
        losses = {"main": cross_entropy(main, ohem_label(main, labels, ignore, **ohem), ignore, class_weight)}
    losses["loss"] = losses["main"]
    if len(logits) > 1:
        losses["aux"] = cross_entropy(upsample(logits[1], size), labels, ignore, class_weight, total)
        losses["loss"] = losses["main"] + aux_weight * losses["aux"]
    if dice:
        images = mean_over_ranks(labelled_images(labels, ignore) if images is None else images)
        losses["dice"] = dice_loss(main, labels, ignore, images)
        losses["loss"] = losses["loss"] + dice * losses["dice"]
    return losses


class CategoryConsistentLoss(nn.Module):
    """Pulls features of one class towards their mean and pushes class means apart (TPAMI paper, section 3.4).

    The output of the attention, (B, C, h, w), is reduced to 16 channels by a 1x1 convolution, which is trained with the
    network but is not part of it. Labels are resized by nearest neighbour. Returns {"var": .., "dis": .., "reg": ..}
    and "ccl", their weighted sum, over the classes that occur in the global batch.
    """

    def __init__(self, in_channels, num_classes, channels=16):
        self.reduce = nn.Conv2d(in_channels, channels, 1)
        self.num_classes = num_classes

    def execute(self, features, labels, ignore=255):
        size = features.shape[2:]
        rows, cols = (np.rint(np.linspace(0, a - 1, b)).astype(np.int32) for a, b in zip(labels.shape[1:], size))
        at = jt.array((rows[:, None] * labels.shape[2] + cols[None]).reshape(-1))
        small = labels.reshape((labels.shape[0], -1))[:, at].reshape((-1, *size))
        return category_consistency_losses(self.reduce(features).float32(), small, self.num_classes, ignore)


def category_consistency_losses(
    features, labels, num_classes, ignore=255, delta_v=0.5, delta_d=1.5, weights=(1.0, 1.0, 0.001)
):
    """features (B, C, h, w), labels (B, h, w) -> {"var", "dis", "reg", "ccl"}; the defaults are those of the paper."""
    channels = features.shape[1]
    pixels = features.transpose((0, 2, 3, 1)).reshape((-1, channels))  # (N, C)
    labels = labels.reshape((-1, 1))
    shape = (pixels.shape[0], num_classes)
    member = (labels.broadcast(shape) == jt.index(shape, dim=1)) & (labels != ignore)
    member = member.float32().stop_grad()  # (N, K)
    count = sum_over_ranks(member.sum(0)).stop_grad()  # (K,)
    present = (count > 0).float32()
    classes, pairs = present.sum(), present.sum() * (present.sum() - 1)
    mean = sum_over_ranks(jt.matmul(member.transpose(), pixels)) / count.maximum(1.0).unsqueeze(1)  # (K, C)

    distance = euclidean_norm(pixels - jt.matmul(member, mean))  # (N,)
    near = (distance - delta_v).maximum(0.0).sqr()
    spread = jt.ternary(distance > delta_d, distance - delta_d + (delta_d - delta_v) ** 2, near)
    per_class = jt.matmul(spread.unsqueeze(0), member)[0] / count.maximum(1.0)  # (K,)
    var = per_class.sum() / classes.maximum(1.0)
    if jt.in_mpi:  # `var` is the part of one rank, and gradients are averaged over ranks afterwards
        var = var * jt.world_size

    gap = euclidean_norm(mean.unsqueeze(0) - mean.unsqueeze(1))  # (K, K)
    both = present.unsqueeze(0) * present.unsqueeze(1) * (1 - jt.init.eye(num_classes))
    dis = ((2 * delta_d - gap).maximum(0.0).sqr() * both).sum() / pairs.maximum(1.0)
    reg = (euclidean_norm(mean) * present).sum() / classes.maximum(1.0)
    return {"var": var, "dis": dis, "reg": reg, "ccl": weights[0] * var + weights[1] * dis + weights[2] * reg}


def euclidean_norm(x):
    """Norm over the last axis; the gradient at zero is zero instead of infinite."""
    return x.sqr().sum(-1).maximum(1e-12).sqrt()


class Criterion(nn.Module):
    """The training loss: `criterion(model(images), labels)` -> {"loss": total, "main": .., "aux": .., "ccl": ..}.

    `ccl`: weight of the category consistent loss on the attention output of `model`, `dice`: of the soft Dice loss
    (default: 0, not computed).
    """

    def __init__(self, model, num_classes, ignore=255, aux_weight=0.4, ohem=None, class_weight=None, ccl=0.0, dice=0.0):
        if class_weight is not None and len(class_weight) != num_classes:
            raise ValueError(f"there are {len(class_weight)} class weights for {num_classes} classes")
        self.options = {"ignore": ignore, "aux_weight": aux_weight, "ohem": ohem, "dice": dice}
        self.weights, self.ccl, attended = class_weight, ccl, []
        self.attended = attended.pop  # not the Var itself: an attribute would become a parameter

        def keep(output):
            attended[:] = [output]

        if ccl:
            self.consistency = CategoryConsistentLoss(model.head.cca.value_conv.out_channels, num_classes)
            model.head.cca.register_forward_hook(lambda module, inputs, output: keep(output))

    def execute(self, logits, labels, totals=(None, None)):
        weights = {"class_weight": self.class_weight(), "total": totals[0], "images": totals[1]}
        losses = segmentation_losses(logits, labels, **weights, **self.options)
        if self.ccl:
            losses["ccl"] = self.consistency(self.attended(), labels, self.options["ignore"])["ccl"]
            losses["loss"] = losses["loss"] + self.ccl * losses["ccl"]
        return losses

    def class_weight(self):
        return None if self.weights is None else jt.array(self.weights).float32()

    def totals(self, labels):
        """What the losses of these labels divide by: the sum of weights, and the number of labelled images."""
        ignore = self.options["ignore"]
        return pixel_weights(labels, ignore, self.class_weight()).sum(), labelled_images(labels, ignore)
