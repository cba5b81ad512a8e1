"""The attention as layers, with the attribute names of the released checkpoints."""

import jittor as jt
from jittor import nn

from .functional import criss_cross_attention


class CrissCrossAttention(nn.Module):
    """(B, C, H, W) -> gamma * attention + x. gamma is initialised to 0, so a new module is the identity.

    Volumes (B, C, T, H, W), such as clips, have the same weights: the convolutions are 1x1, and only the attention runs
    over the third axis.
    """

    def __init__(self, in_dim, backend="auto"):
        if in_dim < 8:
            raise ValueError(f"in_dim is {in_dim}; queries and keys have in_dim // 8 channels, so it must be 8 or more")
        self.query_conv = nn.Conv2d(in_dim, in_dim // 8, 1)
        self.key_conv = nn.Conv2d(in_dim, in_dim // 8, 1)
        self.value_conv = nn.Conv2d(in_dim, in_dim, 1)
        self.gamma = jt.zeros(1)
        self.backend = backend

    def check(self, x):
        """Raises a ValueError that names the module and the expected shape; Jittor's own assertion would not."""
        channels, shape = self.value_conv.in_channels, tuple(x.shape)
        name = type(self).__name__
        if len(shape) not in (4, 5):
            raise ValueError(
                f"{name}: the input is {shape}; expected (B, C, H, W) or (B, C, T, H, W) with C = {channels}"
            )
        if shape[1] != channels:
            rebuild = f"build {name}({shape[1]}), or " if shape[1] >= 8 else ""
            raise ValueError(
                f"{name}({channels}) takes {channels} channels, the input {shape} has {shape[1]}: "
                f"{rebuild}bring the input to {channels} channels with a 1x1 convolution"
            )
        if "float" not in str(x.dtype):
            raise ValueError(f"{name}: the input is {x.dtype}; expected a floating dtype: x.float32() converts")

    def execute(self, x):
        self.check(x)
        q, k, v = (pointwise(conv, x) for conv in (self.query_conv, self.key_conv, self.value_conv))
        out = criss_cross_attention(q, k, v, self.backend)
        return self.gamma * out + x


def pointwise(conv, x):
    """A 1x1 convolution of (B, C, H, W) or (B, C, T, H, W)."""
    if len(x.shape) == 4:
        return conv(x)
    batch, channels, frames, height, width = x.shape
    y = conv(x.reshape((batch, channels, frames * height, width)))
    return y.reshape((batch, -1, frames, height, width))


class RCCA(CrissCrossAttention):
    """Recurrent criss-cross attention: one module applied `recurrence` times. Two passes connect all pixels."""

    def __init__(self, in_dim, recurrence=2, backend="auto"):
        if recurrence < 0:
            raise ValueError(f"recurrence is {recurrence}; it counts passes and starts at 0 (no attention)")
        super().__init__(in_dim, backend)
        self.recurrence = recurrence

    def execute(self, x):
        for _ in range(self.recurrence):
            x = super().execute(x)
        return x
