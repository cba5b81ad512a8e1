"""CCNet: a dilated backbone, the recurrent criss-cross attention head, and an auxiliary head on stage 3.

Attribute names are the state-dict keys of the official checkpoint (head.conva.0.weight, head.cca.gamma, ...).
"""

import jittor as jt
from jittor import nn

from models import bfloat16, bfloat16_van, video
from models.cca import RCCA
from models.layers import dropout, packed
from models.layers.batch_norm import BatchNorm, Folded, activate
from models.layers.conv import Conv2d, why_no_bfloat16
from models.layers.dropout import Dropout2d
from models.layers.resize import resize
from models.ports import WholeSoftmaxRCCA
from models.resnet import ResNet
from models.van import VAN


class Activation(nn.Module):
    def __init__(self, activation):
        self.activation = activation

    def execute(self, x):
        return activate(x, self.activation)


class BatchNormAct(BatchNorm):
    """BatchNorm and activation as one entry of a Sequential, like the in-place ABN of the official code."""

    def __init__(self, channels, activation):
        super().__init__(channels)
        self.activation = activation

    def execute(self, x):
        return super().execute(x, activation=self.activation)

    def folded(self):
        return Activation(self.activation)


def conv_bn_act(in_channels, channels, activation, kernel=3, bias=False):
    conv = Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=bias)
    return conv, BatchNormAct(channels, activation)


class RCCAHead(nn.Module):
    """(B, C, h, w) -> logits (B, K, h, w). The attention module is applied `recurrence` times with shared weights.

    `frames` > 1: (B * T, C, h, w) -> logits of the labelled frames, (B, K, h, w); see models/video.py.
    """

    def __init__(self, in_channels, channels, num_classes, recurrence, backend, activation, whole_softmax=False):
        self.conva = nn.Sequential(*conv_bn_act(in_channels, channels, activation))
        self.cca = (WholeSoftmaxRCCA if whole_softmax else RCCA)(channels, recurrence, backend)
        self.convb = nn.Sequential(*conv_bn_act(channels, channels, activation))
        self.bottleneck = nn.Sequential(
            *conv_bn_act(in_channels + channels, channels, activation),
            Dropout2d(0.1),
            Conv2d(channels, num_classes, 1),
        )
        self.listener = None  # called with the output of the attention; see Criterion in losses.py

    def execute(self, x, frames=1):
        y = video.attend(self.cca, self.conva(x), frames)  # (B, channels, h, w)
        if self.listener:
            self.listener(y)
        return self.bottleneck(jt.concat([video.labelled(x, frames), self.convb(y)], dim=1))


def auxiliary_head(in_channels, channels, num_classes, activation, bias=True):
    return nn.Sequential(
        *conv_bn_act(in_channels, channels, activation, bias=bias),
        Dropout2d(0.1),
        Conv2d(channels, num_classes, 1),
    )


def checked(num_classes):
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}; segmentation needs at least 2")
    return num_classes


class CCNet(ResNet):
    """`model(x)` -> [main logits] at stride 8; in training or with `aux_always` [main logits, auxiliary logits].

    The logits are not upsampled here: loss and evaluation resize them to the labels, bilinear, with the attribute
    `align_corners` (the official code: True; mmsegmentation: False except in its configs of crop 769). The backbone is
    a base class instead of an attribute because its official keys have no prefix. `blocks`, `dilations`, activation
    "none" and `whole_softmax` are those of released Jittor ports (utils/weights/published.py).
    """

    def __init__(
        self,
        num_classes=19,
        recurrence=2,
        depth=101,
        stem="deep",
        contract_dilation=False,
        ceil_pool=True,
        activation="leaky_relu",
        aux_channels=None,  # None: half the channels of stage 3, conv with bias (official)
        cca_backend="auto",
        aux_always=False,
        align_corners=True,
        blocks=None,  # None: those of `depth`
        dilations=(2, 4),
        whole_softmax=False,  # see models/ports.py
        in_channels=3,
    ):
        super().__init__(depth, stem, contract_dilation, ceil_pool, blocks, dilations, in_channels)
        x3, x4 = self.channels
        head = (checked(num_classes), recurrence, cca_backend, activation, whole_softmax)
        self.head = RCCAHead(x4, x4 // 4, *head)
        self.dsn = auxiliary_head(x3, aux_channels or x3 // 2, num_classes, activation, bias=aux_channels is None)
        self.aux_always, self.align_corners = aux_always, align_corners
        self.frames = 1  # see models/video.py
        self.packed = False  # see models/layers/packed.py
        self.bfloat16 = False  # see models/bfloat16.py
        self.train()

    def why_no_bfloat16(self):
        """Why use_bfloat16() cannot be called on this machine; "" if it can."""
        if isinstance(self.head.cca, WholeSoftmaxRCCA):
            return "the softmax over the whole image has no form in bfloat16"
        return why_no_bfloat16()

    def use_bfloat16(self):
        """Compute in bfloat16 on the CPU from now on; the weights do not change."""
        if isinstance(self.bn1, Folded):
            bfloat16.pack(self)
        self.bfloat16 = True

    def execute(self, x):
        if self.packed:
            return packed.run(self, x)
        if self.bfloat16:
            return bfloat16.run(self, x)
        x3, x4 = self.features(video.split(x, self.frames))
        logits = [self.head(x4, self.frames)]
        if self.is_training() or self.aux_always:
            logits.append(self.dsn(video.labelled(x3, self.frames)))
        return logits


class VANCCNet(VAN):
    """The same heads on a Visual Attention Network.

    `output_stride` 8, 16 or 32: the input of the head is stage 4 at that stride (see VAN). "multi": the strides of VAN
    stay 4, 8, 16, 32; stages 2 to 4 are resized to stride 8, concatenated and reduced by a 1x1 convolution. This costs
    a quarter of output stride 8.
    """

    def __init__(
        self,
        num_classes=19,
        recurrence=2,
        van_size="van_base",
        output_stride="multi",
        dilate=True,
        drop_path=None,  # None: the published value of this size
        cca_backend="auto",
        aux_always=False,
        align_corners=True,  # also of the maps that "multi" resizes
        in_channels=3,
    ):
        multi = output_stride == "multi"
        super().__init__(van_size, 32 if multi else output_stride, dilate, drop_path, in_channels=in_channels)
        dims = self.dims
        if multi:
            self.squeeze = nn.Sequential(*conv_bn_act(sum(dims[1:]), dims[3], "leaky_relu", kernel=1))
        self.multi = multi
        self.head = RCCAHead(dims[3], dims[3] // 2, checked(num_classes), recurrence, cca_backend, "leaky_relu")
        self.dsn = auxiliary_head(dims[2], dims[2] // 2, num_classes, "leaky_relu")
        self.aux_always, self.align_corners = aux_always, align_corners
        self.frames = 1  # see models/video.py
        self.bfloat16 = False  # see models/bfloat16_van.py
        self.train()

    def why_no_bfloat16(self):
        return why_no_bfloat16()

    def use_bfloat16(self):
        if isinstance(self.patch_embed1.norm, Folded):
            bfloat16.pack(self)
        self.bfloat16 = True

    def execute(self, x):
        if self.bfloat16:
            return bfloat16_van.run(self, x)
        with dropout.rows(self.frames):
            _, x2, x3, x4 = self.features(video.split(x, self.frames))
        if self.multi:
            size = tuple(x2.shape[2:])
            maps = [x2, *(resize(m, size, self.align_corners) for m in (x3, x4))]
            logits = [self.head(self.squeeze(jt.concat(maps, dim=1)), self.frames)]  # (B, K, H/8, W/8)
        else:
            logits = [self.head(x4, self.frames)]
        if self.is_training() or self.aux_always:
            logits.append(self.dsn(video.labelled(x3, self.frames)))
        return logits
