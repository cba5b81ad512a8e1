"""CCNet: a dilated backbone, the recurrent criss-cross attention head, and an auxiliary head on stage 3.

Attribute names are the state-dict keys of the official checkpoint (head.conva.0.weight, head.cca.gamma, ...).
"""

import jittor as jt
from jittor import nn

from models.batch_norm import BatchNorm
from models.cca import RCCA
from models.noise import Dropout2d
from models.resnet import ResNet


class BatchNormAct(BatchNorm):
    """BatchNorm followed by leaky ReLU 0.01: one entry in a Sequential, as the official in-place ABN."""

    def execute(self, x):
        return nn.leaky_relu(super().execute(x), 0.01)


def conv_bn_act(in_channels, channels, bias=False):
    return nn.Conv2d(in_channels, channels, 3, padding=1, bias=bias), BatchNormAct(channels)


class RCCAHead(nn.Module):
    """(B, C, h, w) -> logits (B, K, h, w); `recurrence` passes through one shared attention module."""

    def __init__(self, in_channels, channels, num_classes, recurrence, backend="auto"):
        self.conva = nn.Sequential(*conv_bn_act(in_channels, channels))
        self.cca = RCCA(channels, recurrence, backend)
        self.convb = nn.Sequential(*conv_bn_act(channels, channels))
        self.bottleneck = nn.Sequential(
            *conv_bn_act(in_channels + channels, channels),
            Dropout2d(0.1),
            nn.Conv2d(channels, num_classes, 1),
        )

    def execute(self, x):
        y = self.convb(self.cca(self.conva(x)))  # (B, channels, h, w)
        return self.bottleneck(jt.concat([x, y], dim=1))


class CCNet(ResNet):
    """`model(x)` -> [main logits] at stride 8, and the auxiliary logits behind them when training.

    Nothing is up-sampled here: the loss and the evaluation bring logits to the size of the labels, align_corners=True.
    The backbone is inherited, not held, because the official keys have no prefix for it.
    """

    def __init__(self, num_classes=19, recurrence=2, depth=18, cca_backend="auto", aux_always=False):
        if num_classes < 2:
            raise ValueError(f"num_classes is {num_classes}; segmentation needs at least 2")
        super().__init__(depth)
        aux_channels, channels = self.channels
        self.head = RCCAHead(channels, channels // 4, num_classes, recurrence, cca_backend)
        self.dsn = nn.Sequential(
            *conv_bn_act(aux_channels, aux_channels // 2, bias=True),
            Dropout2d(0.1),
            nn.Conv2d(aux_channels // 2, num_classes, 1),
        )
        self.aux_always = aux_always
        self.train()  # Jittor's dropout starts switched off

    def execute(self, x):
        x3, x4 = self.features(x)
        logits = [self.head(x4)]
        if self.is_training() or self.aux_always:
            logits.append(self.dsn(x3))
        return logits
