"""Training and evaluation on files, as commands."""

import json

import pytest

from datasets.scenes import folders
from utils.weights import checkpoint

STEPS = "--device cpu --input-size 48,64 --batch-size 2 --num-steps 2 --random-scale --random-mirror".split()


@pytest.mark.parametrize(
    ("layout", "more", "classes"),
    [("segnet", ["--num-workers", "2"], 11), ("ade20k", ["--num-classes", "151", "--ignore-label", "0"], 151)],
)
def test_train_and_evaluate_with_the_folder_as_the_only_option(run_command, tmp_path, layout, more, classes):
    root, out = folders.LAYOUTS[layout](tmp_path / "set", 3, (48, 96), 4), tmp_path / "out"
    done = run_command("python", "train.py", "--data-dir", root, *STEPS, *more, "--snapshot-dir", out)
    assert done.returncode == 0, done.stderr[-2000:]
    _, meta = checkpoint.load(out / "CS_scenes_2.npz")
    assert meta["dataset"] == ("camvid" if layout == "segnet" else layout)
    assert meta["num_classes"] == len(meta["names"]) == len(meta["palette"]) == classes
    assert meta["ignore_label"] == (0 if classes == 151 else 255)
    command = ["evaluate.py", "--device", "cpu", "--data-dir", root, "--restore-from", out / "CS_scenes_2.npz"]
    done = run_command("python", *command, "--save-dir", out)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((out / "result.json").read_text())
    assert result["images"] == 3 and len(result["iou"]) == classes


def test_errors_about_data_are_one_line(run_command, tmp_path):
    root = folders.write_lip(tmp_path / "set", 1, (32, 32))
    for arguments, code, words in (
        (["--data-dir", tmp_path / "gone"], 1, "gone is not a folder"),
        (["--data-dir", root, "--split", "dev"], 1, "unknown split 'dev' of LIP; choose from train, val, test"),
        (["--data-dir", root, "--num-classes", "19"], 1, "LIP has 20 classes, not 19"),
        (["--data-dir", root, "--scale-range", "2,1"], 2, "'2,1' is not a range; expected LOW,HIGH"),
        (["--data-dir", root, "--short-side", "wide"], 2, "'wide': expected numbers above 0"),
        (["--dataset", "cityscape5"], 2, "cityscapes"),
    ):
        done = run_command("python", "train.py", "--device", "cpu", *arguments, "--snapshot-dir", tmp_path / "out")
        assert done.returncode == code and words in done.stderr and "Traceback" not in done.stderr, done.stderr
