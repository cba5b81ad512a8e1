"""The flags of train.py in runs of a few steps: each changes the files of the run, or is an error."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets.scenes import folders
from utils.weights import checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = "tests/support/tiny.py --device cpu --model tiny --batch-size 4 --num-steps 3 --save-pred-every 1".split()
SCENES = "--scene-size 24,40 --input-size 24,32".split()


def train(folder, *options, script=TINY, code=0):
    command = [sys.executable, *script, "--snapshot-dir", str(folder), *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ, timeout=400)
    output = done.stdout + done.stderr
    assert done.returncode == code and "Traceback" not in output, output
    return output


def column(folder, name, table="log.csv"):
    with open(folder / table, newline="") as file:
        return [float(row[name] or "nan") for row in csv.DictReader(file)]


def changed(folder, first, last):
    """Keys of the weights that differ between two steps."""
    one, two = (checkpoint.load(folder / f"CS_scenes_{step}.npz")[0] for step in (first, last))
    return {key for key in one if (one[key] != two[key]).any()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    train(folder, *SCENES)
    return folder


def test_frozen_bn_head_rate_and_warmup(tmp_path, plain):
    train(tmp_path, *SCENES, *"--frozen-bn --head-lr-factor 0 --warmup-steps 2 --power 0.5".split())
    trained, plainly_trained = changed(tmp_path, 1, 3), changed(plain, 1, 3)
    assert {"conv1.weight", "conv2.weight"} <= trained
    assert not [key for key in trained if "bn" in key or key.startswith(("head.", "dsn."))], trained
    assert {"bn1.running_mean", "bn1.weight", "head.last.2.weight", "dsn.0.weight"} <= plainly_trained
    rates = column(tmp_path, "lr")
    assert rates[0] < rates[1] and rates[2] == pytest.approx(1e-2 * (1 / 3) ** 0.5, rel=1e-4)


def test_losses_and_gradient_accumulation(tmp_path, plain):
    """Accumulation, category consistent loss, class weights and OHEM change the columns of the log."""
    options = "--accumulate 2 --ccl 0.5 --class-weights 1,2,1,1,1,1,3,1,1 --aux-weight 0.2".split()
    train(tmp_path / "all", *SCENES, *options, *"--ohem --ohem-keep 256 --ohem-thres 0.05".split())
    loss, main, aux, ccl = (column(tmp_path / "all", name) for name in ("loss", "main", "aux", "ccl"))
    np.testing.assert_allclose(loss, np.array(main) + 0.2 * np.array(aux) + 0.5 * np.array(ccl), rtol=1e-4)
    assert min(ccl) > 0 and np.isnan(column(plain, "ccl")).all()
    assert main[0] > column(plain, "main")[0] and aux[0] != column(plain, "aux")[0]  # hard pixels; weights
    assert "there are 2 class weights for 9 classes" in train(tmp_path / "b", *SCENES, "--class-weights", "1,2", code=1)
    assert "does not divide over 1 rank in 3 pieces" in train(tmp_path / "c", *SCENES, "--accumulate", "3", code=1)


def test_checkpoints_and_validations(tmp_path):
    train(tmp_path, *SCENES, *"--keep-last 2 --eval-every 2 --eval-images 2 --recurrence 1".split())
    assert sorted(checkpoint.steps_in(tmp_path)) == [2, 3]
    assert column(tmp_path, "step", "validation.csv") == [2, 3]
    assert checkpoint.load(tmp_path / "best.npz")[1]["recurrence"] == 1
    train(tmp_path / "all", *SCENES, *"--eval-every 3".split())
    heights = [Image.open(folder / "sheet.png").size[1] for folder in (tmp_path, tmp_path / "all")]
    assert heights[0] < heights[1]  # two images, and six


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return folders.write_folder(tmp_path_factory.mktemp("dataset") / "set", 4, (40, 64), 6)


CROPS = "--input-size 24,32 --random-mirror".split()


def test_augmentation_and_cache(tmp_path, dataset):
    """A cache changes nothing; every other flag changes the first batch, and with it the first loss."""
    base = (*CROPS, "--data-dir", dataset, "--num-steps", "1")
    train(tmp_path / "base", *base)
    train(tmp_path / "ram", *base, "--cache", "ram")
    first = column(tmp_path / "base", "loss")
    assert column(tmp_path / "ram", "loss") == first
    for number, options in enumerate(
        (
            "--augment official --random-scale",
            "--random-scale",
            "--short-side 30,50",
            "--scale-range 0.5,2 --color-jitter",
            "--cat-max-ratio 0.3",
        )
    ):
        train(tmp_path / str(number), *base, *options.split())
        assert column(tmp_path / str(number), "loss") != first, options
    official, fast = (column(tmp_path / name, "loss")[0] for name in ("0", "1"))
    assert official == pytest.approx(fast, rel=1e-3)


def test_odd_labels(tmp_path, dataset):
    """A value that is not a class and a label of half the size: errors of one line, allowed by flags."""
    root = folders.write_folder(tmp_path / "set", 4, (40, 64), 6)
    one, two = sorted((root / "labels" / "train").iterdir())[:2]
    label = cv2.imread(str(one), cv2.IMREAD_UNCHANGED)
    label[:4] = 77
    cv2.imwrite(str(one), label)
    output = train(tmp_path / "a", *CROPS, "--data-dir", root, code=1)
    assert "77" in output and one.name in output
    odd = (*CROPS, "--data-dir", root, "--on-bad-label", "ignore")
    train(tmp_path / "b", *odd)
    half = cv2.resize(cv2.imread(str(two), cv2.IMREAD_UNCHANGED), None, fx=0.5, fy=0.5, interpolation=0)
    cv2.imwrite(str(two), half)
    assert "--resize-labels" in train(tmp_path / "c", *odd, code=1)
    train(tmp_path / "d", *odd, "--resize-labels")


def test_a_class_without_a_pixel_is_reported_at_the_start(tmp_path, dataset):
    """--num-classes of a folder without classes.txt: the last classes have no pixel."""
    root = folders.write_folder(tmp_path / "set", 2, (40, 64), 6)
    for name in ("classes.txt", "classes.json"):
        (root / name).unlink(missing_ok=True)
    output = train(tmp_path / "a", *CROPS, "--data-dir", root, "--num-classes", "11", "--num-steps", "1")
    assert "labels of --split train:" in output and "class 9, class 10;" in output
    assert output.count("warning: no pixel of") == 1


VAN = "train.py --device cpu --model van --van-size van_tiny --batch-size 2 --num-steps 2".split()


@pytest.mark.parametrize(
    "options, recorded",
    [
        ("--output-stride 16 --plain-stride --drop-path 0.3", {"output_stride": 16, "dilate": False, "drop_path": 0.3}),
        ("--output-stride 8", {"output_stride": 8}),
    ],
)
def test_van(tmp_path, options, recorded):
    train(tmp_path, *"--scene-size 40,64 --input-size 33,33".split(), *options.split(), script=VAN)
    _, meta = checkpoint.load(tmp_path / "CS_scenes_2.npz")
    assert meta["model_options"] == {"van_size": "van_tiny", **recorded}


def test_impossible_sizes(tmp_path):
    output = train(tmp_path / "a", *SCENES[:2], "--input-size", "3", code=1)
    assert "train.py: --input-size 3,3 is too small; expected at least 8 pixels a side" in output
    output = train(tmp_path / "b", *SCENES[:2], "--input-size", "100000", code=1)
    assert "train.py: --input-size 100000,100000 is too large" in output
    output = train(tmp_path / "c", *SCENES[:2], "--input-size", "48,64", "--ohem", "--num-steps", "1")
    assert "--ohem-keep 200000 is not below the 12288 pixels" in output
    assert "--input-size 48,64 is larger than every training image that was read" in output
