"""Dilated ResNet with the deep stem of CCNet: three 3x3 convolutions, then four stages; output stride 8.

Attribute names are the state-dict keys of the official checkpoint. Input (B, 3, H, W); the pooling rounds up, so that
sides go H -> ceil(H/2) -> ... as 97 -> 49 -> 25 -> 13.
"""

from jittor import nn

from models.batch_norm import BatchNorm


def conv3x3(in_planes, planes, stride=1, dilation=1):
    return nn.Conv2d(in_planes, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inplanes, planes, stride=1, dilation=1, downsample=None):
        self.conv1 = conv3x3(inplanes, planes, stride, dilation)
        self.bn1 = BatchNorm(planes)
        self.conv2 = conv3x3(planes, planes, 1, dilation)
        self.bn2 = BatchNorm(planes)
        self.downsample = downsample

    def execute(self, x):
        y = nn.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return nn.relu(y + (x if self.downsample is None else self.downsample(x)))


BLOCKS = {18: (BasicBlock, (2, 2, 2, 2))}  # depth -> block, number of blocks in each stage


class ResNet(nn.Module):
    """`features(x)` -> stage 3 (B, 256e, H/8, W/8) and stage 4 (B, 512e, H/8, W/8), e being the block's expansion."""

    def __init__(self, depth=18):
        block, counts = BLOCKS[depth]
        self.inplanes = 128
        self.conv1, self.bn1 = conv3x3(3, 64, stride=2), BatchNorm(64)
        self.conv2, self.bn2 = conv3x3(64, 64), BatchNorm(64)
        self.conv3, self.bn3 = conv3x3(64, 128), BatchNorm(128)
        self.maxpool = nn.Pool(3, stride=2, padding=1, ceil_mode=True, op="maximum")
        self.layer1 = self._stage(block, 64, counts[0])
        self.layer2 = self._stage(block, 128, counts[1], stride=2)
        self.layer3 = self._stage(block, 256, counts[2], dilation=2)  # dilation instead of stride, in every block
        self.layer4 = self._stage(block, 512, counts[3], dilation=4)
        self.channels = (256 * block.expansion, 512 * block.expansion)

    def _stage(self, block, planes, count, stride=1, dilation=1):
        out = planes * block.expansion
        downsample = None
        if stride != 1 or self.inplanes != out:
            downsample = nn.Sequential(nn.Conv2d(self.inplanes, out, 1, stride, bias=False), BatchNorm(out))
        blocks = [block(self.inplanes, planes, stride, dilation, downsample)]
        blocks += [block(out, planes, dilation=dilation) for _ in range(count - 1)]
        self.inplanes = out
        return nn.Sequential(*blocks)

    def features(self, x):
        x = nn.relu(self.bn1(self.conv1(x)))  # (B, 64, H/2, W/2)
        x = nn.relu(self.bn2(self.conv2(x)))
        x = nn.relu(self.bn3(self.conv3(x)))  # (B, 128, H/2, W/2)
        x = self.layer1(self.maxpool(x))  # (B, 64e, H/4, W/4)
        x3 = self.layer3(self.layer2(x))  # (B, 256e, H/8, W/8)
        return x3, self.layer4(x3)
