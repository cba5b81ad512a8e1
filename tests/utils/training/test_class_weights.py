"""Weights of --class-weights auto: the rule, the cache, the table."""

import json

import numpy as np
import pytest
from PIL import Image

from datasets import build_dataset
from utils.training import class_weights, measured

NAMES = ("road", "tree", "car", "sign")
START = {"meta": {}, "resumed": False}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two training labels: 60 road and 40 tree; 10 road, 30 car and 60 void. No sign."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, runs in (("a", ((0, 60), (1, 40))), ("b", ((0, 10), (2, 30), (255, 60)))):
        label = np.concatenate([np.full(count, value, np.uint8) for value, count in runs]).reshape(10, 10)
        for folder, image in (("images", np.zeros((10, 10, 3), np.uint8)), ("labels", label)):
            (tmp_path / "data" / folder / "train").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / "data" / folder / "train" / f"{name}.png")
    (tmp_path / "data" / "classes.txt").write_text("\n".join(NAMES))
    return tmp_path / "data"


def test_weights_are_the_median_frequency_over_that_of_the_class(root, capsys):
    """road 70 of 140 valid pixels, tree 40 of 100, car 30 of 40: the median is 0.5. sign: 1, and a warning."""
    data = build_dataset("folder", "train", str(root))
    assert class_weights.automatic(data, START) == pytest.approx([1, 1.25, 2 / 3, 1], rel=1e-5)
    text = capsys.readouterr().out
    assert "road   50.000%  weight 1" in text and "no pixel of 1 class in 2 labels: sign;" in text
    assert text.rstrip().endswith("their weight is 1")


def test_the_count_is_cached_until_a_file_changes(root, capsys):
    first = class_weights.automatic(build_dataset("folder", "train", str(root)), START)
    data = build_dataset("folder", "train", str(root))
    read, data.open_pair = data.open_pair, None  # a second count would fail
    assert class_weights.automatic(data, START) == first and "measured before" in capsys.readouterr().out
    (cached,) = measured.cache_folder().glob("*.json")
    cached.write_text("{")
    data.open_pair = read
    assert class_weights.automatic(data, START) == first  # a damaged cache is counted again
    Image.fromarray(np.full((10, 10), 1, np.uint8)).save(root / "labels/train/a.png")
    again = class_weights.automatic(build_dataset("folder", "train", str(root)), START)
    assert again != first and len(list(measured.cache_folder().glob("*.json"))) == 2


def test_a_folder_that_cannot_be_written_is_reported(root, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    class_weights.automatic(build_dataset("folder", "train", str(root)), START)
    assert "the result is not cached" in capsys.readouterr().out


def test_a_resumed_run_keeps_its_weights():
    begin = {"meta": {"options": {"auto_class_weights": [1.0, 3.0]}}, "resumed": True}
    assert class_weights.automatic(None, begin) == [1.0, 3.0]


def test_labels_without_a_class_are_an_error():
    with pytest.raises(ValueError, match="no training label has a pixel"):
        class_weights.median_frequency([0, 0], [0, 0])


def test_a_run_records_its_weights_and_its_dice_and_resumes_with_them(run_command, root, tmp_path):
    """Also under another cache folder, where a new count would be made."""
    command = ["python", "tests/support/tiny.py", "--device", "cpu", "--model", "tiny", "--data-dir", root]
    command += ["--input-size", "8,8", "--batch-size", "2", "--class-weights", "auto", "--dice", "0.5"]
    command += ["--snapshot-dir", tmp_path / "run", "--num-steps", "4", "--save-pred-every", "2", "--accumulate", "2"]
    done = run_command(*command)
    assert done.returncode == 0 and "weight 1.25" in done.stdout, done.stderr
    options = json.loads((tmp_path / "run/args.json").read_text())["options"]
    assert options["class_weights"] == "auto" and options["auto_class_weights"][1] == 1.25
    header, *rows = (tmp_path / "run/log.csv").read_text().splitlines()
    column = header.split(",").index("dice")
    assert all(0 < float(row.split(",")[column]) < 1 for row in rows)
    (tmp_path / "run/CS_scenes_4.npz").unlink()
    done = run_command(*command, "--resume", "auto", env={"XDG_CACHE_HOME": str(tmp_path / "other")})
    assert done.returncode == 0 and "weight 1.25" not in done.stdout and "class-weights was" not in done.stdout
    assert (tmp_path / "run/log.csv").read_text().splitlines()[:3] == [header, *rows[:2]]
