"""Images of one, four and five channels: verify, train, resume, pack, evaluate, predict, export, without repeating a
flag."""

import json

import numpy as np
import pytest
from PIL import Image
from walks.test_own_data import walk  # noqa: F401 (a fixture)

from utils.weights import checkpoint

TRAIN = "--device cpu --model ccnet_r18 --input-size 33,33 --batch-size 2 --num-steps 2 --save-pred-every 1".split()
TRAIN += "--random-mirror --random-scale --color-jitter".split()


def write(root, channels, save, size=(50, 60)):
    """Images whose second half is brighter in every channel: class 1."""
    for split, count in (("train", 3), ("val", 2)):
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True)
        for number in range(count):
            label = np.zeros(size, np.uint8)
            label[:, 30:] = 1
            noise = np.random.default_rng(number).random((*size, channels))
            save(root / "images" / split / f"tile {number}", 0.4 * noise + 0.5 * label[:, :, None])
            Image.fromarray(label).save(root / "labels" / split / f"tile {number}.png")
    (root / "classes.txt").write_text("ground 0 0 0\nwater 0 0 255\n")


def tif(path, values):
    pixels = (255 * values).astype(np.uint8)
    Image.fromarray(pixels if values.shape[2] > 1 else pixels[:, :, 0]).save(f"{path}.tif", compression="tiff_deflate")


CASES = {
    "four bands, tif": (4, tif, []),
    "one band, tif": (1, tif, []),
    "five bands, float": (5, lambda path, x: np.save(f"{path}.npy", x.astype(np.float32)), []),
    "five bands, uint16": (
        5,
        lambda path, x: np.save(f"{path}.npy", (10000 * x).astype(np.uint16)),
        ["--value-range", "0,10000"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_from_images_to_predictions(walk, tmp_path, case):  # noqa: F811
    channels, save, more = CASES[case]
    write(tmp_path / "data", channels, save)
    flags = ["--channels", channels, *more]
    assert "0 errors" in walk("scripts/data/verify.py", "--data-dir", "data", "--out", "check", *flags)
    output = walk("train.py", "--data-dir", "data", *TRAIN, "--snapshot-dir", "run", *flags)
    assert f"{channels} channels: mean [" in output
    _, meta = checkpoint.load(tmp_path / "run/CS_scenes_2.npz")
    assert meta["model_options"]["in_channels"] == channels and meta["normalisation"]["channels"] == "bands"
    assert all(80 < mean < 145 for mean in meta["normalisation"]["mean"])  # of values 0 .. 0.9, scaled to 0..255
    (tmp_path / "run/CS_scenes_2.npz").unlink()
    output = walk("train.py", "--data-dir", "data", *TRAIN, "--snapshot-dir", "run", "--resume", "auto", *flags)
    assert "resumed from" in output and "mean [" not in output

    file = ["--device", "cpu", "--restore-from", "run/CS_scenes_2.npz"]
    walk("evaluate.py", *file, "--save-dir", "scores")
    walk("scripts/data/pack.py", "--data-dir", "data", "--out", "packed", *flags)
    walk("evaluate.py", *file, "--save-dir", "packed scores", "--data-dir", "packed")
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("scores", "packed scores")]
    assert results[0]["iou"] == results[1]["iou"] and results[0]["images"] == 2
    walk("scripts/predict.py", *file, "--input", "data/images/val", "--save-dir", "out")
    label = np.asarray(Image.open(tmp_path / "out/tile 0_label.png"))
    assert label.shape == (50, 60) and label.max() < 2

    output = walk("scripts/export_onnx.py", *file[2:], "--out", "net.onnx", "--check")
    assert f"image N x {channels} x H x W, float32, bands, 0..255 -> logits" in output
    image = "data/images/val/tile 0" + (".tif" if save is tif else ".npy")
    command = ["scripts/predict_onnx.py", "--model", "net.onnx", "--input", image, "--save-dir", "onnx"]
    output = walk(*command, code=int(save is tif))
    if save is tif:
        assert f"is not .npy: this network has {channels} bands" in output
    else:
        assert (np.asarray(Image.open(tmp_path / "onnx/tile 0_label.png")) == label).mean() > 0.999


def test_a_wrong_number_of_channels_is_named(walk, tmp_path):  # noqa: F811
    write(tmp_path / "data", 4, tif)
    output = walk("scripts/data/verify.py", "--data-dir", "data", "--out", "check", "--channels", "5", code=1)
    assert "has the shape 50x60x4, and --channels 5 needs height x width x 5" in output
    flags = ["--channels", "4", "--channel-mean", "100,100"]
    output = walk("train.py", "--data-dir", "data", *TRAIN, "--snapshot-dir", "run", *flags, code=1)
    assert "--channel-mean has 2 numbers for 4 channels" in output
