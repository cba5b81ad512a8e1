"""Losses on logits at the network's own stride. `segmentation_loss` gives named losses, the total among them."""

import jittor as jt
from jittor import nn


def upsample(logits, size):
    """Bilinear with align_corners=True, as the official loss and evaluation do."""
    if tuple(logits.shape[2:]) == tuple(size):
        return logits
    return nn.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=True)


def cross_entropy(logits, label, ignore=255):
    """Mean over the valid pixels of all ranks. logits (B, K, H, W), label (B, H, W) int32. No valid pixel gives 0.

    Gradients are averaged over ranks later, so each rank divides by the mean number of valid pixels: together that is
    the mean over the global batch, however unevenly the void pixels fall.
    """
    valid = label != ignore
    loss = nn.cross_entropy_loss(logits, label, ignore_index=ignore, reduction="sum")
    count = valid.float32().sum()
    if jt.in_mpi:
        count = count.mpi_all_reduce("mean")
    return loss / count.maximum(1e-6).stop_grad()


def segmentation_loss(logits, label, ignore=255, aux_weight=0.4):
    """logits: [main, auxiliary], label (B, H, W) -> {"loss": total, "main": .., "aux": ..}."""
    size = label.shape[1:]
    losses = {"main": cross_entropy(upsample(logits[0], size), label, ignore)}
    losses["loss"] = losses["main"]
    if len(logits) > 1:
        losses["aux"] = cross_entropy(upsample(logits[1], size), label, ignore)
        losses["loss"] = losses["main"] + aux_weight * losses["aux"]
    return losses
