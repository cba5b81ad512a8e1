"""Evaluation on the CPU in oneDNN's blocked layout: feature maps (B, C/16, H, W, 16) between all layers of a CCNet.

Weights are packed once, and a convolution also applies bias, residual sum and activation. Without this, each
convolution reorders its input, weights and output; at 1x3x513x513, that and separate BatchNorm, ReLU and sums take a
third of the forward pass.
"""

import jittor as jt
from jittor import nn

from models.layers.batch_norm import SLOPES
from models.layers.conv import LANES, call, folder
from models.video import attend, labelled, split


def rearrange(x, pack):
    if pack:
        b, c, h, w = x.shape
        shape = (b, c // LANES, h, w, LANES)
    else:
        b, blocks, h, w, _ = x.shape
        c, shape = blocks * LANES, (b, blocks * LANES, h, w)
    source = 'packed::rearrange(n("pack"), in0_shape0, n("c"), n("h"), n("w"), in0_p, out0_p);'
    return call(shape, [x], source, pack=pack, c=c, h=h, w=w)


def max_pool(x, pool):
    b, blocks, h, w, _ = x.shape
    window = {"kernel": pool.kernel_size[0], "stride": pool.stride[0], "pad": pool.padding[0]}
    up = window["stride"] - 1 if pool.ceil_mode else 0
    oh, ow = ((side + 2 * window["pad"] - window["kernel"] + up) // window["stride"] + 1 for side in (h, w))
    source = """packed::max_pool(in0_shape0, in0_shape1 * in0_shape4, in0_shape2, in0_shape3, out0_shape2,
                                 out0_shape3, {n("kernel"), n("stride"), n("pad"), 1}, in0_p, out0_p);"""
    return call((b, blocks, oh, ow, LANES), [x], source, **window)


class PackedConv(nn.Module):
    """A convolution with a square kernel on packed maps. The channels must be multiples of LANES."""

    def __init__(self, conv):
        out, inputs, kernel, _ = conv.weight.shape
        weight = conv.weight.reshape((out // LANES, LANES, inputs // LANES, LANES, kernel, kernel))
        self.weight = weight.permute(0, 2, 4, 5, 3, 1).stop_grad()  # (O/16, I/16, k, k, 16 inputs, 16 outputs)
        self.bias = (jt.zeros(out) if conv.bias is None else conv.bias).stop_grad()
        self.window = {"stride": conv.stride[0], "pad": conv.padding[0], "dilation": conv.dilation[0]}
        self.kernel = kernel

    def execute(self, x, residual=None, activation="none"):
        b, _, h, w, _ = x.shape
        reach = self.window["dilation"] * (self.kernel - 1) + 1
        oh, ow = ((side + 2 * self.window["pad"] - reach) // self.window["stride"] + 1 for side in (h, w))
        source = f"""
            const float slope = data["slope"];
            packed::convolution(in0_shape0, in0_shape1 * in0_shape4, in0_shape2, in0_shape3,
                                out0_shape1 * out0_shape4, out0_shape2, out0_shape3,
                                {{n("kernel"), n("stride"), n("pad"), n("dilation")}}, slope, in0_p, in1_p, in2_p,
                                {"nullptr" if residual is None else "in3_p"}, out0_p);"""
        inputs = [x, self.weight, self.bias] + ([] if residual is None else [residual])
        shape = (b, self.bias.shape[0] // LANES, oh, ow, LANES)
        return call(shape, inputs, source, kernel=self.kernel, slope=SLOPES[activation], **self.window)


def pack(model):
    """Packs a folded CCNet in place. -> False, model unchanged, if its layers or the machine do not allow it."""
    cca, last = model.head.cca, (model.head.bottleneck[3], model.dsn[3])
    stay = [model.conv1, cca.query_conv, cca.key_conv, cca.value_conv, *last]  # their input or output is not packed
    places = []
    for module in model.modules():
        layers = module.layers if isinstance(module, nn.Sequential) else module.__dict__
        for key, conv in layers.items():
            if isinstance(conv, nn.Conv2d) and not any(conv is other for other in stay):
                places.append((layers, key, conv))
    unsupported = [conv for *_, conv in places if conv.in_channels % LANES or conv.out_channels % LANES]
    if jt.flags.use_cuda or unsupported or folder() is None:
        return False
    for layers, key, conv in places:
        layers[key] = PackedConv(conv)
    jt.sync_all()
    model.packed = True
    return True


def residual(block, x):
    convs = [layer for layer in (block.conv1, block.conv2, getattr(block, "conv3", None)) if layer is not None]
    y = x
    for conv in convs[:-1]:
        y = conv(y, activation="relu")
    shortcut = x if block.downsample is None else block.downsample[0](x)
    return convs[-1](y, residual=shortcut, activation="relu")


def features(model, x):
    x = rearrange(nn.relu(model.conv1(x)), True)  # conv1 has 3 input channels: not packed
    if model.stem != "v1":
        x = model.conv3(model.conv2(x, activation="relu"), activation="relu")
    x = max_pool(x, model.maxpool)
    maps = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in stage:
            x = residual(block, x)
        maps.append(x)
    return maps[2:]


def conv_act(pair, x):
    """A packed convolution with the Activation that follows it."""
    return pair[0](x, activation=pair[1].activation)


def run(model, x):
    """model(x) in evaluation."""
    head, frames = model.head, model.frames
    x3, x4 = features(model, split(x, frames))
    y = attend(head.cca, rearrange(conv_act(head.conva, x4), False), frames)
    y = conv_act(head.convb, rearrange(y, True))
    y = conv_act(head.bottleneck, jt.concat([labelled(x4, frames), y], dim=1))
    logits = [head.bottleneck[3](rearrange(y, False))]
    if model.aux_always:
        logits.append(model.dsn[3](rearrange(conv_act(model.dsn, labelled(x3, frames)), False)))
    return logits
