"""The benchmark script: it counts as the paper does, measures what it says, and prints one table."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "benchmark" / "cca.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_cca", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_operations_are_those_of_the_paper(benchmark):
    """97x97, 512 channels: RCCA with R = 2 takes 16.5 GFLOP, the non-local block 108."""
    size = (1, 512, 97, 97)
    rcca = 2 * (benchmark.operations("fused", *size) + benchmark.projections(*size))
    non_local = benchmark.operations("non-local", *size) + benchmark.projections(*size)
    assert round(rcca / 1e9, 1) == 16.5 and round(non_local / 1e9) == 108


@pytest.mark.parametrize("name", ["torch-cca", "torch-sdpa"])
def test_the_pytorch_versions_compute_the_same(benchmark, name):
    pytest.importorskip("torch")
    import numpy as np

    ours = benchmark.make_case("reference" if name == "torch-cca" else "non-local", 1, 16, 5, 7)(True)
    theirs = benchmark.make_case(name, 1, 16, 5, 7)(True)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), atol=1e-5)


def test_one_table_and_a_plot(run_command, tmp_path):
    command = ["python", SCRIPT, "--device", "cpu", "--channels", "16", "--sizes", "9,9", "13,11", "--repeats", "1"]
    done = run_command(*command, "--only", "fused", "reference", "--plot", tmp_path / "plot.svg")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| 9x9") or line.startswith("| 13x11")]
    assert len(rows) == 4 and all(len(row.split("|")) == 10 and "- |" not in row for row in rows)
    plot = (tmp_path / "plot.svg").read_text()
    for words in ("Forward and backward, ms", "Extra memory, MB", ">fused<", ">reference<", "1×16×H×W, cpu"):
        assert words in plot
    assert plot.count("<circle") == 2 * 2 * 2


def test_a_plot_leaves_out_what_was_not_measured(benchmark):
    rows = {"fused": {"both": 0.01, "memory_both": 3e6}, "non-local": {"gflop": 1e6}}
    plot = benchmark.cost_plot({(9, 9): rows, (13, 11): rows}, ["fused", "non-local"], "here")
    assert plot.count("<polyline") == 2 and "non-local" not in plot
