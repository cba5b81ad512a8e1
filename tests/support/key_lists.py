"""The state-dict keys and shapes of released checkpoints: {key: shape}.

Generated here; tests/utils/weights/test_names.py compares them with digests of the published files.
"""

import hashlib

from models.tables import RESNET_BLOCKS, RESNET_STEMS, VAN_MLP_RATIOS, VAN_SIZES


def conv(name, out, into, side=1, bias=False):
    return {f"{name}.weight": (out, into, side, side), **({f"{name}.bias": (out,)} if bias else {})}


def norm(name, channels, counters):
    keys = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**keys, **({f"{name}.num_batches_tracked": ()} if counters else {})}


def stages(blocks, inplanes, counters):
    keys = {}
    for stage, (count, planes) in enumerate(zip(blocks, (64, 128, 256, 512)), 1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            for n, (out, into, side) in enumerate(
                ((planes, inplanes, 1), (planes, planes, 3), (4 * planes, planes, 1)), 1
            ):
                keys.update({**conv(f"{name}.conv{n}", out, into, side), **norm(f"{name}.bn{n}", out, counters)})
            if block == 0:
                keys.update(conv(f"{name}.downsample.0", 4 * planes, inplanes))
                keys.update(norm(f"{name}.downsample.1", 4 * planes, counters))
            inplanes = 4 * planes
    return keys


def stem(names, planes, counters):
    keys, into = {}, 3
    for (convolution, bn), out in zip(names, planes):
        keys.update({**conv(convolution, out, into, 3), **norm(bn, out, counters)})
        into = out
    return keys


DEEP = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))
R50, R101 = RESNET_BLOCKS[50], RESNET_BLOCKS[101]


def attention(name):
    return {**conv(f"{name}.query_conv", 64, 512, 1, True), **conv(f"{name}.key_conv", 64, 512, 1, True)} | conv(
        f"{name}.value_conv", 512, 512, 1, True
    )


def official(blocks=R101, classes=19, counters=False, last=3):
    keys = {**stem(DEEP, RESNET_STEMS["deep"], counters), **stages(blocks, 128, counters)}
    keys.update({**conv("head.conva.0", 512, 2048, 3), **norm("head.conva.1", 512, counters)})
    keys.update({"head.cca.gamma": (1,), **attention("head.cca")})
    keys.update({**conv("head.convb.0", 512, 512, 3), **norm("head.convb.1", 512, counters)})
    keys.update({**conv("head.bottleneck.0", 512, 2560, 3), **norm("head.bottleneck.1", 512, counters)})
    keys.update(conv(f"head.bottleneck.{last}", classes, 512, 1, True))
    keys.update({**conv("dsn.0", 512, 1024, 3, True), **norm("dsn.1", 512, counters)})
    return {**keys, **conv(f"dsn.{last}", classes, 512, 1, True)}


def serge():
    return official(counters=True, last=4)


def mmseg(blocks, classes=19):
    keys = stem((("stem.0", "stem.1"), ("stem.3", "stem.4"), ("stem.6", "stem.7")), RESNET_STEMS["v1c"], True)
    keys = {f"backbone.{key}": shape for key, shape in {**keys, **stages(blocks, 64, True)}.items()}
    head, aux = "decode_head", "auxiliary_head"
    keys.update(conv(f"{head}.conv_seg", classes, 512, 1, True))
    for name, into in (("convs.0", 2048), ("convs.1", 512), ("conv_cat", 2560)):
        keys.update({**conv(f"{head}.{name}.conv", 512, into, 3), **norm(f"{head}.{name}.bn", 512, True)})
    keys.update({**attention(f"{head}.cca"), f"{head}.cca.gamma.scale": ()})
    keys.update(conv(f"{aux}.conv_seg", classes, 256, 1, True))
    return {**keys, **conv(f"{aux}.convs.0.conv", 256, 1024, 3), **norm(f"{aux}.convs.0.bn", 256, True)}


CLASSIFIER = {"fc.weight": (1000, 2048), "fc.bias": (1000,)}


def mit():
    return {**stem(DEEP, RESNET_STEMS["deep"], False), **stages(R101, 128, False), **CLASSIFIER}


def torchvision(blocks):
    return {**conv("conv1", 64, 3, 7), **norm("bn1", 64, True), **stages(blocks, 64, True), **CLASSIFIER}


def van(size):
    keys, into = {}, 3
    dims, depths, _ = VAN_SIZES[size]
    for stage, (out, count, ratio) in enumerate(zip(dims, depths, VAN_MLP_RATIOS), 1):
        embed = f"patch_embed{stage}"
        keys.update(
            {**conv(f"{embed}.proj", out, into, 7 if stage == 1 else 3, True), **norm(f"{embed}.norm", out, True)}
        )
        for block in range(count):
            name = f"block{stage}.{block}"
            attn, gate, mlp = f"{name}.attn", f"{name}.attn.spatial_gating_unit", f"{name}.mlp"
            keys.update({f"{name}.layer_scale_1": (out,), f"{name}.layer_scale_2": (out,)})
            keys.update({**norm(f"{name}.norm1", out, True), **norm(f"{name}.norm2", out, True)})
            keys.update({**conv(f"{attn}.proj_1", out, out, 1, True), **conv(f"{attn}.proj_2", out, out, 1, True)})
            keys.update({**conv(f"{gate}.conv0", out, 1, 5, True), **conv(f"{gate}.conv_spatial", out, 1, 7, True)})
            keys.update({**conv(f"{gate}.conv1", out, out, 1, True), **conv(f"{mlp}.fc1", ratio * out, out, 1, True)})
            keys.update(conv(f"{mlp}.dwconv.dwconv", ratio * out, 1, 3, True))
            keys.update(conv(f"{mlp}.fc2", out, ratio * out, 1, True))
        keys.update({f"norm{stage}.weight": (out,), f"norm{stage}.bias": (out,)})
        into = out
    return {**keys, "head.weight": (1000, dims[3]), "head.bias": (1000,)}


def digest(keys):
    """A hash of keys and shapes that does not depend on their order."""
    lines = "".join(f"{key} {list(keys[key])}\n" for key in sorted(keys))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]
