"""The same network in eager PyTorch, under the same names: to measure against and to test against; no run needs it."""

import torch
import torch.nn.functional as F
from torch import nn


def criss_cross_attention(q, k, v):
    """Lines as batched matrix products: (B W, H, C) for the columns, (B H, W, C) for the rows; contiguous as v is."""
    b, _, h, w = v.shape
    columns = [x.permute(0, 3, 2, 1).reshape(b * w, h, -1) for x in (q, k, v)]
    rows = [x.permute(0, 2, 3, 1).reshape(b * h, w, -1) for x in (q, k, v)]
    e_column = torch.bmm(columns[0], columns[1].transpose(1, 2)).view(b, w, h, h)
    itself = torch.eye(h, dtype=torch.bool, device=v.device)
    e_column = e_column.masked_fill(itself, float("-inf")).permute(0, 2, 1, 3)
    e_row = torch.bmm(rows[0], rows[1].transpose(1, 2)).view(b, h, w, w)
    weights = torch.softmax(torch.cat([e_column, e_row], 3), dim=3).to(v.dtype)  # (B, H, W, H + W)
    a_column = weights[..., :h].permute(0, 2, 1, 3).reshape(b * w, h, h)
    a_row = weights[..., h:].reshape(b * h, w, w)
    out_column = torch.bmm(a_column, columns[2]).view(b, w, h, -1).permute(0, 3, 2, 1)
    return (out_column + torch.bmm(a_row, rows[2]).view(b, h, w, -1).permute(0, 3, 1, 2)).contiguous()


def non_local(q, k, v):
    flat = [x.flatten(2).transpose(1, 2).unsqueeze(1) for x in (q, k, v)]  # (B, 1, HW, C)
    out = F.scaled_dot_product_attention(*flat, scale=1.0)
    return out.squeeze(1).transpose(1, 2).reshape(v.shape).contiguous()


class RCCA(nn.Module):
    def __init__(self, channels, recurrence=2, attention=criss_cross_attention):
        super().__init__()
        self.query_conv = nn.Conv2d(channels, channels // 8, 1)
        self.key_conv = nn.Conv2d(channels, channels // 8, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.recurrence, self.attention = recurrence, attention

    def forward(self, x):
        for _ in range(self.recurrence):
            x = self.gamma * self.attention(self.query_conv(x), self.key_conv(x), self.value_conv(x)) + x
        return x


def NonLocal(channels):
    return RCCA(channels, 1, non_local)


class Bottleneck(nn.Module):
    def __init__(self, inplanes, planes, stride, dilation, downsample):
        super().__init__()
        out = 4 * planes
        self.conv1, self.bn1 = nn.Conv2d(inplanes, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, out, 1, bias=False), nn.BatchNorm2d(out)
        if downsample:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class BatchNormAct(nn.BatchNorm2d):
    def forward(self, x):
        return F.leaky_relu(super().forward(x), 0.01)


def conv_bn_act(in_channels, channels, bias=False):
    return nn.Conv2d(in_channels, channels, 3, padding=1, bias=bias), BatchNormAct(channels)


class Head(nn.Module):
    def __init__(self, in_channels, channels, num_classes, recurrence):
        super().__init__()
        self.conva = nn.Sequential(*conv_bn_act(in_channels, channels))
        self.cca = RCCA(channels, recurrence)
        self.convb = nn.Sequential(*conv_bn_act(channels, channels))
        self.bottleneck = nn.Sequential(
            *conv_bn_act(in_channels + channels, channels), nn.Dropout2d(0.1), nn.Conv2d(channels, num_classes, 1)
        )

    def forward(self, x):
        return self.bottleneck(torch.cat([x, self.convb(self.cca(self.conva(x)))], 1))


class CCNet(nn.Module):
    """The official network: deep stem, ResNet-50 or -101, dilation 2 and 4, heads; -> [main, auxiliary] logits."""

    def __init__(self, num_classes=19, recurrence=2, depth=101):
        super().__init__()
        planes = (3, 64, 64, 128)
        for n in (1, 2, 3):
            conv = nn.Conv2d(planes[n - 1], planes[n], 3, 2 if n == 1 else 1, padding=1, bias=False)
            self.add_module(f"conv{n}", conv)
            self.add_module(f"bn{n}", nn.BatchNorm2d(planes[n]))
        self.maxpool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        inplanes = 128
        stages = zip((64, 128, 256, 512), {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth], (1, 2, 1, 1), (1, 1, 2, 4))
        for n, (width, count, stride, dilation) in enumerate(stages, 1):
            blocks = []
            for i in range(count):
                blocks.append(Bottleneck(inplanes, width, stride if i == 0 else 1, dilation, i == 0))
                inplanes = 4 * width
            self.add_module(f"layer{n}", nn.Sequential(*blocks))
        self.head = Head(2048, 512, num_classes, recurrence)
        self.dsn = nn.Sequential(*conv_bn_act(1024, 512, bias=True), nn.Dropout2d(0.1), nn.Conv2d(512, num_classes, 1))

    def forward(self, x):
        for n in (1, 2, 3):
            x = F.relu(getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(x)))
        x = self.layer1(self.maxpool(x))
        x3 = self.layer3(self.layer2(x))
        return [self.head(self.layer4(x3)), self.dsn(x3)]


def segmentation_loss(logits, label, ignore=255, aux_weight=0.4):
    losses = [
        F.cross_entropy(
            F.interpolate(x.float(), label.shape[1:], mode="bilinear", align_corners=True), label, ignore_index=ignore
        )
        for x in logits
    ]
    return losses[0] + aux_weight * losses[1]
