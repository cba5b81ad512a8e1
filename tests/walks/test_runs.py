"""Runs that are stopped, by every signal and under mpirun, and resumed end with the weights of an uninterrupted run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils import runtime
from utils.training import logger
from utils.weights import checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent
MPIRUN = Path(runtime.read_record().get("mpicc") or "none").with_name("mpirun")
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
STEPS = 60
TINY = "tests/support/tiny.py --device cpu --model tiny --scene-size 24,40 --input-size 24,32 --batch-size 6".split()
TINY += f"--learning-rate 1e-2 --random-mirror --random-scale --num-steps {STEPS}".split()


def start(ranks, folder, *options, env=None):
    """`ranks` 0: without mpirun."""
    before = [str(MPIRUN), "--oversubscribe", "-np", str(ranks)] if ranks else []
    command = [*before, sys.executable, *TINY, "--snapshot-dir", str(folder), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **AS_ROOT, **(env or {})}, **pipes)


def run(ranks, folder, *options, code=0):
    process = start(ranks, folder, *options)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def steps_logged(folder):
    return len(logger.rows_of(folder / "log.csv"))


def stopped(ranks, folder, number, *options):
    """Start, send the signal to mpirun (or the process) after a few steps. -> output, exit code"""
    process = start(ranks, folder, *options, env={"PAUSE": "0.02"})
    while process.poll() is None and steps_logged(folder) < 4:
        time.sleep(0.02)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0 and "Traceback" not in output, output
    return output, process.returncode


def same(a, b):
    (one, meta), (two, other_meta) = checkpoint.read(a), checkpoint.read(b)
    assert set(one) == set(two)
    assert not [key for key in one if one[key].tobytes() != two[key].tobytes()]
    assert meta["samples"] == other_meta["samples"]


CASES = [(0, signal.SIGINT), (0, signal.SIGTERM), (1, signal.SIGTERM), (2, signal.SIGINT), (2, signal.SIGTERM)]
CASES += [(3, signal.SIGINT), (3, signal.SIGUSR1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """-> a function: number of ranks -> folder of a run that is not stopped, trained at the first call. It writes a
    temporary checkpoint at every step: that changes nothing, and only the last checkpoint is left."""
    folders = {}

    def get(ranks):
        if ranks not in folders:  # 0: without mpirun; one rank of mpirun rounds differently in the last bits
            folders[ranks] = tmp_path_factory.mktemp(f"whole{ranks}")
            run(ranks, folders[ranks], "--save-every-minutes", "0.0001")
            assert list(checkpoint.steps_in(folders[ranks])) == [STEPS]
        return folders[ranks]

    return get


@pytest.mark.parametrize("ranks, number", CASES, ids=[f"{ranks} ranks {number.name}" for ranks, number in CASES])
def test_a_stopped_and_resumed_run_has_the_same_weights(tmp_path, whole, ranks, number):
    """With a checkpoint after every step nothing is lost, however long a step takes."""
    if ranks and not MPIRUN.is_file():
        pytest.skip("no Open MPI on this machine")
    output, code = stopped(ranks, tmp_path, number, "--save-every-minutes", "0.0001")
    newest = max(checkpoint.steps_in(tmp_path))
    assert steps_logged(tmp_path) - 1 <= newest < STEPS, output
    if ranks == 0 or number == signal.SIGUSR1:
        assert code == 75 and f"stopped on request after step {newest}" in output
    output = run(ranks, tmp_path, "--resume", "auto")
    assert f"resumed from {tmp_path}/CS_scenes_{newest}.npz" in output
    same(whole(ranks) / f"CS_scenes_{STEPS}.npz", tmp_path / f"CS_scenes_{STEPS}.npz")
    assert steps_logged(tmp_path) == STEPS


@pytest.mark.skipif(not MPIRUN.is_file(), reason="no Open MPI on this machine")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_mpirun_waits_long_enough_for_a_short_step_and_its_checkpoint(tmp_path, number):
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        output, _ = stopped(2, folder, number)
        assert "To stop this run with a checkpoint: kill -USR1 " in output and "up to 15 minutes" in output
        if checkpoint.steps_in(folder):
            return
        rate = float(logger.rows_of(folder / "log.csv")[-1]["images_per_s"])
        if rate < 60:
            pytest.skip(f"a step takes {6 / rate:.2g} s on this busy machine, too long for half a second")
    pytest.fail(f"four times no checkpoint after {number.name}: {output}")


@pytest.mark.skipif(not MPIRUN.is_file(), reason="no Open MPI on this machine")
def test_the_signal_that_a_run_under_mpirun_prints_works(tmp_path):
    process = start(2, tmp_path, env={"PAUSE": "0.05"})
    line = next(line for line in process.stdout if line.startswith("To stop this run"))
    assert line.split("kill ")[1].split() == ["-USR1", str(process.pid)]
    while process.poll() is None and steps_logged(tmp_path) < 2:
        time.sleep(0.02)
    subprocess.run(["bash", "-c", line.split(": ")[1]], check=True)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75 and "continue with --resume auto" in output, output


def test_temporary_checkpoints_replace_each_other(tmp_path, whole):
    """One at every step: the regular ones and the last are kept. After a kill the temporary one is resumed."""
    process = start(0, tmp_path, "--save-every-minutes", "0.0001", "--save-pred-every", "5", env={"PAUSE": "0.05"})
    while process.poll() is None and steps_logged(tmp_path) < 8:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    steps = sorted(checkpoint.steps_in(tmp_path))
    assert steps[0] == 5 and 7 <= steps[-1] and [step for step in steps[:-2] if step % 5] == [], steps
    run(0, tmp_path, "--resume", "auto", "--save-every-minutes", "0", "--save-pred-every", "5")
    assert sorted(checkpoint.steps_in(tmp_path)) == list(range(5, STEPS + 1, 5))
    same(whole(0) / f"CS_scenes_{STEPS}.npz", tmp_path / f"CS_scenes_{STEPS}.npz")
