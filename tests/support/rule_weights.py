"""Weights and inputs that any program can rebuild from names and shapes, to compare implementations.

Each array is drawn in float64 from a generator seeded with the CRC of its key. tests/golden/networks.npz holds the
outputs of the published PyTorch networks with these weights.
"""

import re
import zlib

import numpy as np


def generator(text):
    return np.random.default_rng(zlib.crc32(text.encode()))


def image(tag, shape):
    return generator(tag).standard_normal(shape).astype(np.float32)


def ccnet(shapes):
    """{key: shape} of an official CCNet -> {key: float32 array}."""
    norms = {key[: -len(".running_mean")] for key in shapes if key.endswith(".running_mean")}

    def draw(key, shape):
        rng, (base, name) = generator(key), key.rsplit(".", 1)
        fan_in = np.prod(shape[1:])
        if name == "gamma":
            return np.full(shape, 0.5)
        if name == "running_mean" or (name == "bias" and base in norms):
            return 0.1 * rng.standard_normal(shape)
        if name == "running_var":
            return rng.uniform(0.5, 1.5, shape)
        if name == "bias":
            return 0.05 * rng.standard_normal(shape)
        if base in norms:  # the last norm of a residual block is small, so that the output of 33 blocks stays bounded
            return rng.uniform(*((0.1, 0.3) if re.match(r"layer\d\.\d+\.bn3$", base) else (0.5, 1.5)), shape)
        if base.endswith(("query_conv", "key_conv")):
            return rng.standard_normal(shape) * 0.5 / np.sqrt(fan_in)
        small = 0.08 if key == "head.conva.0.weight" else 1
        return rng.standard_normal(shape) * small * np.sqrt(2 / fan_in)

    return {key: draw(key, shape).astype(np.float32) for key, shape in shapes.items()}


def van(shapes):
    """{key: shape} of a VAN -> {key: float32 array}."""

    def draw(key, shape):
        rng = generator(key)
        if key.endswith("running_mean"):
            return 0.1 * rng.standard_normal(shape)
        if key.endswith("running_var"):
            return rng.uniform(0.5, 1.5, shape)
        if "layer_scale_" in key:
            return rng.uniform(0.02, 0.2, shape)
        if key.endswith(".bias"):
            return 0.05 * rng.standard_normal(shape)
        if len(shape) == 1:
            return rng.uniform(0.5, 1.5, shape)
        return rng.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))

    return {key: draw(key, shape).astype(np.float32) for key, shape in shapes.items()}


def fill(model):
    """Loads the weights for its keys and shapes into a network, and switches it to evaluation. -> the weights"""
    from utils.weights import checkpoint

    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    weights = (van if "patch_embed1.proj.weight" in shapes else ccnet)(shapes)
    checkpoint.load_weights(model, weights)
    model.eval()
    return weights
