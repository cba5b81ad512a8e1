"""Every released family of checkpoints: the keys and shapes of its files, and the network that they hold."""

import numpy as np
from support import key_lists

from utils.weights import names

FAMILIES = {  # name: (keys, digest of the published list, (model, options, num_classes))
    "official": (key_lists.official(), "6fddd4f886d95d76", ("ccnet", {}, 19)),
    "serge": (key_lists.serge(), "0defb82fb38b05eb", ("ccnet", {"activation": "relu"}, 19)),
    "mmseg_r50": (
        key_lists.mmseg(key_lists.R50),
        "40d51cd5e8d1154c",
        ("ccnet_mmseg_r50", {"align_corners": False}, 19),
    ),
    "mmseg_r101": (
        key_lists.mmseg(key_lists.R101),
        "59fb41fb273878e8",
        ("ccnet_mmseg_r101", {"align_corners": False}, 19),
    ),
    "mit": (key_lists.mit(), "0fd040983e0fc6d2", ("ccnet", {}, None)),
    "torchvision_r50": (key_lists.torchvision(key_lists.R50), "98fcefba1b06f509", ("ccnet_r50", {"stem": "v1"}, None)),
    "torchvision_r101": (key_lists.torchvision(key_lists.R101), "1fee89e2d6e6dad6", ("ccnet", {"stem": "v1"}, None)),
}
DIGESTS = {
    "van_tiny": "2aad84cdf6716671",
    "van_small": "6c0b845e8e1c1575",
    "van_base": "0cf98e8dc0f46b8c",
    "van_large": "72f423f532c4310f",
    "van_b4": "7a44bfebcac5c8a6",
    "van_b5": "02915a49d62ec757",
    "van_b6": "e2722004ba777f9c",
}
FAMILIES.update({size: (key_lists.van(size), DIGESTS[size], ("van", {"van_size": size}, None)) for size in DIGESTS})


def filled(keys):
    """Random vectors, positive and negative; larger arrays repeat one number and take no memory."""
    rng = np.random.default_rng(3)

    def values(key, shape):
        if key.endswith("num_batches_tracked"):
            return np.array(rng.integers(10**9), np.int64)
        drawn = rng.standard_normal(shape if len(shape) == 1 else ()).astype(np.float32)
        return drawn if len(shape) == 1 else np.broadcast_to(drawn, shape)

    return {key: values(key, shape) for key, shape in keys.items()}


def shapes(arrays):
    return {key: array.shape for key, array in arrays.items()}


def to_ours(arrays, source=None):
    return names.to_ours(arrays, source or names.layout_of(arrays))


def expected(family):
    """Our keys for a family."""
    if family.startswith("van"):
        keys = FAMILIES[family][0]
        return {k: s for k, s in keys.items() if not k.endswith("tracked") and not k.startswith("head.")}
    keys = key_lists.official(key_lists.R50 if "r50" in family else key_lists.R101)
    if family.startswith(("mit", "torchvision")):
        keys = {key: shape for key, shape in keys.items() if not key.startswith(("head.", "dsn."))}
    if family.startswith("torchvision"):
        keys = {k: s for k, s in keys.items() if k.split(".")[0] not in ("conv2", "bn2", "conv3", "bn3")}
        keys["conv1.weight"] = (64, 3, 7, 7)
        keys.update({"layer1.0.conv1.weight": (64, 64, 1, 1), "layer1.0.downsample.0.weight": (256, 64, 1, 1)})
    if family.startswith("mmseg"):
        keys.update(key_lists.stem(key_lists.DEEP, (32, 32, 64), False))
        keys.update({"layer1.0.conv1.weight": (64, 64, 1, 1), "layer1.0.downsample.0.weight": (256, 64, 1, 1)})
        keys.update({**key_lists.conv("dsn.0", 256, 1024, 3), **key_lists.norm("dsn.1", 256, False)})
        keys.update({"dsn.3.weight": (19, 256, 1, 1)})
        del keys["dsn.0.bias"]
    return keys
