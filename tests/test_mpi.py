"""Several ranks on one machine, under the mpirun of the MPI that Jittor was prepared with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from utils import runtime
from utils.weights import checkpoint

ROOT = Path(__file__).resolve().parent.parent

MPIRUN = Path(runtime.read_record().get("mpicc") or "none").with_name("mpirun")
pytestmark = pytest.mark.skipif(not MPIRUN.is_file(), reason="no Open MPI on this machine")
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("mpi")


def mpi(run_command, *command, ranks=2, env=None, timeout=400):
    command = (MPIRUN, "--oversubscribe", "-np", ranks, "python", *command)
    return run_command(*command, env={**AS_ROOT, **(env or {})}, timeout=timeout)


def test_two_ranks_train_save_and_end(run_command, run_dir):
    """Only rank 0 saves: a pending reduction would hang the job."""
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


def test_each_image_is_counted_once(run_command, run_dir):
    """21 images on 2 ranks give the same confusion matrix as on one."""
    weights = run_dir / "CS_scenes_3.npz"
    command = [
        "evaluate.py",
        "--device",
        "cpu",
        "--restore-from",
        weights,
        "--scene-size",
        "48,96",
        "--eval-images",
        "21",
    ]
    two = mpi(run_command, *command, "--save-dir", run_dir / "two")
    one = run_command("python", *command, "--save-dir", run_dir / "one")
    assert two.returncode == one.returncode == 0, two.stderr + one.stderr
    results = [json.loads((run_dir / name / "result.json").read_text()) for name in ("two", "one")]
    for key in ("miou", "pixel_accuracy", "iou", "images"):
        assert results[0][key] == results[1][key]


def test_a_batch_that_does_not_divide_is_an_error_on_all_ranks(run_command, run_dir):
    done = mpi(run_command, "train.py", "--device", "cpu", "--batch-size", "3", "--snapshot-dir", run_dir)
    assert done.returncode != 0 and "--batch-size 3 does not divide over 2 ranks" in done.stderr
    assert "Traceback" not in done.stderr


TINY = (
    "tests/support/tiny.py --device cpu --model tiny --scene-size 24,40 --input-size 24,32 --learning-rate 1e-2".split()
)
# With this seed no value of the ten steps is so near to the kink of a ReLU or the tie of a pool that rounding matters.
TINY += "--random-mirror --random-scale --num-steps 10 --random-seed 1".split()
ALL_LOSSES = (
    "--ohem --ohem-thres 0.15 --ohem-keep 2560 --ccl 0.1 --dice 0.5 --accumulate 2".split()
    + "--class-weights 1,2,1,1,1,1,3,1,1".split()
)


@pytest.mark.parametrize(
    "ranks, batch, options",
    [(2, "4", []), (3, "6", []), (3, "12", ALL_LOSSES)],
    ids=["two ranks", "three ranks", "three ranks, pieces, OHEM, category loss, Dice, class weights"],
)
def test_ranks_take_the_steps_of_one_process(run_command, tmp_path, ranks, batch, options):
    """Synchronised BatchNorm, dropout, unevenly ignored pixels: weights after ten steps to 1e-5."""
    command, void = [*TINY, "--batch-size", batch, *options], {"VOID": "1"}
    one = run_command("python", *command, "--snapshot-dir", tmp_path / "one", env=void)
    many = mpi(run_command, *command, "--snapshot-dir", tmp_path / "many", ranks=ranks, env=void)
    assert one.returncode == many.returncode == 0, one.stderr + many.stderr
    first, second = (checkpoint.load(tmp_path / name / "CS_scenes_10.npz")[0] for name in ("one", "many"))
    for key in first:
        assert np.linalg.norm(second[key] - first[key]) <= 1e-5 * np.linalg.norm(first[key]), key


def test_resumed_ranks_are_bit_identical(run_command, tmp_path):
    command = [*TINY, "--batch-size", "4", "--save-pred-every", "5", "--snapshot-dir", tmp_path]
    assert mpi(run_command, *command).returncode == 0
    whole, _ = checkpoint.read(tmp_path / "CS_scenes_10.npz")
    (tmp_path / "CS_scenes_10.npz").unlink()
    done = mpi(run_command, *command, "--resume", "auto")
    assert done.returncode == 0 and "step 5, epoch 0 + 20 samples" in done.stdout, done.stderr
    again, _ = checkpoint.read(tmp_path / "CS_scenes_10.npz")
    assert set(whole) == set(again) and all((whole[key] == again[key]).all() for key in whole)


def test_a_batch_of_four_on_three_ranks_is_an_error(run_command, tmp_path):
    done = mpi(run_command, *TINY, "--batch-size", "4", "--snapshot-dir", tmp_path, ranks=3)
    assert done.returncode != 0 and "--batch-size 4 does not divide over 3 ranks; take a multiple" in done.stderr


@pytest.mark.parametrize(
    "fault, words",
    [
        ("raise", "rank 1 of 2 failed"),
        ("exit", "rank 1 of 2 exits"),
        ("kill", "rank 1"),
        ("nan", "postmortem_3_rank1.npz"),
    ],
)
def test_a_rank_that_fails_ends_the_job_and_is_named(run_command, tmp_path, fault, words):
    """An exception, an early exit, a kill, NaN: the job never hangs."""
    begin = time.time()
    command = [*TINY, "--batch-size", "4", "--num-steps", "5000", "--snapshot-dir", tmp_path]
    done = mpi(run_command, *command, env={"FAULT": f"1:3:{fault}"}, timeout=200)
    assert done.returncode != 0 and words in done.stderr + done.stdout, done.stderr[-2000:]
    at_step_3 = max((tmp_path / name).stat().st_mtime for name in ("log.csv", "args.json"))
    assert time.time() - max(at_step_3, begin) < 60


def test_all_ranks_save_and_exit_after_a_signal_to_mpirun(run_command, tmp_path):
    """mpirun forwards SIGUSR1; after SIGTERM it kills the ranks within a second."""
    command = [
        MPIRUN,
        "--oversubscribe",
        "-np",
        "2",
        sys.executable,
        *TINY,
        "--batch-size",
        "4",
        "--num-steps",
        "50000",
    ]
    env = {**os.environ, **AS_ROOT, "PAUSE": "0.05"}
    with open(tmp_path / "output", "w") as output:
        job = subprocess.Popen(
            [*map(str, command), "--snapshot-dir", str(tmp_path)], cwd=ROOT, env=env, stdout=output, stderr=output
        )
        log = tmp_path / "log.csv"
        while job.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 3):
            time.sleep(0.05)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(timeout=60) == 75, (tmp_path / "output").read_text()[-2000:]
    (step,) = checkpoint.steps_in(tmp_path)
    assert f"stopped on request after step {step}" in (tmp_path / "output").read_text()


def test_sums_over_ranks(run_command):
    """Counts beyond float32, texts and settings arrive unchanged; BatchNorm weights ranks by their number of values."""
    for ranks in (2, 3):
        done = mpi(run_command, "tests/support/ranks.py", ranks=ranks)
        assert done.returncode == 0 and done.stdout.count("agreed") == ranks, done.stdout + done.stderr


@pytest.mark.slow
def test_two_machines_of_a_hostfile_take_the_steps_of_one(run_command, tmp_path):
    """Two network namespaces with separate host names, connected by TCP."""
    command = [sys.executable, *TINY, "--batch-size", "4", "--snapshot-dir"]
    done = run_command("tests/support/two_machines.sh", MPIRUN, *command, tmp_path / "two", env=AS_ROOT, timeout=300)
    if done.returncode == 77 or os.getuid():
        pytest.skip("no network namespaces here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rank 1 is on second" in done.stdout and "rank 0 is on second" not in done.stdout
    assert run_command(*command, tmp_path / "one").returncode == 0
    first, second = (checkpoint.load(tmp_path / name / "CS_scenes_10.npz")[0] for name in ("one", "two"))
    for key in first:
        np.testing.assert_allclose(second[key], first[key], atol=1e-5 * abs(first[key]).max(), err_msg=key)
