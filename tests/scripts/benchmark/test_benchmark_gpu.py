"""The benchmarks for a GPU, run on the CPU."""

import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from scripts.benchmark import cca_gpu, gpu_smoke, streaming

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


def test_one_step_compared_with_the_cpu(run_command):
    options = "--device cpu --precision float32 float16 --input-size 33,65"
    done = run_command("python", "scripts/benchmark/gpu_smoke.py", *options.split())
    assert done.returncode == 0, done.stderr
    assert "| float32 | " in done.stdout and "| right |" in done.stdout
    assert "| float16 | not available: --amp float16 needs a GPU" in done.stdout


def test_a_step_that_differs_from_the_cpu_is_reported(monkeypatch, capsys):
    weights = gpu_smoke.data((33, 33))[0]  # anything: `step` is replaced
    args = types.SimpleNamespace(device="cpu", input_size=(33, 33))
    for result, right in (
        ((2.0, weights.ravel()), True),
        ((2.1, weights.ravel()), False),
        ((2.0, -weights.ravel()), False),
    ):
        monkeypatch.setattr(gpu_smoke, "step", lambda *_, result=result: (*result, None))
        assert gpu_smoke.compare(args, "float32", (2.0, weights.ravel()), None) == right
    monkeypatch.setattr(gpu_smoke, "step", lambda *_: (float("nan"), weights.ravel(), None))
    assert not gpu_smoke.compare(args, "float32", (2.0, weights.ravel()), None)
    assert capsys.readouterr().out.count("WRONG") == 3


def test_rows_arrive_before_their_process_ends():
    """And its last message is the error."""
    code = """print('{"a": 1}', flush=True); input(); print('no row'); print('{"a": 2}'); raise ValueError('why')"""
    read, write = os.pipe()
    errors, standard = [], os.dup(0)
    os.dup2(read, 0)
    try:
        rows = streaming.rows([sys.executable, "-c", code], dict(os.environ), errors)
        assert next(rows) == {"a": 1} and not errors  # the process waits for a line of ours
        os.write(write, b"go on\n")
        assert list(rows) == [{"a": 2}] and errors == ["ValueError: why"]
    finally:
        os.dup2(standard, 0)


PARTS = "prepare smoke attention step tests curves train sanitizer compiled modules count".split()


@pytest.fixture
def gpu_script(tmp_path):
    """The script with programs that only print their arguments; those whose arguments contain $FAIL fail."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python", "compute-sanitizer", "nvidia-smi", "nvcc"):
        text = f'echo "{name}" "$@" device=$CCNET_TEST_DEVICE\n[ -z "$FAIL" ] || case "$*" in *$FAIL*) exit 3 ;; esac\n'
        (programs / name).write_text("#!/bin/sh\n" + text)
        (programs / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OUT": str(tmp_path / "out"), "CAMVID": "camvid"}

    def run(*words, **more):
        command = ["bash", ROOT / "scripts/benchmark/test_gpu.sh", *words]
        return subprocess.run(command, env={**env, **more}, capture_output=True, text=True)

    return run


def test_every_part_of_the_gpu_script_starts(gpu_script):
    done = gpu_script(*PARTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("exit code 0") == done.stdout.count("exit code") == 27
    for line in (
        "python -m pytest -q tests/models/cca/test_cuda.py -m cuda device=cuda",
        "python scripts/benchmark/step_gpu.py --precision bfloat16 --only jittor device=",
        "python scripts/benchmark/gpu_smoke.py --precision float16",
        "--data-dir camvid",
        "compute-sanitizer --tool racecheck",
    ):
        assert line in done.stdout, done.stdout
    done = gpu_script("cinema")
    assert done.returncode == 64 and "unknown part cinema" in done.stderr


def test_without_arguments_the_most_important_comes_first_and_a_second_run_continues(gpu_script):
    done = gpu_script(FAIL="step_gpu")
    pieces = [
        line.split()[1].rstrip(":") for line in done.stdout.splitlines() if line.startswith("== ") and "exit" in line
    ]
    order = ["prepare", "smoke_float32", "attention_float16", "step_float16_jittor", "operator", "curves", "train_van"]
    assert [piece for piece in pieces if piece in order] == order
    assert done.returncode == 6 and done.stdout.count("exit code 3") == 6  # three dtypes, two frameworks
    again = gpu_script()
    assert again.returncode == 0 and again.stdout.count("exit code 0") == 6
    assert again.stdout.count("finished before") == len(pieces) - 6
    assert gpu_script("--again", "smoke").stdout.count("exit code 0") == 3
    assert gpu_script("smoke").stdout.count("exit code") == 0


def test_a_piece_past_its_limit_is_ended_and_repeated(gpu_script, tmp_path):
    (tmp_path / "slow").write_text("#!/bin/sh\nexec sleep 30\n")
    (tmp_path / "slow").chmod(0o755)
    done = gpu_script("count", LIMIT="1", PYTHON=str(tmp_path / "slow"))
    assert done.returncode == 1 and "count: exit code 124" in done.stdout
    assert "exit code 0" in gpu_script("count").stdout
