"""The same networks in PyTorch, for comparison only (benchmarks and tests).

Names and shapes are those of models/. It shares no code with them, so that each checks the other.
"""

import torch
import torch.nn.functional as F
from torch import nn

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def bn_act(channels):
    class BatchNormAct(nn.BatchNorm2d):
        def forward(self, x):
            return F.leaky_relu(super().forward(x), 0.01, inplace=True)

    return BatchNormAct(channels)


class Residual(nn.Module):
    def __init__(self, inplanes, planes, expansion, stride, dilation):
        super().__init__()
        out = planes * expansion
        kernels = (1, 3, 1) if expansion == 4 else (3, 3)
        for n, kernel in enumerate(kernels, 1):
            step = stride if kernel == 3 and n == len(kernels) - 1 else 1
            hole = dilation if kernel == 3 else 1
            before, after = inplanes if n == 1 else planes, out if n == len(kernels) else planes
            conv = nn.Conv2d(before, after, kernel, step, hole * (kernel // 2), hole, bias=False)
            setattr(self, f"conv{n}", conv)
            setattr(self, f"bn{n}", nn.BatchNorm2d(after))
        if stride != 1 or inplanes != out:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.count = len(kernels)

    def forward(self, x):
        y = x
        for n in range(1, self.count + 1):
            y = getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(y))
            y = F.relu(y, inplace=True) if n < self.count else y
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x), inplace=True)


def criss_cross(q, k, v):
    """Rows and columns as batched matrix products: (B W, H, C) for the columns, (B H, W, C) for the rows."""
    b, _, h, w = v.shape
    columns = [t.permute(0, 3, 2, 1).reshape(b * w, h, -1) for t in (q, k, v)]
    rows = [t.permute(0, 2, 3, 1).reshape(b * h, w, -1) for t in (q, k, v)]
    centre = torch.eye(h, dtype=torch.bool, device=v.device)
    e_column = torch.bmm(columns[0], columns[1].transpose(1, 2)).view(b, w, h, h)
    e_column = e_column.masked_fill(centre, float("-inf")).permute(0, 2, 1, 3)
    e_row = torch.bmm(rows[0], rows[1].transpose(1, 2)).view(b, h, w, w)
    weights = torch.softmax(torch.cat([e_column, e_row], 3), dim=3)  # (B, H, W, H + W)
    a_column = weights[..., :h].permute(0, 2, 1, 3).reshape(b * w, h, h)
    a_row = weights[..., h:].reshape(b * h, w, w)
    out = torch.bmm(a_column, columns[2]).view(b, w, h, -1).permute(0, 3, 2, 1)
    return out + torch.bmm(a_row, rows[2]).view(b, h, w, -1).permute(0, 3, 1, 2)


def non_local(q, k, v):
    """Every position attends to all positions."""
    flat = [x.flatten(2).transpose(1, 2).unsqueeze(1) for x in (q, k, v)]  # (B, 1, HW, C)
    out = F.scaled_dot_product_attention(*flat, scale=1.0)
    return out.squeeze(1).transpose(1, 2).reshape(v.shape)


class CrissCross(nn.Module):
    def __init__(self, channels, attention=criss_cross, passes=1):
        super().__init__()
        self.query_conv, self.key_conv = (nn.Conv2d(channels, channels // 8, 1) for _ in range(2))
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.attention, self.passes = attention, passes

    def forward(self, x):
        for _ in range(self.passes):
            x = self.gamma * self.attention(self.query_conv(x), self.key_conv(x), self.value_conv(x)) + x
        return x


class Head(nn.Module):
    def __init__(self, channels, inner, classes, recurrence):
        super().__init__()
        self.conva = nn.Sequential(nn.Conv2d(channels, inner, 3, padding=1, bias=False), bn_act(inner))
        self.cca = CrissCross(inner)
        self.convb = nn.Sequential(nn.Conv2d(inner, inner, 3, padding=1, bias=False), bn_act(inner))
        first = nn.Conv2d(channels + inner, inner, 3, padding=1, bias=False)
        self.bottleneck = nn.Sequential(first, bn_act(inner), nn.Dropout2d(0.1), nn.Conv2d(inner, classes, 1))
        self.recurrence = recurrence

    def forward(self, x):
        y = self.conva(x)
        for _ in range(self.recurrence):
            y = self.cca(y)
        return self.bottleneck(torch.cat([x, self.convb(y)], dim=1))


def auxiliary(channels, classes):
    inner = channels // 2
    first = nn.Conv2d(channels, inner, 3, padding=1)
    return nn.Sequential(first, bn_act(inner), nn.Dropout2d(0.1), nn.Conv2d(inner, classes, 1))


class CCNet(nn.Module):
    """The official network: deep stem, ceil_mode pooling, dilation 2 and 4 in every block of stages 3 and 4."""

    def __init__(self, depth=101, classes=19, recurrence=2):
        super().__init__()
        for n, (a, b) in enumerate(((3, 64), (64, 64), (64, 128)), 1):
            setattr(self, f"conv{n}", nn.Conv2d(a, b, 3, 2 if n == 1 else 1, 1, bias=False))
            setattr(self, f"bn{n}", nn.BatchNorm2d(b))
        expansion, inplanes = (1 if depth == 18 else 4), 128
        for n, (planes, count) in enumerate(zip((64, 128, 256, 512), BLOCKS[depth]), 1):
            blocks, dilation = [], (1, 1, 2, 4)[n - 1]
            for i in range(count):
                blocks.append(Residual(inplanes, planes, expansion, 2 if n == 2 and i == 0 else 1, dilation))
                inplanes = planes * expansion
            setattr(self, f"layer{n}", nn.Sequential(*blocks))
        self.head = Head(inplanes, inplanes // 4, classes, recurrence)
        self.dsn = auxiliary(inplanes // 2, classes)

    def forward(self, x):
        for n in (1, 2, 3):
            x = F.relu(getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(x)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        x3 = self.layer3(self.layer2(self.layer1(x)))
        main = self.head(self.layer4(x3))
        return [main, self.dsn(x3)] if self.training else [main]


class ChannelNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class VANBlock(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()

        def depthwise(channels, kernel, hole=1):
            return nn.Conv2d(channels, channels, kernel, 1, hole * (kernel // 2), hole, channels)

        self.norm1, self.norm2 = nn.BatchNorm2d(dim), nn.BatchNorm2d(dim)
        gate = {"conv0": depthwise(dim, 5), "conv_spatial": depthwise(dim, 7, 3), "conv1": nn.Conv2d(dim, dim, 1)}
        attn = {"proj_1": nn.Conv2d(dim, dim, 1), "spatial_gating_unit": nn.ModuleDict(gate)}
        self.attn = nn.ModuleDict({**attn, "proj_2": nn.Conv2d(dim, dim, 1)})
        mlp = {"fc1": nn.Conv2d(dim, hidden, 1), "dwconv": nn.ModuleDict({"dwconv": depthwise(hidden, 3)})}
        self.mlp = nn.ModuleDict({**mlp, "fc2": nn.Conv2d(hidden, dim, 1)})
        self.layer_scale_1, self.layer_scale_2 = (nn.Parameter(0.01 * torch.ones(dim)) for _ in range(2))

    def forward(self, x):
        n, gate = self.norm1(x), self.attn["spatial_gating_unit"]
        u = F.gelu(self.attn["proj_1"](n))
        u = u * gate["conv1"](gate["conv_spatial"](gate["conv0"](u)))
        x = x + self.layer_scale_1[:, None, None] * (n + self.attn["proj_2"](u))
        h = F.gelu(self.mlp["dwconv"]["dwconv"](self.mlp["fc1"](self.norm2(x))))
        return x + self.layer_scale_2[:, None, None] * self.mlp["fc2"](h)


class VANCCNet(nn.Module):
    """VAN with CCNet's head on the maps at strides 8, 16 and 32; no drop path."""

    def __init__(self, dims, depths, classes=19, recurrence=2):
        super().__init__()
        before = 3
        for n, (dim, depth, ratio) in enumerate(zip(dims, depths, (8, 8, 4, 4)), 1):
            proj = nn.Conv2d(before, dim, 7, 4, 3) if n == 1 else nn.Conv2d(before, dim, 3, 2, 1)
            setattr(self, f"patch_embed{n}", nn.Sequential())
            getattr(self, f"patch_embed{n}").add_module("proj", proj)
            getattr(self, f"patch_embed{n}").add_module("norm", nn.BatchNorm2d(dim))
            setattr(self, f"block{n}", nn.Sequential(*(VANBlock(dim, ratio * dim) for _ in range(depth))))
            setattr(self, f"norm{n}", ChannelNorm(dim, eps=1e-6))
            before = dim
        self.squeeze = nn.Sequential(nn.Conv2d(sum(dims[1:]), before, 1, bias=False), bn_act(before))
        self.head = Head(before, before // 2, classes, recurrence)
        self.dsn = auxiliary(dims[2], classes)

    def features(self, x):
        maps = []
        for n in (1, 2, 3, 4):
            x = getattr(self, f"norm{n}")(getattr(self, f"block{n}")(getattr(self, f"patch_embed{n}")(x)))
            maps.append(x)
        return maps

    def forward(self, x):
        maps = self.features(x)[1:]
        size = maps[0].shape[2:]
        up = [maps[0]] + [F.interpolate(m, size, mode="bilinear", align_corners=True) for m in maps[1:]]
        main = self.head(self.squeeze(torch.cat(up, dim=1)))
        return [main, self.dsn(maps[1])] if self.training else [main]


def load(model, arrays):
    """{key: numpy array} into `model`; all keys must fit (num_batches_tracked aside)."""
    state = {key: torch.from_numpy(value) for key, value in arrays.items()}
    result = model.load_state_dict(state, strict=False)
    missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise ValueError(f"missing {missing[:4]}, unexpected {result.unexpected_keys[:4]}")
    return model
