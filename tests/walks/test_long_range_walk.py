"""A small form of scripts/recipes/long_range.sh, from training to the table and the figure: one seed, 100 steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
CALL = [ROOT / "scripts/recipes/long_range.sh", "--num-steps", "100", "--eval-every", "50", "--eval-images", "30"]


def walk(folder, **env):
    env = {**os.environ, "VENV": sys.prefix, "SEEDS": "1", "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run(CALL, cwd=folder, env=env, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long_range")
    return folder, walk(folder, TABLE="--eval-images 60 --no-cost")


def test_without_attention_a_guess_with_one_pass_half_with_two_everything(run):
    folder, output = run
    results = json.loads((folder / "snapshots/long_range/long_range.json").read_text())["results"]
    none, one, two, full = (results[name]["1"] for name in ("r0", "r1", "r2", "non_local"))
    for guess in (none["cross"], none["anywhere"], one["anywhere"], *(x["without"] for x in (one, two, full))):
        assert 0.15 < guess < 0.55, results  # a third, of 60 images
    for solved in (one["cross"], two["cross"], two["anywhere"]):
        assert solved > 0.9, results
    assert none["gamma"] == 0 and min(abs(one["gamma"]), abs(two["gamma"])) > 0.2
    assert one["attention"]["cross"] > 0.4 and two["attention"]["anywhere"] > 0.4
    assert one["attention"]["anywhere"] == 0  # a pass along row and column cannot end there


def test_the_table_and_the_figure(run):
    folder, output = run
    rows = [line for line in output.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == [
        "| no attention (R = 0)",
        "| criss-cross, R = 1",
        "| criss-cross, R = 2",
        "| non-local",
    ]
    with Image.open(folder / "snapshots/long_range/long_range.png") as figure:
        assert figure.width > 800 and figure.height > 700


def test_a_second_call_continues(run):
    folder, _ = run
    output = walk(folder, TABLE="--eval-images 3 --no-cost")
    assert output.count("is at step 100 of 100: nothing to do") == 4 and "figure: " in output
