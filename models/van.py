"""Visual Attention Network (Guo et al., 2022), b0 to b6. Attribute names are the published state-dict keys.

`features(x)`: (B, 3, H, W) -> four feature maps of `dims` channels at strides 4, 8, 16, 32, sizes rounded up. For
output stride 16 or 8, the patch embeddings of the last stages have stride 1. With `dilate`, the depthwise convolutions
after them are dilated by the same factor (a-trous), so that pretrained weights keep their meaning: the denser map,
subsampled, equals the original one. Without `dilate` the receptive field shrinks, and the network has to be fine-tuned.
"""

import math

import jittor as jt
from jittor import nn

from models.layers.batch_norm import BatchNorm
from models.layers.depthwise import DepthwiseConv2d
from models.layers.dropout import DropPath
from models.layers.elementwise import gelu, layer_norm, product, scaled_sum
from models.layers.pointwise import PointwiseConv2d
from models.tables import VAN_ALIASES, VAN_MLP_RATIOS, VAN_SIZES


def initialised(conv):
    """Initialisation of the published code: normal, scaled by the fan-out of a group; bias 0."""
    fan_out = math.prod(conv.weight.shape[2:]) * conv.out_channels // conv.groups
    conv.weight = jt.init.gauss(tuple(conv.weight.shape), "float32", 0, math.sqrt(2 / fan_out))
    conv.bias = jt.init.constant((conv.out_channels,), "float32", 0.0)
    return conv


def conv(in_channels, channels, kernel=1, stride=1, dilation=1):
    if kernel == 1:
        return initialised(PointwiseConv2d(in_channels, channels))
    padding = dilation * (kernel // 2)
    return initialised(nn.Conv2d(in_channels, channels, kernel, stride, padding, dilation))


def depthwise(channels, kernel, dilation=1):
    return initialised(DepthwiseConv2d(channels, kernel, padding=dilation * (kernel // 2), dilation=dilation))


class LayerNorm(nn.Module):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def __init__(self, channels, eps=1e-6):
        self.weight = jt.init.constant((channels,), "float32", 1.0)
        self.bias = jt.init.constant((channels,), "float32", 0.0)
        self.eps = eps

    def execute(self, x):
        return layer_norm(x, self.weight, self.bias, self.eps)


class LKA(nn.Module):
    """Large kernel attention: x times a gate computed by a 5x5 and a dilated 7x7 depthwise and a 1x1 convolution."""

    def __init__(self, dim, dilation):
        self.conv0 = depthwise(dim, 5, dilation)
        self.conv_spatial = depthwise(dim, 7, 3 * dilation)
        self.conv1 = conv(dim, dim)

    def execute(self, x):
        return product(x, self.conv1(self.conv_spatial(self.conv0(x))))


class Attention(nn.Module):
    def __init__(self, dim, dilation):
        self.proj_1 = conv(dim, dim)
        self.spatial_gating_unit = LKA(dim, dilation)
        self.proj_2 = conv(dim, dim)

    def execute(self, x):
        return x + self.proj_2(self.spatial_gating_unit(gelu(self.proj_1(x))))


class DWConv(nn.Module):
    """One convolution; the class exists because the published key is mlp.dwconv.dwconv."""

    def __init__(self, dim, dilation):
        self.dwconv = depthwise(dim, 3, dilation)

    def execute(self, x):
        return self.dwconv(x)


class Mlp(nn.Module):
    def __init__(self, dim, hidden, dilation):
        self.fc1 = conv(dim, hidden)
        self.dwconv = DWConv(hidden, dilation)
        self.fc2 = conv(hidden, dim)

    def execute(self, x):
        return self.fc2(gelu(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    def __init__(self, dim, mlp_ratio, drop_path, dilation):
        self.norm1 = BatchNorm(dim)
        self.attn = Attention(dim, dilation)
        self.norm2 = BatchNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio * dim, dilation)
        self.layer_scale_1 = jt.init.constant((dim,), "float32", 1e-2)
        self.layer_scale_2 = jt.init.constant((dim,), "float32", 1e-2)
        self.drop_path = DropPath(drop_path)  # per sample, in training only

    def execute(self, x):
        x = self.plus(x, self.layer_scale_1, self.attn(self.norm1(x)))
        return self.plus(x, self.layer_scale_2, self.mlp(self.norm2(x)))

    def plus(self, x, scale, branch):
        factor = scale.broadcast(branch.shape[:2], [0])  # (B, C)
        keep = self.drop_path.factor(branch)
        return scaled_sum(x, branch, factor if keep is None else factor * keep)


class PatchEmbed(nn.Module):
    folds = (("proj", "norm"),)

    def __init__(self, in_channels, dim, kernel, stride, dilation=1):
        self.proj = conv(in_channels, dim, kernel, stride, dilation)
        self.norm = BatchNorm(dim)

    def execute(self, x):
        return self.norm(self.proj(x))


class VAN(nn.Module):
    """The backbone. With `num_classes` also the ImageNet classifier: `classify(x)` -> (B, num_classes)."""

    def __init__(
        self, van_size="van_base", output_stride=32, dilate=True, drop_path=None, num_classes=0, in_channels=3
    ):
        name = van_size if van_size.startswith("van_") else f"van_{van_size}"  # accepts "tiny" and "b0", too
        name = VAN_ALIASES.get(name, name)
        if name not in VAN_SIZES:
            raise ValueError(f"van_size is {van_size!r}; choose from {', '.join([*VAN_SIZES, *VAN_ALIASES])}")
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride is {output_stride!r}; a VAN has 8, 16 or 32")
        self.dims, depths, default = VAN_SIZES[name]
        drop_path = default if drop_path is None else drop_path
        rates = [drop_path * n / max(1, sum(depths) - 1) for n in range(sum(depths))]  # linear over all blocks
        stride, density, channels = 1, 1, in_channels
        for stage, (dim, depth, ratio) in enumerate(zip(self.dims, depths, VAN_MLP_RATIOS), 1):
            kernel, step = (7, 4) if stage == 1 else (3, 2)
            embed_dilation = density if dilate else 1  # by how much the input is denser than in the published network
            if stride * step > output_stride:
                step, density = 1, density * step
            stride *= step
            setattr(self, f"patch_embed{stage}", PatchEmbed(channels, dim, kernel, step, embed_dilation))
            dilation = density if dilate else 1
            blocks = [Block(dim, ratio, rates.pop(0), dilation) for _ in range(depth)]
            setattr(self, f"block{stage}", nn.Sequential(*blocks))
            setattr(self, f"norm{stage}", LayerNorm(dim))
            channels = dim
        if num_classes:
            self.head = nn.Linear(channels, num_classes)
            self.head.weight = jt.init.gauss((num_classes, channels), "float32", 0, 0.02)

    def features(self, x):
        maps = []
        for stage in (1, 2, 3, 4):
            x = getattr(self, f"patch_embed{stage}")(x)
            x = getattr(self, f"norm{stage}")(getattr(self, f"block{stage}")(x))
            maps.append(x)  # (B, dims[stage - 1], h, w)
        return maps

    def classify(self, x):
        return self.head(self.features(x)[-1].mean(dims=[2, 3]))
