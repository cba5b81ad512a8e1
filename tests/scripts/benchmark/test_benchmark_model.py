"""scripts/benchmark/model.py: Jittor and PyTorch compute the same, and it prints a table."""

import numpy as np
import pytest

from scripts.benchmark import model


@pytest.mark.parametrize("name", ["ccnet_r18", "van_tiny"])
def test_forward_gives_the_same_logits_folded_and_in_pytorch(name, rng):
    pytest.importorskip("torch")
    images = rng.standard_normal((2, 3, 64, 96), dtype=np.float32)
    results = [run() for run in model.forward_runs(name, images, ("no-fold", "float32", "eager")).values()]
    assert len(results) == 3 and results[0].shape[:2] == (2, 19)
    for result in results[:2]:
        np.testing.assert_allclose(result, results[2], atol=1e-5 * max(1, np.abs(results[2]).max()))


def test_one_table_with_a_profile(run_command):
    command = [
        "python",
        "scripts/benchmark/model.py",
        "--cases",
        "train",
        "--model",
        "ccnet_r18",
        "--size",
        "48,64",
        "--repeats",
        "1",
        "--skip",
        "compile",
        "bf16 compile",
        "bf16 channels_last",
    ]
    done = run_command(*command, "--profile")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ccnet_r18 train")]
    assert rows and all(len(row) == 6 and float(row[2]) > 0 and float(row[3]) > 0 for row in rows)
    assert [row[1].strip() for row in rows[:2]] == ["here, float32", "here, bfloat16"]
    assert "left out: compile, bf16 compile, bf16 channels_last" in done.stdout and "| calls |" in done.stdout
    assert "mkl_conv_backward" in done.stdout
