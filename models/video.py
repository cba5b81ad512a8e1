"""Clips of frames: CCNet3D of the TPAMI paper, with the weights of the network for single images.

`use_clips(model, T)`: from then on `model(x)` takes clips (B, T * C, H, W), the frames in time order, stacked along the
channels. Backbone and `conva` see each frame alone, the attention runs over the volume (T, h, w) of their features, and
the rest of the head sees the labelled frame, the middle one: the logits are (B, K, h, w). Convolutions inside the
attention are 1x1 and have no extent in time, so state-dict keys and shapes are those of the network for images, and one
frame gives its logits.
"""

from models.ports import WholeSoftmaxRCCA


def use_clips(model, frames):
    """Make a network that was built for images take clips of `frames` frames; -> the network."""
    if frames < 1 or frames % 2 == 0:
        raise ValueError(f"frames is {frames}; expected an odd number: the labelled frame is the middle one")
    if frames > 1 and not hasattr(model, "frames"):
        raise ValueError(f"--frames {frames}: this network takes single images. Fix: another --model, or --frames 1")
    if frames > 1 and isinstance(model.head.cca, WholeSoftmaxRCCA):
        raise ValueError(
            f"--frames {frames}: the weights are of a Jittor port whose softmax runs over the whole image, which has "
            "no form for clips. Fix: other weights, or --frames 1"
        )
    if hasattr(model, "frames"):
        model.frames = frames
    return model


def split(x, frames):
    """(B, T * C, H, W) -> (B * T, C, H, W)."""
    if frames == 1:
        return x
    batch, channels, height, width = x.shape
    if channels % frames:
        raise ValueError(
            f"the input is {tuple(x.shape)}; expected (B, {frames} * C, H, W): clips of {frames} frames, stacked along "
            "the channels"
        )
    return x.reshape((batch * frames, channels // frames, height, width))


def clips(x, frames):
    """(B * T, ..) -> (B, T, ..)."""
    return x.reshape((-1, frames, *x.shape[1:]))


def labelled(x, frames):
    """(B * T, ..) -> (B, ..), the middle frame of each clip."""
    return x if frames == 1 else clips(x, frames)[:, frames // 2]


def attend(cca, x, frames):
    """The attention layer over volumes: (B * T, C, h, w) -> (B, C, h, w) of the labelled frame."""
    if frames == 1:
        return cca(x)
    volume = clips(x, frames).transpose((0, 2, 1, 3, 4))  # (B, C, T, h, w)
    return cca(volume)[:, :, frames // 2]
