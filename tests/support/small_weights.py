"""A small network with random weights, and its file as the official code would save it."""

import numpy as np

from models import build_model
from utils.weights.formats import pytorch

SMALL = {"model": "ccnet_r18", "num_classes": 9, "recurrence": 2, "ignore_label": 255}


def random_network():
    """-> (ccnet_r18, {key: array}): weights of both signs, and statistics that no network has by chance."""
    model, rng = build_model("ccnet_r18", 9), np.random.default_rng(5)
    arrays = {key: rng.standard_normal(value.shape).astype(np.float32) for key, value in model.state_dict().items()}
    return model, arrays


def save_official(folder, arrays):
    """CS_scenes_9.pth, as the official code would save it: data parallel and wrapped. -> its path"""
    path = folder / "CS_scenes_9.pth"
    pytorch.save(path, {"epoch": 2, "model": {f"module.{key}": value for key, value in arrays.items()}})
    return path


def backbone(arrays):
    return {key: value for key, value in arrays.items() if not key.startswith(("head.", "dsn."))}


def same(got, arrays):
    assert set(got) == set(arrays)
    for key in arrays:
        np.testing.assert_array_equal(got[key], arrays[key], err_msg=key)


def abn(arrays):
    norms = {key[: -len("running_mean")] + "weight" for key in arrays if key.endswith("running_mean")}
    return {key: np.abs(a) + np.float32(1e-5) if key in norms else a for key, a in arrays.items()}
