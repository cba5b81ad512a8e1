"""Conversion of blocks, backbones and heads; each function mirrors the `execute` of its module.

`emit(graph, module, x, name)` -> Map calls the function for the class of the module. A new layer needs a function and a
line in EMITTERS.
"""

from jittor import nn

from models import ccnet, resnet, shallow, van
from models.cca import RCCA
from models.export import layers
from models.export.attention import rcca
from models.export.layers import conv, norm
from models.layers.batch_norm import BatchNorm, Folded
from models.layers.dropout import Dropout2d
from models.ports import WholeSoftmaxRCCA


def emit(g, module, x, name):
    for cls in type(module).__mro__:
        if cls in EMITTERS:
            return EMITTERS[cls](g, module, x, name)
    raise ValueError(f"{name} is a {type(module).__name__}, which models/export does not support; add it to EMITTERS")


def join(name, *keys):
    return ".".join((*([name] if name else []), *keys))


def child(g, parent, key, x, name):
    return emit(g, getattr(parent, key), x, join(name, key))


def sequential(g, m, x, name):
    for key, layer in m.layers.items():
        x = emit(g, layer, x, join(name, str(key)))
    return x


def conv_norm(g, m, number, x, name, **options):
    """convN and bnN of a block; `options`: residual and activation of bnN."""
    y = conv(g, getattr(m, f"conv{number}"), x, join(name, f"conv{number}"))
    return norm(g, getattr(m, f"bn{number}"), y, join(name, f"bn{number}"), **options)


def residual(g, m, x, name):
    """BasicBlock and Bottleneck."""
    last = len(m.folds)
    y = x
    for number in range(1, last):
        y = conv_norm(g, m, number, y, name, activation="relu")
    shortcut = x if m.downsample is None else child(g, m, "downsample", x, name)
    return conv_norm(g, m, last, y, name, residual=shortcut, activation="relu")


def ccnet_logits(g, m, x, name):
    for number in (1,) if m.stem == "v1" else (1, 2, 3):
        x = conv_norm(g, m, number, x, name, activation="relu")
    x = layers.max_pool(g, m.maxpool, x, join(name, "maxpool"))
    for stage in (1, 2, 3, 4):
        x = child(g, m, f"layer{stage}", x, name)
    return child(g, m, "head", x, name)


def shallow_logits(g, m, x, name):
    for part in ("down1", "down2"):
        x = child(g, m, part, x, name)
    return child(g, m, "head", x, name)


def shallow_stage(g, m, x, name):
    return norm(g, m.bn, conv(g, m.conv, x, join(name, "conv")), join(name, "bn"), activation="relu")


def head(g, m, x, name):
    y = child(g, m, "conva", x, name)
    y = child(g, m, "convb", child(g, m, "cca", y, name), name)
    return child(g, m, "bottleneck", layers.concat(g, [x, y], join(name, "both")), name)


def whole_softmax(g, m, x, name):
    if not m.recurrence:
        return x
    raise ValueError(
        f"{name} has the softmax over the whole image of a Jittor port, which ONNX export does not support; with "
        "--recurrence 0, the network without its attention, which is nearly the same, can be exported"
    )


def van_logits(g, m, x, name):
    maps = []
    for stage in (1, 2, 3, 4):
        for part in ("patch_embed", "block", "norm"):
            x = child(g, m, f"{part}{stage}", x, name)
        maps.append(x)
    if m.multi:
        _, x2, *small = maps
        large = [layers.resize(g, g.to_float32(y), x2, f"{y.name}.large", m.align_corners) for y in small]
        x = layers.concat(g, [x2, *(g.to_working(y) for y in large)], join(name, "maps"))
        x = child(g, m, "squeeze", x, name)
    return child(g, m, "head", x, name)


def patch_embed(g, m, x, name):
    return child(g, m, "norm", child(g, m, "proj", x, name), name)


def van_block(g, m, x, name):
    for number, branch in ((1, "attn"), (2, "mlp")):
        y = child(g, m, branch, child(g, m, f"norm{number}", x, name), name)
        key = join(name, f"layer_scale_{number}")
        scale = g.per_channel(key, getattr(m, f"layer_scale_{number}").numpy())
        x = layers.plus(g, x, layers.times(g, y, scale, f"{key}.scaled"), join(name, f"sum{number}"))
    return x


def van_attention(g, m, x, name):
    y = layers.gelu(g, child(g, m, "proj_1", x, name), join(name, "gelu"))
    y = child(g, m, "proj_2", child(g, m, "spatial_gating_unit", y, name), name)
    return layers.plus(g, x, y, join(name, "sum"))


def lka(g, m, x, name):
    y = child(g, m, "conv1", child(g, m, "conv_spatial", child(g, m, "conv0", x, name), name), name)
    return layers.times(g, x, y, join(name, "gate"))


def mlp(g, m, x, name):
    y = child(g, m, "dwconv", child(g, m, "fc1", x, name), name)
    return child(g, m, "fc2", layers.gelu(g, y, join(name, "gelu")), name)


EMITTERS = {
    nn.Conv: conv,
    nn.Sequential: sequential,
    BatchNorm: norm,
    Folded: norm,
    ccnet.BatchNormAct: lambda g, m, x, name: norm(g, m, x, name, activation=m.activation),
    ccnet.Activation: lambda g, m, x, name: layers.activate(g, x, m.activation, name),
    Dropout2d: lambda g, m, x, name: x,  # the identity in evaluation; also DropPath, a subclass
    RCCA: rcca,
    WholeSoftmaxRCCA: whole_softmax,
    ccnet.RCCAHead: head,
    ccnet.CCNet: ccnet_logits,
    resnet.BasicBlock: residual,
    resnet.Bottleneck: residual,
    ccnet.VANCCNet: van_logits,
    shallow.ShallowCCNet: shallow_logits,
    shallow.Stage: shallow_stage,
    van.PatchEmbed: patch_embed,
    van.Block: van_block,
    van.Attention: van_attention,
    van.LKA: lka,
    van.Mlp: mlp,
    van.DWConv: lambda g, m, x, name: child(g, m, "dwconv", x, name),
    van.LayerNorm: layers.layer_norm,
}
