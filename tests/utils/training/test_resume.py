"""Runs that are stopped or killed and resumed, by train.py with a tiny network."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from utils.weights import checkpoint

ROOT = Path(__file__).resolve().parents[3]
TINY = "tests/support/tiny.py --device cpu --model tiny --scene-size 24,40 --input-size 24,32 --batch-size 4"
TINY += " --learning-rate 1e-2 --random-mirror --random-scale"
OFTEN = "--num-steps 60 --save-pred-every 3 --keep-last 2"


def start(folder, *options, env=None):
    command = [sys.executable, *TINY.split(), "--snapshot-dir", str(folder), *" ".join(options).split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(env or {})}, **pipes)


def run(folder, *options, env=None, code=0):
    process = start(folder, *options, env=env)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def same(a, b):
    """Two checkpoints have bit-identical weights and moments, and the same position."""
    (one, meta), (two, other_meta) = checkpoint.read(a), checkpoint.read(b)
    differ = [key for key in one if key not in two or one[key].tobytes() != two[key].tobytes()]
    assert set(one) == set(two) and not differ, differ
    for key in ("step", "samples", "epoch", "position"):
        assert meta[key] == other_meta[key]


def losses(folder):
    return [(row["step"], row["loss"], row["lr"]) for row in csv.DictReader(open(folder / "log.csv"))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that is not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, OFTEN)
    return folder


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--optimizer adamw --ohem --ohem-thres 0.3 --ohem-keep 640 --ccl 0.1 --accumulate 2 --warmup-steps 5 "
        "--class-weights 1,2,1,1,1,1,3,1,1 --eval-every 5 --eval-images 2",
    ],
    ids=["sgd", "everything"],
)
def test_a_resumed_run_is_bit_identical_to_one_that_was_not_interrupted(tmp_path, options):
    """Including dropout, augmentation, sample order, moments, schedule and log."""
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    run(straight, "--num-steps 12 --save-pred-every 6", options)
    run(broken, "--max-iter 12 --num-steps 7 --save-pred-every 6", options)  # the same schedule, cut off after step 7
    (broken / "CS_scenes_7.npz").unlink()  # steps after the last checkpoint are lost and repeated
    output = run(broken, "--num-steps 12 --save-pred-every 6 --resume auto", options)
    assert "resumed from" in output and "CS_scenes_6.npz: step 6, epoch 0 + 24 samples" in output
    same(straight / "CS_scenes_12.npz", broken / "CS_scenes_12.npz")
    assert losses(straight) == losses(broken)


def test_a_checkpoint_records_the_options_and_the_position(whole):
    _, meta = checkpoint.read(whole / "CS_scenes_60.npz")
    assert (meta["step"], meta["samples"], meta["epoch"], meta["position"], meta["seed"]) == (60, 240, 0, 240, 12345)
    assert meta["options"]["learning_rate"] == 0.01 and meta["normalisation"]["channels"] == "bgr" and "commit" in meta
    assert sorted(p.name for p in whole.glob("*.npz")) == ["CS_scenes_57.npz", "CS_scenes_60.npz"]  # --keep-last 2


def killed_and_resumed(folder, whole, kills, seed):
    """SIGKILL `kills` times, every second time while a checkpoint is being written; then run to the end."""
    rng, inside, steps = random.Random(seed), 0, []
    for number in range(kills):
        pause = "0.5" if number % 2 else "0.04"  # long enough to be seen on a busy machine
        process = start(folder, OFTEN, "--resume auto", env={"SLOW_SAVES": pause})
        deadline, log = time.time() + 120, folder / "log.csv"
        size = log.stat().st_size if log.exists() else 0
        while process.poll() is None and time.time() < deadline:
            if number % 2 and list(folder.glob("CS_scenes_*.part")):
                inside += 1
                break
            if not number % 2 and log.exists() and log.stat().st_size != size:  # it trains: wait for a random time
                time.sleep(rng.random() * 0.15)
                break
            time.sleep(0.001)
        process.kill()
        process.communicate()
        for path in checkpoint.steps_in(folder).values():
            checkpoint.read(path)  # a file with the name of a checkpoint is complete
        steps.append(max(checkpoint.steps_in(folder), default=0))
    assert inside >= kills // 2 - 1, f"only {inside} kills fell into a save"
    assert steps[-1] < 60, steps
    run(folder, OFTEN, "--resume auto")
    same(whole / "CS_scenes_60.npz", folder / "CS_scenes_60.npz")
    assert losses(folder) == losses(whole) and not list(folder.glob("*.part"))
    return steps


def test_killed_four_times_and_resumed_the_weights_are_the_same(tmp_path, whole):
    killed_and_resumed(tmp_path, whole, 4, seed=1)


@pytest.mark.slow
def test_killed_twenty_times_and_resumed_the_weights_are_the_same(tmp_path, whole):
    killed_and_resumed(tmp_path, whole, 20, seed=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_a_checkpoint_and_exits_with_code_75(tmp_path, whole, number):
    process = start(tmp_path, "--num-steps 60", env={"PAUSE": "0.05"})
    while process.poll() is None and not ((tmp_path / "log.csv").exists() and len(losses(tmp_path)) > 3):
        time.sleep(0.02)
    process.send_signal(number)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 75, output
    assert f"{number.name}: the run ends after this step" in output and "continue with --resume auto" in output
    (step,) = checkpoint.steps_in(tmp_path)
    assert 3 < step < 60 and f"stopped on request after step {step}" in output
    run(tmp_path, OFTEN, "--resume auto")
    same(whole / "CS_scenes_60.npz", tmp_path / "CS_scenes_60.npz")


def test_a_full_disk_ends_the_run_and_keeps_the_older_checkpoint(tmp_path):
    run(tmp_path, "--max-iter 12 --num-steps 6")
    before = (tmp_path / "CS_scenes_6.npz").read_bytes()
    assert len(before) > 30000
    output = run(tmp_path, "--num-steps 12 --save-pred-every 2 --resume auto", env={"DISK": "20000"}, code=1)
    assert "CS_scenes_8.npz could not be written" in output and "Older checkpoints are as they were" in output
    assert "Traceback" not in output and not list(tmp_path.glob("*.part"))
    assert (tmp_path / "CS_scenes_6.npz").read_bytes() == before
    run(tmp_path, "--num-steps 12 --resume auto")


def test_a_folder_that_is_not_writable_is_an_error_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    output = run(tmp_path / "file" / "runs", "--num-steps 2", code=1)
    assert "cannot be written" in output and "name another folder" in output and "Traceback" not in output


def test_nan_ends_the_run_with_its_step_its_samples_and_a_postmortem_file(tmp_path):
    output = run(tmp_path, "--num-steps 9 --save-pred-every 2", env={"FAULT": "0:3:nan"}, code=1)
    assert "not finite at step 3" in output and "nan" in output and "Traceback" not in output
    arrays, meta = checkpoint.read(tmp_path / "postmortem_3_rank0.npz")
    assert meta["step"] == 3 and len(meta["samples"]) == 4 and all(name in output for name in meta["samples"])
    assert np.isnan(arrays["batch/images0"]).all() and arrays["batch/labels0"].shape == (4, 24, 32)
    assert all(np.isfinite(value).all() for key, value in arrays.items() if "/" not in key and "running" not in key)
    output = run(tmp_path, "--num-steps 9 --resume auto")
    assert "CS_scenes_2.npz: step 2" in output


def test_the_best_checkpoint_is_kept_besides_the_last(tmp_path):
    run(tmp_path, "--num-steps 12 --save-pred-every 4 --keep-last 1 --eval-every 3 --eval-images 4")
    rows = [(int(row["step"]), float(row["miou"])) for row in csv.DictReader(open(tmp_path / "validation.csv"))]
    assert [step for step, _ in rows] == [3, 6, 9, 12]
    _, meta = checkpoint.read(tmp_path / "best.npz")
    step, miou = max(rows, key=lambda row: row[1])
    assert meta["step"] == meta["best"]["step"] == step and meta["best"]["miou"] == pytest.approx(miou, rel=1e-4)
    assert list(checkpoint.steps_in(tmp_path)) == [12]
    assert {"loss.png", "miou.png", "sheet.png", "args.json"} <= {p.name for p in tmp_path.iterdir()}


def test_a_damaged_newest_checkpoint_is_skipped(tmp_path):
    run(tmp_path, "--num-steps 4 --save-pred-every 2")
    path = tmp_path / "CS_scenes_4.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    output = run(tmp_path, "--num-steps 6 --resume auto")
    assert (
        "CS_scenes_4.npz is not a checkpoint of this project, or it is damaged" in output and "step 2, epoch" in output
    )


def test_a_run_that_cannot_be_resumed_is_an_error_and_changed_options_are_reported(tmp_path):
    run(tmp_path, "--num-steps 2")
    path = tmp_path / "CS_scenes_2.npz"
    output = run(
        tmp_path, f"--num-steps 4 --recurrence 1 --resume {path}", code=1
    )  # the flag was not given, and the default is 2
    assert "is of a run with --recurrence 2, this one has 1" in output
    output = run(tmp_path, f"--num-steps 4 --weight-decay 0 -c {path}")
    assert "--weight-decay was 0.0005 in the run that is resumed, now 0.0" in output
    assert "nothing to do" in run(tmp_path, "--num-steps 4 --weight-decay 0 --resume auto")
    assert "no checkpoint" in run(tmp_path / "new", "--num-steps 1 --resume auto")
    assert "no checkpoint gone.npz" in run(tmp_path, "--num-steps 4 --resume gone.npz", code=1)


def test_start_and_max_iter_split_a_schedule_into_several_runs(tmp_path):
    """As the scripts of a Jittor port call it; only the momentum is reset."""
    run(tmp_path, "--start 4 --max-iter 12 --num-steps 4 --save-pred-every 4")
    assert [(step, float(rate)) for step, _, rate in losses(tmp_path)] == [
        (str(step + 1), pytest.approx(1e-2 * (1 - step / 12) ** 0.9, rel=1e-5)) for step in range(4, 8)
    ]
    assert json.loads((tmp_path / "args.json").read_text())["options"]["last_step"] == 8
