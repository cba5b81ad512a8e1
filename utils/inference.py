"""From a network to a label map. Logits are brought to the size of the label before argmax, align_corners=True."""

import jittor as jt
from jittor import nn


def predict(model, images, size):
    """images (B, 3, H, W) numpy, normalised -> class of each pixel (B, *size) uint8. The model is in eval mode."""
    with jt.no_grad():
        logits = model(jt.array(images))[0]  # (B, K, h, w)
        logits = nn.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=True)
        best, _ = jt.argmax(logits, dim=1)  # (B, H, W)
        return best.numpy().astype("uint8")
