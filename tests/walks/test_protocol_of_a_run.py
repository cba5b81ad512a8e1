"""A run validates by its protocol, and evaluate.py and predict.py follow it: the same score without a flag."""

import csv
import json

import pytest
from walks.places import predict, python, walk

TRAIN = "--model ccnet_r18 --dataset scenes --scene-size 48,96 --input-size 33,49 --batch-size 2 --num-steps 2".split()
TRAIN += "--eval-every 2 --eval-images 3 --device cpu --eval-input-size 33,49 --eval-overlap 0.5".split()
TRAIN += "--eval-short-side 40 --align-corners no".split()
LINE = "protocol: sliding 33x49, overlap 0.5, short side 40 (long side at most 160); align_corners no; labels: scenes, "


def test_evaluation_without_flags_repeats_the_validation(tmp_path):
    done = walk(tmp_path, python("train.py", *TRAIN, "--snapshot-dir", "run"))
    assert f"{LINE}9 classes, 255 ignored (validation follows it, checkpoints record it)" in done.stdout
    with open(tmp_path / "run/validation.csv") as file:
        (row,) = csv.DictReader(file)
    call = python("evaluate.py", "--restore-from", "run/best.npz", "--eval-images", "3", "--device", "cpu")
    done = walk(tmp_path, [*call, "--save-dir", "same"])
    assert f"{LINE}9 classes, 255 ignored (recorded in the checkpoint)" in done.stdout
    same = json.loads((tmp_path / "same/result.json").read_text())
    assert same["miou"] == pytest.approx(float(row["miou"]), abs=2e-6)
    done = walk(tmp_path, [*call, "--save-dir", "other", "--whole", "--short-side", "0", "--align-corners"])
    assert "changed by flags: window, short side, long side, align corners)" in done.stdout
    other = json.loads((tmp_path / "other/result.json").read_text())
    assert other["miou"] != same["miou"] and other["settings"]["protocol"]["window"] is None
    predict(tmp_path, "run/best.npz", 9)
    again = walk(tmp_path, python("train.py", *TRAIN, "--num-steps", "3", "--resume", "auto", "--snapshot-dir", "run"))
    assert LINE in again.stdout
