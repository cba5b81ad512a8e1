"""scripts/benchmark/cca.py: it counts operations as the paper does and prints a table."""

import pytest

from scripts.benchmark import cca
from scripts.benchmark.cca_cases import operations, projections


def test_operations_are_those_of_the_paper():
    """97x97, 512 channels: RCCA with R = 2 takes 16.5 GFLOP, the non-local block 108."""
    size = (1, 512, 97, 97)
    rcca = 2 * (operations("fused", *size) + projections(*size))
    non_local = operations("non-local", *size) + projections(*size)
    assert round(rcca / 1e9, 1) == 16.5 and round(non_local / 1e9) == 108


@pytest.mark.parametrize("name", ["torch-cca", "torch-sdpa"])
def test_the_pytorch_versions_compute_the_same(name):
    pytest.importorskip("torch")
    import numpy as np

    expected = cca.make_case("reference" if name == "torch-cca" else "non-local", 1, 16, 5, 7)(True)
    results = cca.make_case(name, 1, 16, 5, 7)(True)
    for a, b in zip(expected, results):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), atol=1e-5)


def test_one_table_and_a_plot(run_command, tmp_path):
    command = [
        "python",
        "scripts/benchmark/cca.py",
        "--device",
        "cpu",
        "--channels",
        "16",
        "--sizes",
        "9,9",
        "13,11",
        "--repeats",
        "1",
    ]
    done = run_command(*command, "--only", "fused", "reference", "--plot", tmp_path / "plot.svg")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| 9x9") or line.startswith("| 13x11")]
    assert len(rows) == 4 and all(len(row.split("|")) == 10 and "- |" not in row for row in rows)
    plot = (tmp_path / "plot.svg").read_text()
    for text in ("Forward and backward, ms", "Extra memory, MB", ">fused<", ">reference<", "1×16×H×W, cpu"):
        assert text in plot
    assert plot.count("<circle") == 2 * 2 * 2


def test_a_plot_omits_cases_that_were_not_measured():
    rows = {"fused": {"both": 0.01, "memory_both": 3e6}, "non-local": {"gflop": 1e6}}
    plot = cca.cost_plot({(9, 9): rows, (13, 11): rows}, ["fused", "non-local"], "here")
    assert plot.count("<polyline") == 2 and "non-local" not in plot
