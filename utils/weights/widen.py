"""Weights for images of three channels, for a network of another number: each input channel of the first convolution
becomes the mean of the three times 3 / N, so that N equal channels give what three gave."""

import numpy as np

FIRST = ("conv1.weight", "patch_embed1.proj.weight", "down1.conv.weight")  # the first convolution


def widened(arrays, state):
    """-> (arrays that fit the network with this state_dict, "" or "; a remark")."""
    key = next((key for key in FIRST if key in arrays and key in state), None)
    channels = state[key].shape[1] if key else 3
    if key is None or arrays[key].shape[1:2] != (3,) or channels == 3:
        return arrays, ""
    mean = arrays[key].mean(1, keepdims=True) * np.float32(3 / channels)
    remark = f"; {key} widened from 3 to {channels} channels, each the mean of the three times 3/{channels}"
    return {**arrays, key: np.repeat(mean, channels, axis=1)}, remark
