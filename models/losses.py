"""Losses on logits at the stride of the network. `segmentation_losses` returns a dict of losses, "loss" is the total.

Under mpirun every mean is taken over the global batch (the batches of all ranks). Gradients are averaged over ranks
afterwards, so each rank divides the sum over its pixels by the *mean* weight per rank. The result is the mean over the
global batch even if ignored pixels are distributed unevenly: N ranks train as one process does.
"""

import jittor as jt
import numpy as np
from jittor import nn

from models.dice import dice_loss, labelled_images
from models.layers.pixel_loss import coarse_probabilities, pixel_loss
from models.layers.resize import resize


def mean_over_ranks(x):
    return x.mpi_all_reduce("mean") if jt.in_mpi else x


def sum_over_ranks(x):
    return x.mpi_all_reduce("add") if jt.in_mpi else x


def pixel_weights(labels, ignore=255, class_weight=None):
    """The weight of each pixel in the mean, float32, shape of `labels`: 0 if ignored, else 1 or its class weight."""
    weight = (labels != ignore).float32()
    if class_weight is None:
        return weight
    return weight * class_weight[labels.maximum(0).minimum(class_weight.shape[0] - 1)]


def cross_entropy(logits, labels, ignore=255, class_weight=None, total=None, align_corners=True):
    """Weighted mean over the valid pixels of all ranks; 0 without valid pixels. logits (B, K, h, w), labels (B, H, W).

    `total`: the sum of weights to divide by (default: that of this batch), for gradient accumulation.
    """
    loss, _ = pixel_loss(logits, labels, align_corners)
    return weighted_mean(loss, labels, ignore, class_weight, total)


def weighted_mean(loss, labels, ignore, class_weight=None, total=None):
    weight = pixel_weights(labels, ignore, class_weight)
    total = mean_over_ranks(weight.sum() if total is None else total)
    rows = (loss * weight).sum(-1)  # (B, H); two sums: less rounding error
    return rows.sum() / total.maximum(1e-6).stop_grad()


def ohem_label(logits, labels, ignore=255, thresh=0.7, min_kept=100000, factor=8, align_corners=True, computed=None):
    """Online hard example mining: the labels with all easy pixels set to `ignore`, as in the official code.

    A valid pixel is kept if the probability of its label is <= threshold. The threshold is the (min_kept / factor^2)-th
    smallest probability on a grid `factor` times coarser, at least `thresh`; 1 if the grid has fewer valid points.
    Everything stays on the device and has no gradient. All ranks use one threshold: `min_kept` refers to the global
    batch. `computed`: the result of pixel_loss(logits, labels, align_corners), where it is known already.
    """
    logits, wanted = logits.detach(), min_kept // factor**2
    loss, log_sum = (v.detach() for v in computed or pixel_loss(logits, labels, align_corners))
    probability = (-loss).exp().minimum(1.0).stop_fuse()  # rounding can bring it just above 1
    threshold = jt.array([float(thresh)])
    if wanted > 0:
        points = coarse_probabilities(logits, labels, log_sum, probability, ignore, factor, align_corners)
        if jt.in_mpi:  # a gather: the sum of matrices in which each rank fills its row
            row = (jt.index((jt.world_size, points.shape[0]), dim=0) == jt.rank).float32()
            points = sum_over_ranks(row * points.broadcast(row.shape, dims=[0])).reshape((-1,))
        _, points = jt.argsort(points)
        few = (points < 1.5).sum() <= wanted  # ignored points have the value 2
        last = min(wanted, points.shape[0]) - 1
        threshold = jt.ternary(few, jt.ones(1), threshold.maximum(points[last : last + 1]))
    keep = (labels != ignore) & (probability <= threshold.broadcast(probability.shape))
    return jt.ternary(keep, labels, jt.full_like(labels, ignore)).stop_grad()


def segmentation_losses(
    logits,
    labels,
    ignore=255,
    aux_weight=0.4,
    ohem=None,
    class_weight=None,
    total=None,
    align_corners=True,
    dice=0.0,
    images=None,
):
    """logits [main, auxiliary], labels (B, H, W) int32 -> {"loss": main + aux_weight * aux, "main": .., "aux": ..}.

    `ohem`: options of `ohem_label` for the main loss, {"thresh": .., "min_kept": ..}; the auxiliary loss uses all
    valid pixels. `align_corners`: how logits are resized to the labels. `dice`: weight of the soft Dice loss of the
    main logits (dice.py), "dice"; `images`: the number of images that it divides by, as `total` is the sum of weights.
    """
    computed, main_labels, main_total = pixel_loss(logits[0], labels, align_corners), labels, total
    if ohem is not None:
        main_labels = ohem_label(logits[0], labels, ignore, align_corners=align_corners, computed=computed, **ohem)
        main_total = None
    losses = {"main": weighted_mean(computed[0], main_labels, ignore, class_weight, main_total)}
    losses["loss"] = losses["main"]
    if len(logits) > 1:
        losses["aux"] = cross_entropy(logits[1], labels, ignore, class_weight, total, align_corners)
        losses["loss"] = losses["main"] + aux_weight * losses["aux"]
    if dice:
        images = mean_over_ranks(labelled_images(labels, ignore) if images is None else images)
        losses["dice"] = dice_loss(resize(logits[0], labels.shape[1:], align_corners), labels, ignore, images)
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
        self.options["align_corners"] = getattr(model, "align_corners", True)
        self.weights, self.ccl, attended = class_weight, ccl, []
        self.attended = attended.pop  # not the Var itself: an attribute would become a parameter

        def keep(output):
            attended[:] = [output]

        if ccl:
            self.consistency = CategoryConsistentLoss(model.head.cca.value_conv.out_channels, num_classes)
            model.head.listener = keep

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
