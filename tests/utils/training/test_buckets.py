"""Gradients averaged over the ranks in flat buckets."""

import pytest
from support.mpirun import MPIRUN, mpi

from utils.training import buckets, operators


@pytest.mark.skipif(not MPIRUN.is_file(), reason="no Open MPI on this machine")
@pytest.mark.parametrize("ranks", [2, 3])
def test_averages_and_weights_are_those_of_jittor(run_command, ranks):
    """Three messages instead of 37; bit for bit where the order of additions permits."""
    done, _ = mpi(run_command, "tests/support/bucket_ranks.py", ranks=ranks)
    assert done.returncode == 0 and done.stdout.count("agreed") == ranks, done.stdout + done.stderr


def test_buckets_go_from_the_last_to_the_first_and_hold_25_megabytes(monkeypatch):
    monkeypatch.setattr(operators, "group", lambda: 4)
    megabyte = 1 << 20
    sizes = [megabyte * n for n in (1, 30, 10, 10, 10, 1, 1, 1, 1, 1)]
    assert buckets.cut(sizes) == [[9, 8, 7, 6], [5, 4, 3], [2], [1], [0]]
    assert buckets.cut([4, 0, 4, 4]) == [[3, 2], [1], [0]]  # another dtype is alone


def test_the_messages_of_the_official_network(monkeypatch):
    """342 parameters of 270 MB on a GPU: 13 messages a step, where Jittor has one for each."""
    from models import build_model

    trained = [p for p in build_model("ccnet", 19).parameters() if not p.is_stop_grad()]
    monkeypatch.setattr(operators, "group", lambda: 48)
    lists = buckets.cut([p.numel() * 4 for p in trained])
    assert (len(trained), len(lists)) == (342, 13)
