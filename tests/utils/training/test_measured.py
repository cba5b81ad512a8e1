"""What is measured once on the training data: the cache, and mean and standard deviation of the channels in it."""

import os

import numpy as np
import pytest
from PIL import Image

from datasets import build_dataset
from datasets.reading import bands
from models.tables import CAFFE_BGR
from utils.training import measured


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_result_is_measured_again_for_another_state_topic_or_file(capsys):
    calls = []

    def measure():
        calls.append(1)
        return {"value": len(calls)}

    assert measured.cached("a", [1], measure) == measured.cached("a", [1], measure) == {"value": 1}
    assert f"a: measured before, {measured.cache_folder()}" in capsys.readouterr().out
    assert measured.cached("a", [2], measure) == {"value": 2} and measured.cached("b", [1], measure) == {"value": 3}
    assert measured.once("a", lambda: [1], measure) == {"value": 1}
    assert measured.once("a", lambda: [1], measure, lambda known: known["other"]) == {"value": 4}  # not valid
    for file in measured.cache_folder().iterdir():
        file.write_text("{")
    assert measured.cached("a", [1], measure) == {"value": 5}


def write(root, value):
    for folder in ("images", "labels"):
        (root / folder / "train").mkdir(parents=True, exist_ok=True)
    np.save(root / "images/train/a.npy", np.full((10, 12, 5), value, np.uint8))
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(root / "labels/train/a.png")


def mean_of(root, working=True, **options):
    data = build_dataset("folder", "train", str(root), num_classes=2, channels=5, **options)
    if not working:
        data.open_pair = None  # a measurement would fail
    return bands.for_network(data, CAFFE_BGR, {}, once=measured.once)["normalisation"]["mean"]


def test_the_statistics_of_channels_are_cached_until_an_image_changes(tmp_path, capsys):
    write(tmp_path / "data", 100)
    assert mean_of(tmp_path / "data") == mean_of(tmp_path / "data", working=False) == [100] * 5
    assert "mean and standard deviation of the channels: measured before" in capsys.readouterr().out
    Image.fromarray(np.ones((10, 12), np.uint8)).save(tmp_path / "data/labels/train/a.png")
    assert mean_of(tmp_path / "data", working=False) == [100] * 5  # labels do not matter
    assert mean_of(tmp_path / "data", value_range=(0, 200)) == [128] * 5
    write(tmp_path / "data", 50)
    os.utime(tmp_path / "data/images/train/a.npy", (1, 1))  # also where the clock of the file system is coarse
    assert mean_of(tmp_path / "data") == [50] * 5
