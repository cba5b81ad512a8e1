"""Two steps in bfloat16 on the CPU, under two ranks, go through the code of a GPU: numbers that are read one step late,
gradients in buckets, and a step that is not finite skipped where it is computed."""

import pytest
from support.mpirun import MPIRUN, mpi

from models.layers import conv
from utils.training.logger import read_log
from utils.weights import checkpoint

pytestmark = [
    pytest.mark.skipif(bool(conv.why_no_bfloat16()), reason="oneDNN has no bfloat16 on this processor"),
    pytest.mark.skipif(not MPIRUN.is_file(), reason="no Open MPI on this machine"),
]
TRAIN = "tests/support/watched.py --device cpu --model ccnet_r18 --dataset scenes --scene-size 48,96".split()
TRAIN += "--input-size 48,64 --batch-size 4 --amp bfloat16 --optimizer adamw --learning-rate 1e-3".split()


def test_two_steps_are_logged_and_wait_for_nothing(run_command, tmp_path):
    done, _ = mpi(run_command, *TRAIN, "--num-steps", "2", "--snapshot-dir", tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "computed in float32" not in done.stdout
    for rank in range(2):  # 83 parameters, 16 in a bucket
        assert done.stdout.count(f"rank {rank}: 0 reads, 7 messages") == 2, done.stdout
    rows = read_log(tmp_path / "log.csv")
    assert rows["step"] == [1, 2] and all(0 < value < 100 for value in rows["loss"] + rows["gradient"])
    assert rows["gamma"][0] != rows["gamma"][1] and (tmp_path / "CS_scenes_2.npz").is_file()


def test_a_step_that_is_not_finite_leaves_the_weights_of_the_step_before(run_command, tmp_path):
    """On one rank of two; the next step has been queued by then."""
    options = ["--max-iter", "5", "--snapshot-dir"]
    done, _ = mpi(run_command, *TRAIN, *options, tmp_path / "one", "--num-steps", "1", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    fault = {"env": {"FAULT": "1:1:nan"}, "timeout": 600}
    done, _ = mpi(run_command, *TRAIN, *options, tmp_path, "--num-steps", "5", **fault)
    assert done.returncode == 1 and "not finite at step 1" in done.stderr, done.stdout + done.stderr
    assert done.stdout.count("rank 0: ") == 3  # steps 0, 1 and 2
    before, _ = checkpoint.read(tmp_path / "one" / "CS_scenes_1.npz")
    for rank in range(2):
        after, meta = checkpoint.read(tmp_path / f"postmortem_1_rank{rank}.npz")
        assert meta["step"] == 1
        kept = [key for key in after if "/" not in key and "running" not in key]
        assert len(kept) > 60 and all((after[key] == before[key]).all() for key in kept)
