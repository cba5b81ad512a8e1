"""A VANCCNet in bfloat16 on the CPU, in training and evaluation: van.py and ccnet.py on maps (B, H, W, C).

As bfloat16.py, whose head and convolutions it uses: maps are bfloat16, sums are added in float32; weights, statistics
of norms and the logits are float32.
"""

from models import bfloat16
from models.layers import channels_last, dropout, maps16, van16
from models.layers.resize import resize
from models.video import labelled, split


def run(model, x):
    """model(x) with x (B, 3, H, W) float32 -> logits in float32."""
    frames = model.frames
    with dropout.rows(frames):
        x2, x3, x4 = features(model, channels_last.to_last(split(x, frames)))[1:]
    auxiliary = model.is_training() or model.aux_always
    x3, again = maps16.twice(x3) if auxiliary else (x3, None)
    if model.multi:
        size = tuple(x2.shape[1:3])
        x2 = maps16.join(maps16.join(x2, larger(model, x3, size)), larger(model, x4, size))
        x4 = bfloat16.norm_act(model.squeeze, x2)
    logits = [bfloat16.head(model.head, x4, frames)]
    if auxiliary:
        logits.append(bfloat16.classifier(model.dsn, labelled(again, frames)))
    return logits


def features(model, x):
    """-> four maps (B, h, w, dims[stage - 1])"""
    maps = []
    for number in (1, 2, 3, 4):
        embed = getattr(model, f"patch_embed{number}")
        x = bfloat16.layer(embed.proj, embed.norm, x)
        for block in getattr(model, f"block{number}"):
            x = residual_block(block, x)
        x, here = maps16.twice(van16.layer_norm(getattr(model, f"norm{number}"), x))
        maps.append(here)
    return maps


def larger(model, x, size):
    return channels_last.to_last(resize(channels_last.to_first(x), size, model.align_corners))


def residual_block(block, x):
    """Block of van.py."""
    x, again = maps16.twice(x)
    n, shortcut = maps16.twice(normalised(block.norm1, again))
    x = van16.branch_sum(x, factor(block, block.layer_scale_1, x), attention(block.attn, n), shortcut)
    x, again = maps16.twice(x)
    branch = mlp(block.mlp, normalised(block.norm2, again))
    return van16.branch_sum(x, factor(block, block.layer_scale_2, x), branch)


def normalised(norm, x):
    """A BatchNorm that no convolution precedes."""
    fixed = None if norm.is_train and not norm.frozen else (norm.running_mean, norm.running_var)
    y, *statistics = maps16.normalise(x, norm.weight, norm.bias, norm.eps, fixed=fixed)
    if fixed is None:
        norm.track(*statistics)
    return y


def attention(module, n):
    """Attention without its shortcut."""
    gate = module.spatial_gating_unit
    u, again = maps16.twice(van16.gelu(bfloat16.convolve(module.proj_1, n)))
    wide = van16.depthwise(gate.conv_spatial, van16.depthwise(gate.conv0, again))
    return bfloat16.convolve(module.proj_2, van16.product(u, bfloat16.convolve(gate.conv1, wide)))


def mlp(module, x):
    hidden, conv = bfloat16.convolve(module.fc1, x), module.dwconv.dwconv
    evaluated = hasattr(module.fc1, "packed_weight")
    hidden = van16.depthwise_gelu(conv, hidden) if evaluated else van16.gelu(van16.depthwise(conv, hidden))
    return bfloat16.convolve(module.fc2, hidden)


def factor(block, scale, x):
    """(B, C): the layer scale, and 0 for the samples whose branch is dropped."""
    scales = scale.broadcast((x.shape[0], x.shape[3]), [0])
    keep = block.drop_path.factor(scales)
    return scales if keep is None else scales * keep
