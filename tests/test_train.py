"""Short runs of train.py and evaluate.py."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import train
from utils.weights import checkpoint

TRAIN = "python train.py --model ccnet_r18 --device cpu --scene-size 48,96 --input-size 48,64".split()
TRAIN += "--batch-size 2 --num-steps 3".split()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two short runs with the same seed, and one evaluation."""
    import os
    import subprocess
    import sys

    folders, outputs = [tmp_path_factory.mktemp(name) for name in ("first", "second")], []
    for folder in folders:
        command = [*TRAIN, "--snapshot-dir", str(folder), "--learning-rate", "1e-3", "--save-pred-every", "2"]
        outputs.append(subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, env=os.environ))
        assert outputs[-1].returncode == 0, outputs[-1].stdout + outputs[-1].stderr
    command = ["evaluate.py", "--device", "cpu", "--scene-size", "48,96", "--eval-images", "20", "--batch-size", "8"]
    command += ["--restore-from", str(folders[0] / "CS_scenes_3.npz")]
    outputs.append(subprocess.run([sys.executable, *command], capture_output=True, text=True, env=os.environ))
    assert outputs[-1].returncode == 0, outputs[-1].stdout + outputs[-1].stderr
    return folders, outputs


def test_the_files_of_a_run(runs):
    (folder, _), (done, *_) = runs
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == [
        "CS_scenes_2.npz",
        "CS_scenes_3.npz",
        "args.json",
        "log.csv",
        "loss.png",
        "validation.csv",
    ]
    rows = list(csv.DictReader(open(folder / "log.csv")))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    rates = [float(row["lr"]) for row in rows]
    np.testing.assert_allclose(rates, [1e-3 * (1 - step / 3) ** 0.9 for step in range(3)], rtol=1e-5)
    for row in rows:
        np.testing.assert_allclose(float(row["loss"]), float(row["main"]) + 0.4 * float(row["aux"]), rtol=1e-4)
    record = json.loads((folder / "args.json").read_text())
    assert (
        record["model"] == "ccnet_r18" and record["options"]["num_steps"] == 3 and record["machine"]["device"] == "cpu"
    )
    assert Image.open(folder / "loss.png").size == (860, 420)


def test_the_first_line_describes_the_run_and_jittor_prints_nothing(runs):
    _, (done, *_) = runs
    assert done.stdout.startswith("cpu (--device cpu) · 1 MPI rank · 1 thread · attention fused · jittor 1.3.11")
    assert "Compiling" not in done.stdout + done.stderr and "[i " not in done.stdout + done.stderr
    assert "step 3/3 loss" in done.stderr and all(
        word in done.stderr for word in ("gamma", "lr ", "img/s", "wait", "left")
    )


def test_the_same_seed_gives_the_same_run(runs):
    (first, second), _ = runs
    columns = ("step", "loss", "main", "aux", "lr", "gamma")
    rows = [[[row[c] for c in columns] for row in csv.DictReader(open(f / "log.csv"))] for f in (first, second)]
    assert rows[0] == rows[1]
    weights = [checkpoint.load(folder / "CS_scenes_3.npz")[0] for folder in (first, second)]
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])


def test_a_checkpoint_records_what_evaluation_needs(runs):
    (folder, _), _ = runs
    _, meta = checkpoint.load(folder / "CS_scenes_3.npz")
    assert (meta["step"], meta["num_classes"], meta["recurrence"], meta["ignore_label"]) == (3, 9, 2, 255)
    assert meta["normalisation"]["channels"] == "bgr" and meta["options"]["batch_size"] == 2


def test_evaluation_writes_table_and_files(runs):
    (folder, _), (*_, done) = runs
    out = folder / "outputs"
    result = json.loads((out / "result.json").read_text())
    official = json.loads((out / "result.txt").read_text())
    assert result["images"] == 20 and set(result["iou"]) >= {"road", "pole"} and len(official["IU_array"]) == 9
    assert official["meanIU"] == pytest.approx(result["miou"]) and 0 <= result["pixel_accuracy"] <= 1
    for name in ("class", "road", "person", "mean IoU", "pixel accuracy"):
        assert name in done.stdout
    assert Image.open(out / "sheet.png").size[0] > 250


def test_an_untrained_network_has_a_low_score(runs):
    """After three steps at a tiny learning rate the mean IoU is below 0.15; the demo reaches 0.70."""
    (folder, _), _ = runs
    assert json.loads((folder / "outputs" / "result.json").read_text())["miou"] < 0.15


def test_mistakes_are_reported_in_one_line(runs, run_command, tmp_path):
    (folder, _), _ = runs
    weights = str(folder / "CS_scenes_3.npz")
    for command, code, words in (
        (["evaluate.py", "--restore-from", "gone.npz"], 1, "evaluate.py: no checkpoint gone.npz"),
        (["evaluate.py", "--restore-from", "README.md"], 1, "evaluate.py: README.md: not a checkpoint"),
        (["train.py", "--model", "ccnet_r19"], 2, "ccnet_r18"),
        (["train.py", "--input-size", "0"], 2, "'0' is not a size"),
        (["train.py", "--batch-size", "-1"], 2, "'-1': expected a whole number"),
        (
            ["train.py", "--learning-rate", "1e9", *TRAIN[2:], "--snapshot-dir", str(tmp_path)],
            1,
            "a lower --learning-rate",
        ),
        (
            [
                "evaluate.py",
                "--restore-from",
                weights,
                "--scene-size",
                "48,96",
                "--eval-images",
                "2",
                "--min-miou",
                "0.9",
            ],
            1,
            "below --min-miou 0.9",
        ),
    ):
        done = run_command("python", *command)
        assert done.returncode == code and words in done.stderr, (command, done.stderr[-500:])
        assert "Traceback" not in done.stderr


def test_the_memory_of_a_van_is_that_of_the_size_in_the_file(monkeypatch):
    """--restore-from decides the size where no flag gives it."""
    from utils.training import checks

    seen = []
    monkeypatch.setattr(checks, "before_first_step", lambda *arguments: seen.append(arguments[6]))
    args = train.parse_args(["--model", "van"])
    train.check_data(args, {"model_options": {"van_size": "van_large"}}, None, None, "cpu")
    assert seen == [("van", "van_large", "sgd")]
