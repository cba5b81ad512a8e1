"""The folder for walks of recipes and weight files: a user's folder outside the repository, with generated data and
weights. conftest.py provides these fixtures to every walk.

Only sizes are reduced (CUT): 2 steps of 2 crops of 65x65, scenes of 64x96, and one validation image.
"""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from walks import weight_files

ROOT = Path(__file__).resolve().parent.parent.parent
CUT = "--num-steps 2 --input-size 65,65 --batch-size 2 --eval-images 1 --keep-last 1 --device cpu".split()
SCENES = {  # dataset -> value of --data-dir
    "cityscapes": "data/cityscapes",
    "ade20k": "data/ade20k/ADEChallengeData2016",
    "voc": "data/voc/VOCdevkit",
    "camvid": "data/camvid",
    "lip": "data/lip",
    "coco_stuff": "data/coco_stuff",
}
ROOT_MAY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """weights(name) -> path of a file in the layout of that published one; written once, removed at the end."""
    folder = tmp_path_factory.mktemp("weights")
    yield lambda name: weight_files.make(name, folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder with data/<dataset>, written by scripts/data/make_scenes.py."""
    folder = tmp_path_factory.mktemp("scenes")
    for name in SCENES:
        make = ["--layout", name, "--out", f"data/{name}", "--count", "3", "--size", "64,96"]
        walk(folder, [sys.executable, ROOT / "scripts/data/make_scenes.py", *make])
    voc = folder / "data/voc/VOCdevkit/VOC2012"  # as scripts/data/prepare_voc_aug.py writes it
    shutil.copytree(voc / "SegmentationClass", voc / "SegmentationClassAug")
    shutil.copy(voc / "ImageSets/Segmentation/train.txt", voc / "ImageSets/Segmentation/trainaug.txt")
    return folder


@pytest.fixture
def place(tmp_path, scenes):
    """A user's folder with data/ and an empty dataset/ for weights; removed at the end: checkpoints are large."""
    (tmp_path / "user/dataset").mkdir(parents=True)
    (tmp_path / "user/data").symlink_to(scenes / "data")
    yield tmp_path / "user"
    shutil.rmtree(tmp_path / "user")


def walk(folder, command, code=0, **env):
    """Run a command in `folder` with relative paths. -> CompletedProcess; .output is its whole output."""
    full = {**os.environ, "VENV": sys.prefix, "GPUS": "1", **env}
    command = [os.path.relpath(part, folder) if isinstance(part, Path) else part for part in command]
    done = subprocess.run(command, cwd=folder, env=full, capture_output=True, text=True, timeout=900)
    done.output = done.stdout + done.stderr
    assert done.returncode == code, done.output[-3000:]
    return done


def python(script, *arguments):
    return [sys.executable, ROOT / script, *arguments]


def check_run(folder, steps):
    """Check the rows of log.csv and the last checkpoint. -> the options in args.json"""
    with open(folder / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, steps + 1))
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    assert (folder / f"CS_scenes_{steps}.npz").is_file()
    return json.loads((folder / "args.json").read_text())["options"]


def evaluate(place, checkpoint, data, classes, *flags):
    """-> result.json"""
    call = python("evaluate.py", "--restore-from", checkpoint, "--data-dir", data, "--save-dir", "scores")
    walk(place, [*call, "--eval-images", "2", "--device", "cpu", *flags])
    result = json.loads((place / "scores/result.json").read_text())
    assert 0 <= result["miou"] <= 1 and len(result["iou"]) == classes
    return result


def predict(place, checkpoint, classes, *flags):
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(image).save(place / "photo.png")
    call = python("scripts/predict.py", "--restore-from", checkpoint, "--input", "photo.png", "--save-dir", "out")
    walk(place, [*call, "--device", "cpu", *flags])
    label = np.asarray(Image.open(place / "out/photo_label.png"))
    assert label.shape == (50, 70) and label.max() < classes
    assert (place / "out/photo_overlay.png").is_file() and (place / "out/photo_color.png").is_file()
