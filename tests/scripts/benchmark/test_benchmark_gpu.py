"""The benchmarks for a GPU, run on the CPU."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from scripts.benchmark import cca_gpu

ROOT = Path(__file__).resolve().parents[3]


def test_the_floor_counts_operations_and_bytes():
    """97x97, 512 channels: 2.1 GFLOP forward, each of q, k, v and the output is moved once."""
    operations, moved = cca_gpu.operations_and_bytes("forward", 1, 512, 97, 97, 4)
    assert operations == 2 * 9409 * 194 * (64 + 512) and moved == 9409 * (4 * (64 + 64 + 512 + 512) + 4)
    both, more = cca_gpu.operations_and_bytes("both", 1, 512, 97, 97, 4)
    assert both - operations == 2 * 9409 * 194 * (3 * 64 + 2 * 512)
    assert more - moved == 9409 * (4 * (4 * 64 + 4 * 512) + 8)  # read q, k, v, g and the output, write three gradients


def test_attention_against_pytorch(run_command, tmp_path):
    pytest.importorskip("torch")
    options = "--device cpu --sizes 5,7 --batch 1 2 --channels 16 --dtypes float32 --rounds 2 --repeats 1 --json"
    options = [*options.split(), tmp_path / "all.json", "--only", "fused", "reference", "torch-eager", "torch-sdpa"]
    done = run_command("python", "scripts/benchmark/cca_gpu.py", *options)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| float32")]
    assert len(rows) == 4 * 2 * 2 and all(float(row[5]) > 0 for row in rows)
    assert "measured here: copy" in done.stdout and "fused is" in done.stdout and "not measured" not in done.stdout
    assert len((tmp_path / "all.json").read_text()) > 1000


def test_a_training_step(run_command):
    pytest.importorskip("torch")
    options = "--device cpu --model ccnet_r18 --batch 2 --input-size 33 --steps 2 --warm 1 --precision float32"
    done = run_command("python", "scripts/benchmark/step_gpu.py", *options.split())
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| float32 | ")]
    assert len(rows) == 2 and "float32: Jittor is " in done.stdout
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")[3:]]
        assert float(cells[0]) > 0 and float(cells[1]) > 0 and np.isfinite([float(x) for x in cells[4].split()]).all()


def test_without_a_gpu_the_benchmarks_end_in_one_line(run_command):
    from utils import runtime

    if runtime.count_gpus()[0]:
        pytest.skip("there is a GPU")
    for script in ("cca_gpu", "step_gpu"):
        done = run_command("python", f"scripts/benchmark/{script}.py")
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert f"{script}.py: --device cuda: " in done.stderr


def test_every_part_of_the_gpu_script_starts(tmp_path):
    """With programs that only print their arguments: each part must reach its command."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python", "compute-sanitizer", "nvidia-smi", "nvcc"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name}" "$@" device=$CCNET_TEST_DEVICE\n')
        (programs / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OUT": str(tmp_path / "out"), "CAMVID": "camvid"}
    parts = "prepare tests curves sanitizer attention compiled modules step train".split()
    done = subprocess.run(
        ["bash", ROOT / "scripts/benchmark/test_gpu.sh", *parts], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("exit code 0") == done.stdout.count("exit code") == 14
    for line in (
        "python -m pytest -q tests/models/cca/test_cuda.py -m cuda device=cuda",
        "python scripts/benchmark/step_gpu.py device=",
        "compute-sanitizer --tool racecheck",
    ):
        assert line in done.stdout, done.stdout
    done = subprocess.run(
        ["bash", ROOT / "scripts/benchmark/test_gpu.sh", "cinema"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 64 and "unknown part cinema" in done.stderr
