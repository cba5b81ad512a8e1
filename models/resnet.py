"""Dilated ResNet-18/50/101, output stride 8. Attribute names are the state-dict keys of the official checkpoint.

`stem`: `deep` (official CCNet), `v1c` (mmsegmentation) or `v1` (torchvision), see RESNET_STEMS in models/tables.py.
Stages 3 and 4 have stride 1 and dilation 2 and 4. With `contract_dilation` (mmsegmentation) the first block of each
has the dilation of the stage before. Some ports have other `blocks` and `dilations`. With `ceil_pool` (official) the
pooling rounds sizes up, otherwise (mmsegmentation) down: an image side of 512 becomes 65 or 64 at stride 8.
"""

from jittor import nn

from models.layers.batch_norm import BatchNorm
from models.layers.conv import Conv2d
from models.tables import RESNET_BLOCKS, RESNET_STEMS


def conv3x3(in_planes, planes, stride=1, dilation=1):
    return Conv2d(in_planes, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)


def conv1x1(in_planes, planes, stride=1):
    return Conv2d(in_planes, planes, 1, stride, bias=False)


class BasicBlock(nn.Module):
    expansion = 1
    folds = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(self, inplanes, planes, stride=1, dilation=1, downsample=None):
        self.conv1, self.bn1 = conv3x3(inplanes, planes, stride, dilation), BatchNorm(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes, 1, dilation), BatchNorm(planes)
        self.downsample = downsample

    def execute(self, x):
        y = self.bn1(self.conv1(x), activation="relu")
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.bn2(self.conv2(y), residual=shortcut, activation="relu")


class Bottleneck(nn.Module):
    expansion = 4
    folds = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(self, inplanes, planes, stride=1, dilation=1, downsample=None):
        self.conv1, self.bn1 = conv1x1(inplanes, planes), BatchNorm(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes, stride, dilation), BatchNorm(planes)  # the stride is here
        self.conv3, self.bn3 = conv1x1(planes, 4 * planes), BatchNorm(4 * planes)
        self.downsample = downsample

    def execute(self, x):
        y = self.bn1(self.conv1(x), activation="relu")
        y = self.bn2(self.conv2(y), activation="relu")
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.bn3(self.conv3(y), residual=shortcut, activation="relu")


class ResNet(nn.Module):
    """`features(x)` -> stage 3 (B, 256e, H/8, W/8) and stage 4 (B, 512e, H/8, W/8), where e = block.expansion."""

    folds = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))  # pairs that fold() merges

    def __init__(
        self,
        depth=101,
        stem="deep",
        contract_dilation=False,
        ceil_pool=True,
        blocks=None,  # in each stage; None: those of `depth`
        dilations=(2, 4),  # of stages 3 and 4
        in_channels=3,
    ):
        for value, known, name in ((depth, RESNET_BLOCKS, "depth"), (stem, RESNET_STEMS, "stem")):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; choose from {', '.join(map(str, known))}")
        block, counts = BasicBlock if depth == 18 else Bottleneck, blocks or RESNET_BLOCKS[depth]
        planes = RESNET_STEMS[stem]
        if stem == "v1":
            self.conv1 = Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
            self.bn1 = BatchNorm(64)
        else:
            self.conv1, self.bn1 = conv3x3(in_channels, planes[0], stride=2), BatchNorm(planes[0])
            self.conv2, self.bn2 = conv3x3(planes[0], planes[1]), BatchNorm(planes[1])
            self.conv3, self.bn3 = conv3x3(planes[1], planes[2]), BatchNorm(planes[2])
        self.stem = stem
        self.inplanes = planes[-1]
        self.maxpool = nn.Pool(3, stride=2, padding=1, ceil_mode=ceil_pool, op="maximum")
        third, fourth = dilations
        first = (1, third) if contract_dilation else (third, fourth)  # dilation of the first block of stages 3 and 4
        self.layer1 = self._stage(block, 64, counts[0])
        self.layer2 = self._stage(block, 128, counts[1], stride=2)
        self.layer3 = self._stage(block, 256, counts[2], dilation=third, first=first[0])
        self.layer4 = self._stage(block, 512, counts[3], dilation=fourth, first=first[1])
        self.channels = (256 * block.expansion, 512 * block.expansion)

    def _stage(self, block, planes, count, stride=1, dilation=1, first=1):
        out = planes * block.expansion
        downsample = None
        if stride != 1 or self.inplanes != out:
            downsample = nn.Sequential(conv1x1(self.inplanes, out, stride), BatchNorm(out))
        blocks = [block(self.inplanes, planes, stride, first, downsample)]
        blocks += [block(out, planes, dilation=dilation) for _ in range(count - 1)]
        self.inplanes = out
        return nn.Sequential(*blocks)

    def pool(self, x):
        """Max pooling for feature maps of any size.

        Jittor's pooling fails on sides of 3 and less. Padding with zeros helps and is exact, since x comes from a ReLU.
        """
        h, w = x.shape[2:]
        if min(h, w) > 3:
            return self.maxpool(x)
        oh, ow = ((side if self.maxpool.ceil_mode else side - 1) // 2 + 1 for side in (h, w))
        oh, ow = (1 if side == 1 else out for side, out in ((h, oh), (w, ow)))
        return self.maxpool(nn.pad(x, [0, max(0, 4 - w), 0, max(0, 4 - h)]))[:, :, :oh, :ow]

    def features(self, x):
        x = self.bn1(self.conv1(x), activation="relu")  # (B, 64, H/2, W/2)
        if self.stem != "v1":
            x = self.bn2(self.conv2(x), activation="relu")
            x = self.bn3(self.conv3(x), activation="relu")  # (B, 128, H/2, W/2); 64 channels with v1c
        x = self.layer1(self.pool(x))  # (B, 64e, H/4, W/4)
        x3 = self.layer3(self.layer2(x))  # (B, 256e, H/8, W/8)
        return x3, self.layer4(x3)
