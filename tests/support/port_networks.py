"""The networks of the two released Jittor ports in plain PyTorch functions, with their weights under the ports' names.

    main, aux = ann_lab(weights, x)          # Weights() makes each array when it is first used
    main, aux = ccnet_jittor(weights, x)

They are written from the published facts about the ports and share no code with models/.
"""

import torch
import torch.nn.functional as F
from support import rule_weights


class Weights(dict):
    """{key: array}, drawn by rule at the first use of a key."""

    def tensor(self, key, shape, value=None):
        if key not in self:
            array = rule_weights.generator(key).standard_normal(shape)
            self[key] = (array if value is None else value(array)).astype("float32")
        return torch.from_numpy(self[key])

    def conv(self, x, key, out, kernel, stride=1, dilation=1, bias=False):
        into = x.shape[1]
        scale = (2 / (into * kernel * kernel)) ** 0.5 * (0.4 if "query" in key or "key_conv" in key else 1)
        weight = self.tensor(f"{key}.weight", (out, into, kernel, kernel), lambda a: a * scale)
        shift = self.tensor(f"{key}.bias", (out,), lambda a: 0.05 * a) if bias else None
        return F.conv2d(x, weight, shift, stride, dilation * (kernel // 2), dilation)

    def norm(self, x, key, scale=1.0):
        """BatchNorm in evaluation."""
        shape = (x.shape[1],)
        mean = self.tensor(f"{key}.running_mean", shape, lambda a: 0.1 * a)
        variance = self.tensor(f"{key}.running_var", shape, lambda a: 1 + 0.2 * abs(a))
        weight = self.tensor(f"{key}.weight", shape, lambda a: scale * (1 + 0.1 * a))
        return F.batch_norm(x, mean, variance, weight, self.tensor(f"{key}.bias", shape, lambda a: 0.1 * a))

    def stage(self, x, key, planes, dilations, stride=1):
        """Bottlenecks, each with its own dilation."""
        for n, dilation in enumerate(dilations):
            block, step = f"{key}.{n}", stride if n == 0 else 1
            y = F.relu(self.norm(self.conv(x, f"{block}.conv1", planes, 1), f"{block}.bn1"))
            y = F.relu(self.norm(self.conv(y, f"{block}.conv2", planes, 3, step, dilation), f"{block}.bn2"))
            y = self.norm(self.conv(y, f"{block}.conv3", 4 * planes, 1), f"{block}.bn3", 0.2)
            if n == 0:
                x = self.norm(self.conv(x, f"{block}.downsample.0", 4 * planes, 1, step), f"{block}.downsample.1")
            x = F.relu(x + y)
        return x

    def attention(self, x, key, gamma, whole):
        """One pass of criss-cross attention, pixel by row and column; `whole`: one softmax for the whole image."""
        q, k = (self.conv(x, f"{key}.{name}_conv", x.shape[1] // 8, 1, bias=True) for name in ("query", "key"))
        v = self.conv(x, f"{key}.value_conv", x.shape[1], 1, bias=True)
        height, width = x.shape[2:]
        itself = torch.eye(height, dtype=torch.bool)[:, None]  # (H, 1, H)
        column = torch.einsum("bchw,bciw->bhwi", q, k).masked_fill(itself, float("-inf"))
        energy = torch.cat([column, torch.einsum("bchw,bchj->bhwj", q, k)], 3)  # (B, H, W, H + W)
        weights = energy.softmax(3) if not whole else energy.flatten(1).softmax(1).view_as(energy)
        out = torch.einsum("bhwi,bciw->bchw", weights[..., :height], v)
        out = out + torch.einsum("bhwj,bchj->bchw", weights[..., height:], v)
        return self.tensor(gamma, (1,), lambda a: 0 * a + 0.7) * out + x


def ann_lab(w, x, blocks=(3, 4, 12, 3), classes=19, recurrence=2):
    """The official names; no activation in the heads; a softmax without an axis, over the whole tensor."""
    for n, (out, stride) in enumerate(((64, 2), (64, 1), (128, 1)), 1):
        x = F.relu(w.norm(w.conv(x, f"conv{n}", out, 3, stride), f"bn{n}"))
    x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
    x = w.stage(x, "layer1", 64, (1,) * blocks[0])
    x = w.stage(x, "layer2", 128, (1,) * blocks[1], 2)
    x3 = w.stage(x, "layer3", 256, (2,) * blocks[2])
    x4 = w.stage(x3, "layer4", 512, (4,) * blocks[3])
    y = w.norm(w.conv(x4, "head.conva.0", 512, 3), "head.conva.1")
    for _ in range(recurrence):
        y = w.attention(y, "head.cca", "head.cca.gamma", whole=True)
    y = w.norm(w.conv(y, "head.convb.0", 512, 3), "head.convb.1")
    y = w.norm(w.conv(torch.cat([x4, y], 1), "head.bottleneck.0", 512, 3), "head.bottleneck.1")
    aux = w.norm(w.conv(x3, "dsn.0", 512, 3, bias=True), "dsn.1")
    return w.conv(y, "head.bottleneck.3", classes, 1, bias=True), w.conv(aux, "dsn.3", classes, 1, bias=True)


def ccnet_jittor(w, x, blocks=(3, 4, 23, 3), classes=150, recurrence=2):
    """The names of mmsegmentation; a second stem that is not used; dilation 2, then 8 in layer4; ReLU in the heads."""

    def head(x, key, out):
        return F.relu(w.norm(w.conv(x, f"{key}.conv", out, 3), f"{key}.bn"))

    w.conv(x, "backbone.conv1", 64, 7)
    w.norm(torch.zeros(1, 64, 1, 1), "backbone.bn1")
    for n, (out, stride) in zip((0, 3, 6), ((32, 2), (32, 1), (64, 1))):
        x = F.relu(w.norm(w.conv(x, f"backbone.stem.{n}", out, 3, stride), f"backbone.stem.{n + 1}"))
    x = F.max_pool2d(x, 3, 2, 1)
    x = w.stage(x, "backbone.layer1", 64, (1,) * blocks[0])
    x = w.stage(x, "backbone.layer2", 128, (1,) * blocks[1], 2)
    x3 = w.stage(x, "backbone.layer3", 256, (1, *(2,) * (blocks[2] - 1)))
    x4 = w.stage(x3, "backbone.layer4", 512, (2, *(8,) * (blocks[3] - 1)))
    y = head(x4, "decode_head.convs.0", 512)
    for _ in range(recurrence):
        y = w.attention(y, "decode_head.cca", "decode_head.cca.gamma.scale", whole=False)
    y = head(torch.cat([x4, head(y, "decode_head.convs.1", 512)], 1), "decode_head.conv_cat", 512)
    aux = w.conv(head(x3, "auxiliary_head.convs.0", 256), "auxiliary_head.conv_seg", classes, 1, bias=True)
    return w.conv(y, "decode_head.conv_seg", classes, 1, bias=True), aux
