"""Soft Dice loss of each image, over the classes that occur in its label; `dice_loss` is the weight of --dice.

Dice of a class c in an image: 2 sum(p_c y_c) / (sum(p_c) + sum(y_c)) over the pixels that are not ignored, p the
softmax and y 1 where the label is c. The loss of an image is 1 minus the mean over the classes in its label. It is per
image and not over the batch, so that it is a mean over images: the ranks and the pieces of an accumulated batch add
up to the loss of one process. It uses all valid pixels, also with OHEM, and no class weights: classes count the same.
"""

import jittor as jt


def parts(logits, labels, ignore):
    """-> softmax, 1 where the label is the class, 1 where not ignored: (B, K, H, W) float32 each."""
    shape = logits.shape
    valid = (labels != ignore).float32().unsqueeze(1).broadcast(shape)
    member = (jt.index(shape, dim=1) == labels.unsqueeze(1).broadcast(shape)).float32() * valid
    x = logits - logits.max(1, keepdims=True).stop_grad()
    return (x - x.exp().sum(1, keepdims=True).log().broadcast(shape)).exp(), member, valid


def pixel_sum(x):
    """(B, K, H, W) -> (B, K), in two sums: less rounding error."""
    return x.sum(3).sum(2)


def image_losses(inside, predicted, count):
    """Sums of p y, p and y, (B, K) each -> the loss of each image (B,); 0 where no pixel has a label."""
    present = (count > 0).float32()
    dice = 2 * inside / (predicted + count).maximum(1e-6) * present
    classes = present.sum(1)
    return (classes > 0).float32() - dice.sum(1) / classes.maximum(1.0)


def plain(logits, labels, ignore=255):
    """The definition: the loss of each image, (B,). logits (B, K, H, W) float32, labels (B, H, W) int32."""
    probability, member, valid = parts(logits, labels, ignore)
    return image_losses(pixel_sum(probability * member), pixel_sum(probability * valid), pixel_sum(member))


class Lean(jt.Function):
    """`plain` in less memory: for the backward pass only the logits and three sums a class are kept, and the softmax is
    computed again. The operations on (B, K, H, W) are fused with the sums that follow them."""

    def __init__(self, ignore=255):
        super().__init__()
        self.ignore = ignore

    def execute(self, logits, labels):
        probability, member, valid = parts(logits, labels, self.ignore)
        self.inputs = logits, labels
        self.sums = pixel_sum(probability * member), pixel_sum(probability * valid), pixel_sum(member)
        return image_losses(*self.sums)

    def grad(self, g):
        logits, labels = self.inputs
        inside, predicted, count = self.sums
        present, union = (count > 0).float32(), (predicted + count).maximum(1e-6)
        scale = (g / present.sum(1).maximum(1.0)).unsqueeze(1) * present / union  # (B, K)
        at_label, elsewhere = (
            x.unsqueeze(2).unsqueeze(3).broadcast(logits.shape) for x in (-2 * scale, 2 * scale * inside / union)
        )
        probability, member, valid = parts(logits, labels, self.ignore)
        slope = at_label * member + elsewhere * valid  # of the loss by the probability
        mean = (slope * probability).sum(1, keepdims=True).broadcast(logits.shape)
        return probability * (slope - mean), None


def lean(logits, labels, ignore=255):
    return Lean(ignore)(logits, labels)


def labelled_images(labels, ignore=255):
    """The number of images with a pixel that is not ignored, a float32 Var: what `dice_loss` divides by."""
    return ((labels != ignore).int32().sum(2).sum(1) > 0).float32().sum()


def dice_loss(logits, labels, ignore=255, total=None, losses=lean):
    """The mean over the images with a labelled pixel of this batch. `total`: the number of images to divide by
    (default: that of this batch). Under MPI the caller averages `total` over ranks, as the gradients are."""
    total = labelled_images(labels, ignore) if total is None else total
    return losses(logits.float32(), labels, ignore).sum() / total.maximum(1e-6).stop_grad()
