"""A run is stopped, by every signal and under mpirun, and goes on: it ends where an uninterrupted one does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils import checkpoint, logger, runtime

ROOT = Path(__file__).resolve().parent.parent.parent
MPIRUN = Path(runtime.read_record().get("mpicc") or "none").with_name("mpirun")
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
STEPS = 30
TINY = "tests/tiny.py --device cpu --model tiny --scene-size 24,40 --input-size 24,32 --batch-size 6".split()
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


def stopped(ranks, folder, number):
    """Start, send the signal to mpirun (or the process) after a few steps. -> output, exit code"""
    process = start(ranks, folder, env={"PAUSE": "0.1"})
    while process.poll() is None and steps_logged(folder) < 4:
        time.sleep(0.02)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    return output, process.returncode


def same(a, b):
    (one, about), (two, other) = checkpoint.read(a), checkpoint.read(b)
    assert set(one) == set(two)
    assert not [key for key in one if one[key].tobytes() != two[key].tobytes()]
    assert about["samples"] == other["samples"]


CASES = [(0, signal.SIGINT), (0, signal.SIGTERM), (1, signal.SIGTERM), (2, signal.SIGINT), (2, signal.SIGTERM)]
CASES += [(3, signal.SIGINT), (3, signal.SIGUSR1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """-> folder of the run that nothing stops, for each number of ranks; made when it is asked for. It saves at every
    step, by time: all ranks agree on that, it changes nothing, and only the last checkpoint is left."""
    folders = {}

    def get(ranks):
        ranks = max(ranks, 1)
        if ranks not in folders:
            folders[ranks] = tmp_path_factory.mktemp(f"whole{ranks}")
            run(ranks if ranks > 1 else 0, folders[ranks], "--save-every-minutes", "0.0001")
            assert list(checkpoint.steps_in(folders[ranks])) == [STEPS]
        return folders[ranks]

    return get


@pytest.mark.parametrize("ranks, number", CASES, ids=[f"{ranks} ranks {number.name}" for ranks, number in CASES])
def test_a_stopped_run_is_saved_and_goes_on_to_the_same_weights(tmp_path, whole, ranks, number):
    """Short steps fit into the half second that mpirun leaves; a busy machine may need another try."""
    if ranks and not MPIRUN.is_file():
        pytest.skip("no Open MPI on this machine")
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        output, code = stopped(ranks, folder, number)
        assert code != 0 and "Traceback" not in output, output
        if steps := sorted(checkpoint.steps_in(folder)):
            break
    else:
        pytest.fail(f"four times no checkpoint after {number.name}: {output}")
    assert 3 < steps[-1] < STEPS
    if ranks:
        assert "To stop this run with a checkpoint: kill -USR1 " in output and "up to 15 minutes" in output
    output = run(ranks, folder, "--resume", "auto")
    assert f"resumed from {folder}/CS_scenes_{steps[-1]}.npz" in output
    same(whole(ranks) / f"CS_scenes_{STEPS}.npz", folder / f"CS_scenes_{STEPS}.npz")
    assert steps_logged(folder) == STEPS


@pytest.mark.skipif(not MPIRUN.is_file(), reason="no Open MPI on this machine")
def test_what_a_run_under_mpirun_says_to_send_works(tmp_path):
    process = start(2, tmp_path, env={"PAUSE": "0.1"})
    line = next(line for line in process.stdout if line.startswith("To stop this run"))
    assert line.split("kill ")[1].split() == ["-USR1", str(process.pid)]
    while process.poll() is None and steps_logged(tmp_path) < 2:
        time.sleep(0.02)
    subprocess.run(["bash", "-c", line.split(": ")[1]], check=True)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75 and "go on with --resume auto" in output, output


def test_checkpoints_by_time_replace_one_another(tmp_path, whole):
    """At every step one is due: the regular ones and the last stay. Killed, the run goes on from the last by time."""
    process = start(0, tmp_path, "--save-every-minutes", "0.0001", "--save-pred-every", "5", env={"PAUSE": "0.1"})
    while process.poll() is None and steps_logged(tmp_path) < 8:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    steps = sorted(checkpoint.steps_in(tmp_path))
    assert steps[0] == 5 and 7 <= steps[-1] and [step for step in steps[:-2] if step % 5] == [], steps
    run(0, tmp_path, "--resume", "auto", "--save-every-minutes", "0", "--save-pred-every", "5")
    assert sorted(checkpoint.steps_in(tmp_path)) == [5, 10, 15, 20, 25, 30]
    same(whole(0) / f"CS_scenes_{STEPS}.npz", tmp_path / f"CS_scenes_{STEPS}.npz")
