"""The counted bytes and operations of the attention kernels."""

import pytest

from scripts.benchmark import cca_bytes

PAPER = (8, 64, 512, 97, 97)


@pytest.mark.parametrize(
    "dtype, megabytes",
    [
        ("float32", {"statistics": 79, "values": 850, "delta": 309, "gradients": 1275}),
        ("float16", {"statistics": 40, "values": 580, "delta": 154, "gradients": 831}),
    ],
)
def test_bytes_at_the_size_of_the_paper(dtype, megabytes):
    """The sums of the comments in cuda_forward.cuh and cuda_backward.cuh."""
    cost = cca_bytes.attention_cost(*PAPER, dtype)
    assert set(cost) == set(megabytes)
    for kernel, expected in megabytes.items():
        assert abs(cost[kernel][0] / 1e6 - expected) < 2, kernel


def test_operations_by_counting_pairs():
    batch, cq, c, h, w = 2, 3, 5, 4, 7
    pairs = sum(h + w for _ in range(batch) for _ in range(h) for _ in range(w))
    cost = cca_bytes.attention_cost(batch, cq, c, h, w, "bfloat16")
    assert cost["statistics"][1] == 2 * pairs * cq
    assert cost["values"][1] == 2 * pairs * (cq + c)
    assert cost["gradients"][1] == 2 * pairs * (3 * cq + 2 * c)


def test_one_row_takes_one_launch():
    """values: q, k, v and stats are read once, out is written once."""
    read = (2 * 3 + 5) * 9 * 4 + 2 * 9 * 4
    assert cca_bytes.attention_cost(1, 3, 5, 1, 9, "float32")["values"][0] == read + 5 * 9 * 4


def test_the_least_is_below_what_the_kernels_move():
    for dtype in cca_bytes.SIZES:
        cost, least = cca_bytes.attention_cost(*PAPER, dtype), cca_bytes.least(*PAPER, dtype)
        assert least["forward"][0] < cost["statistics"][0] + cost["values"][0]
        assert least["backward"][0] < cost["delta"][0] + cost["gradients"][0]
    once = cca_bytes.attention_cost(*PAPER, "float16", by_image=True)
    assert sum(once[kernel][0] for kernel in ("statistics", "values")) == pytest.approx(214e6, rel=0.01)
    assert cca_bytes.floor(least["forward"], "float16", "H100") == pytest.approx(58e-6, rel=0.02)


def test_the_table(capsys):
    cca_bytes.main(["--size", "9,13", "--batch", "1", "--channels", "16", "--dtypes", "bfloat16"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1x16x9x13, counted, not measured" and len(lines) == 2 + 5 + 2
    assert {line.split()[1] for line in lines[2:7] if "by image" not in line} == {
        "statistics",
        "values",
        "delta",
        "gradients",
    }
