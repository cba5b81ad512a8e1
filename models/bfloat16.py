"""A CCNet in bfloat16 on the CPU, in training and evaluation: resnet.py and ccnet.py on maps (B, H, W, C).

Convolutions, sums with the shortcut, activations, pooling and attention read and write bfloat16 and add in float32.
Weights, the statistics of BatchNorm, the softmax and the last convolution (to the classes) are float32. With folded
BatchNorms and packed weights, bias, sum and activation are part of the convolution.
"""

import jittor as jt
from jittor import nn

from models.cca.functional import channels_last_attention
from models.layers import channels_last, maps16
from models.video import clips, labelled, split

USUAL_SIZE = (65, 65)  # of a map: oneDNN chooses the layout of the weights by it


def run(model, x):
    """model(x) with x (B, 3, H, W) float32 -> logits in float32."""
    frames = model.frames
    x = channels_last.to_last(split(x, frames))
    for n in (1,) if model.stem == "v1" else (1, 2, 3):
        x = layer(getattr(model, f"conv{n}"), getattr(model, f"bn{n}"), x, activation="relu")
    x = maps16.max_pool(model.maxpool, x)
    x3 = stage(model.layer3, stage(model.layer2, stage(model.layer1, x)))
    auxiliary = model.is_training() or model.aux_always
    x3, again = maps16.twice(x3) if auxiliary else (x3, None)
    logits = [head(model.head, stage(model.layer4, x3), frames)]
    if auxiliary:
        logits.append(classifier(model.dsn, labelled(again, frames)))
    return logits


def layer(conv, norm, x, residual=None, activation="none"):
    """Convolution, BatchNorm, sum with `residual`, activation."""
    if hasattr(conv, "packed_weight"):  # the BatchNorm is folded
        return channels_last.infer(conv, x, residual, activation)
    y = channels_last.convolve(conv, x)
    fixed = None if norm.is_train and not norm.frozen else (norm.running_mean, norm.running_var)
    y, *statistics = maps16.normalise(y, norm.weight, norm.bias, norm.eps, residual, activation, fixed)
    if fixed is None:
        norm.track(*statistics)
    return y


def convolve(conv, x):
    """A convolution without BatchNorm."""
    return (channels_last.infer if hasattr(conv, "packed_weight") else channels_last.convolve)(conv, x)


def stage(blocks, x):
    for block in blocks:
        x = residual_block(block, x)
    return x


def residual_block(block, x):
    x, shortcut = maps16.twice(x)
    if block.downsample is not None:
        shortcut = layer(*block.downsample, shortcut)
    count = 3 if hasattr(block, "conv3") else 2
    for n in range(1, count):
        x = layer(getattr(block, f"conv{n}"), getattr(block, f"bn{n}"), x, activation="relu")
    return layer(getattr(block, f"conv{count}"), getattr(block, f"bn{count}"), x, shortcut, "relu")


def head(module, x, frames):
    """RCCAHead."""
    x, y = maps16.twice(x)
    y = labelled(attention(module.cca, norm_act(module.conva, y), frames), frames)
    if module.listener:
        y, again = maps16.twice(y)
        module.listener(channels_last.to_first(again))
    y = maps16.join(labelled(x, frames), norm_act(module.convb, y))
    return classifier(module.bottleneck, y)


def norm_act(pair, x):
    conv, norm = pair[0], pair[1]
    return layer(conv, norm, x, activation=norm.activation)


def classifier(layers, x):
    """Convolution with BatchNorm and activation, dropout, the convolution to the classes."""
    y = channels_last.to_first(norm_act(layers, x))  # (B, C, h, w) float32
    return layers[3](layers[2](y))


def attention(cca, x, frames):
    """RCCA on (B, h, w, C), of clips on (B * T, h, w, C)."""
    for _ in range(cca.recurrence):
        x, again = maps16.twice(x)
        x, for_query = maps16.twice(x)
        for_key, for_value = maps16.twice(again)
        q, k, v = (
            convolve(conv, y)
            for conv, y in ((cca.query_conv, for_query), (cca.key_conv, for_key), (cca.value_conv, for_value))
        )
        if frames > 1:
            q, k, v = (clips(y, frames) for y in (q, k, v))  # (B, T, h, w, C)
        out = channels_last_attention(q, k, v, cca.backend)
        x = maps16.scaled_sum(cca.gamma, out if frames == 1 else out.reshape(x.shape), x)
    return x


def pack(model):
    """Pack the weights of a folded network in place, see layer(); not of depthwise and float32 convolutions."""
    last = (model.head.bottleneck[3], model.dsn[3])
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d) and conv.groups == 1 and not any(conv is other for other in last):
            like = jt.zeros((1, *USUAL_SIZE, conv.in_channels)).cast("bfloat16")
            conv.packed_weight = [part.stop_grad() for part in channels_last.pack(conv, like)]
    jt.sync_all()
