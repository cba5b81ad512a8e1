"""A network that sees little: two convolutions and the head of CCNet, to show what the attention adds.

Without attention (R = 0) a pixel of the logits depends on the image up to FIELD pixels away and on nothing beyond:
reach 1 of the first convolution, 2 of the second at stride 2, and 4 of each of the three of the head at stride 4. Each
pass of criss-cross attention lifts the limit along one axis. Resizing the logits, with align_corners and image sides of
4n + 1, adds up to 3 pixels.
"""

from jittor import nn

from models.ccnet import RCCAHead, auxiliary_head, checked
from models.layers.batch_norm import BatchNorm
from models.layers.conv import Conv2d
from models.layers.non_local import NonLocal

FIELD = 1 + 2 + 3 * 4


class Stage(nn.Module):
    folds = (("conv", "bn"),)

    def __init__(self, in_channels, channels):
        self.conv = Conv2d(in_channels, channels, 3, 2, padding=1, bias=False)
        self.bn = BatchNorm(channels)

    def execute(self, x):
        return self.bn(self.conv(x), activation="relu")


class ShallowCCNet(nn.Module):
    """`model(x)` -> [logits] at stride 4, in training or with `aux_always` [logits, auxiliary logits].

    `attention`: "criss_cross", or "non_local", for comparison: one module in its place in which each pixel attends to
    all pixels.
    """

    def __init__(
        self,
        num_classes=4,
        recurrence=2,
        attention="criss_cross",
        cca_backend="auto",
        aux_always=False,
        align_corners=True,
        in_channels=3,
        channels=64,
    ):
        if attention not in ("criss_cross", "non_local"):
            raise ValueError(f"attention is {attention!r}; choose criss_cross or non_local")
        self.down1, self.down2 = Stage(in_channels, channels // 2), Stage(channels // 2, channels)
        self.head = RCCAHead(channels, channels, checked(num_classes), recurrence, cca_backend, "leaky_relu")
        if attention == "non_local":
            self.head.cca = NonLocal(channels, recurrence)
        self.dsn = auxiliary_head(channels, channels // 4, num_classes, "leaky_relu")
        self.aux_always, self.align_corners = aux_always, align_corners
        self.train()

    def execute(self, x):
        x = self.down2(self.down1(x))  # (B, 64, H/4, W/4)
        logits = [self.head(x)]
        if self.is_training() or self.aux_always:
            logits.append(self.dsn(x))
        return logits
