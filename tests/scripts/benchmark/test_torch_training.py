"""scripts/benchmark/torch_training.py: the loss curve of PyTorch is ours, up to rounding."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FLAGS = "--model ccnet_r18 --dataset scenes --scene-size 64,96 --input-size 64,96 --batch-size 2 --num-steps 4".split()
FLAGS += "--random-mirror --random-scale --head-lr-factor 2 --class-weights 1,2,1,1,1,1,3,1,1".split()
SETTINGS = {
    "sgd": ["--learning-rate", "1e-4"],
    "adamw": ["--learning-rate", "1e-6", "--optimizer", "adamw", "--weight-decay", "0.01", "--warmup-steps", "2"],
}


def run(folder, program, *flags):
    done = subprocess.run([sys.executable, ROOT / program, *flags], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("optimizer", SETTINGS)
def test_both_curves_agree(tmp_path, optimizer):
    pytest.importorskip("torch")
    for program, name in (("train.py", "here"), ("scripts/benchmark/torch_training.py", "pytorch")):
        code, text = run(tmp_path, program, *FLAGS, *SETTINGS[optimizer], "--snapshot-dir", name)
        assert code == 0, text
    code, text = run(tmp_path, "scripts/plot_log.py", "here", "pytorch", "--max-relative", "1e-4")
    assert code == 0, text
    assert json.loads(text.splitlines()[0])["steps"] == 4
    here, other = ((tmp_path / name / "log.csv").read_text().splitlines() for name in ("here", "pytorch"))
    assert here[0] == other[0] and here[1] != here[2]  # the same columns; the loss moves


@pytest.mark.parametrize("flags", [["--model", "van"], ["--ohem"], ["--dice", "0.5"], ["--accumulate", "2"]])
def test_another_training_is_refused(tmp_path, flags):
    pytest.importorskip("torch")
    code, text = run(
        tmp_path, "scripts/benchmark/torch_training.py", "--model", "ccnet_r18", "--snapshot-dir", "x", *flags
    )
    assert code == 1 and flags[0] in text.splitlines()[-1], text
    assert not (tmp_path / "x").exists()
