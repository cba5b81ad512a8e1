"""Weights for three channels in a network of another number."""

import jittor as jt
import numpy as np
import pytest

from models import build_model
from utils.weights import any_file
from utils.weights.widen import widened


@pytest.mark.parametrize("model, key", [("ccnet_r18", "conv1.weight"), ("van", "patch_embed1.proj.weight")])
@pytest.mark.parametrize("channels", [1, 5])
def test_equal_channels_give_what_three_gave(rng, model, key, channels):
    options = {"van_size": "van_tiny"} if model == "van" else {}
    arrays = {k: v.numpy() for k, v in build_model(model, 3, **options).state_dict().items()}
    network = build_model(model, 3, in_channels=channels, **options)
    line = any_file.start_from(network, arrays, "a.npz")
    assert f"{key} widened from 3 to {channels} channels" in line
    weight = dict(network.state_dict())[key].numpy()
    np.testing.assert_allclose(
        weight, np.repeat(arrays[key].mean(1, keepdims=True) * 3 / channels, channels, 1), rtol=1e-6
    )
    np.testing.assert_allclose(weight.sum(1), arrays[key].sum(1), atol=1e-6)


def test_three_channels_stay_as_they_are():
    arrays = {"conv1.weight": np.ones((4, 3, 3, 3), np.float32)}
    assert widened(arrays, {"conv1.weight": jt.ones((4, 3, 3, 3))}) == (arrays, "")
    assert widened({}, {}) == ({}, "")
