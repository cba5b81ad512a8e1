"""Two ranks on one machine, under the mpirun that belongs to the mpicc Jittor was prepared with."""

import json
from pathlib import Path

import pytest

from utils import runtime

MPIRUN = Path(runtime.read_record().get("mpicc") or "none").with_name("mpirun")
pytestmark = pytest.mark.skipif(not MPIRUN.is_file(), reason="no Open MPI on this machine")
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("mpi")


def mpi(run_command, *command):
    return run_command(MPIRUN, "--oversubscribe", "-np", "2", "python", *command, env=AS_ROOT, timeout=400)


def test_two_ranks_train_save_and_end(run_command, run_dir):
    """Saving is rank 0's alone: a reduction still pending then would hang the job."""
    size = ["--scene-size", "48,96", "--input-size", "48,64", "--batch-size", "4", "--num-steps", "3"]
    done = mpi(
        run_command,
        "train.py",
        "--model",
        "ccnet_r18",
        "--device",
        "cpu",
        *size,
        "--snapshot-dir",
        run_dir,
        "--save-pred-every",
        "1",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("2 MPI ranks") == 1
    assert len(list(run_dir.glob("CS_scenes_*.npz"))) == 3


def test_each_picture_is_counted_once(run_command, run_dir):
    """21 pictures on 2 ranks: the same confusion as on one."""
    weights = run_dir / "CS_scenes_3.npz"
    command = [
        "evaluate.py",
        "--device",
        "cpu",
        "--restore-from",
        weights,
        "--scene-size",
        "48,96",
        "--max-images",
        "21",
    ]
    two = mpi(run_command, *command, "--save-dir", run_dir / "two")
    one = run_command("python", *command, "--save-dir", run_dir / "one")
    assert two.returncode == one.returncode == 0, two.stderr + one.stderr
    results = [json.loads((run_dir / name / "result.json").read_text()) for name in ("two", "one")]
    for key in ("miou", "pixel_accuracy", "iou", "images"):
        assert results[0][key] == results[1][key]


def test_a_batch_that_does_not_divide_is_refused_by_all_ranks(run_command, run_dir):
    done = mpi(run_command, "train.py", "--device", "cpu", "--batch-size", "3", "--snapshot-dir", run_dir)
    assert done.returncode != 0 and "--batch-size 3 does not divide over 2 ranks" in done.stderr
    assert "Traceback" not in done.stderr
