"""A second run in the folder of an earlier one: an error, allowed where it continues, and --overwrite."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils.training import earlier_run, logger
from utils.weights import checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = "tests/support/tiny.py --device cpu --model tiny --scene-size 24,40 --input-size 24,32 --batch-size 4".split()


def run(folder, *options, code=0):
    command = [sys.executable, *TINY, "--snapshot-dir", str(folder), *" ".join(options).split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ, timeout=300)
    output = done.stdout + done.stderr
    assert done.returncode == code and "Traceback" not in output, output
    return output


def test_a_second_run_in_the_same_folder(tmp_path):
    """An error that changes no file; --overwrite; a run in several parts as published; going back some steps."""
    folder = tmp_path / "run"
    run(folder, "--num-steps 4 --save-pred-every 2")
    (folder / "mine.txt").write_text("not of this program")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    output = run(folder, "--num-steps 2", code=1)
    assert output.count("\n") == 2 and f"--snapshot-dir {folder} holds an earlier run up to step 4" in output
    assert all(word in output for word in ("CS_scenes_4.npz", "--resume auto", "another --snapshot-dir", "--overwrite"))
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}

    output = run(folder, "--num-steps 2 --overwrite")
    assert f"--overwrite: deleted {len(before) - 1} files of an earlier run in {folder}" in output
    assert list(checkpoint.steps_in(folder)) == [2] and len(logger.rows_of(folder / "log.csv")) == 2
    assert (folder / "mine.txt").exists()

    chunk = f"--max-iter 6 --num-steps 2 --restore-from {folder}/CS_scenes_2.npz"
    run(folder, chunk, "--start-iters 2")  # as the official code is continued
    assert sorted(checkpoint.steps_in(folder)) == [2, 4] and len(logger.rows_of(folder / "log.csv")) == 4
    assert "up to step 4 (CS_scenes_4.npz), and this run begins at step 2" in run(
        folder, chunk, "--start-iters 2", code=1
    )
    assert "begins at step 2" in run(folder, f"--num-steps 6 --resume {folder}/CS_scenes_2.npz", code=1)
    output = run(folder, f"--num-steps 6 --overwrite --resume {folder}/CS_scenes_2.npz")
    assert "--overwrite: deleted 1 file of" in output and sorted(checkpoint.steps_in(folder)) == [2, 6]


def touch(folder, *names):
    for name in names:
        (folder / name).write_text("step,loss\n1,0.5\n")


def test_logs_without_a_checkpoint_are_renamed(tmp_path):
    touch(tmp_path, "log.csv", "log.csv.1")
    assert earlier_run.conflicts(tmp_path) == []
    (line,) = earlier_run.clear(tmp_path, [], 0)
    assert line.endswith("it is now log.csv.2") and not (tmp_path / "log.csv").exists()
    touch(tmp_path, "log.csv")
    assert earlier_run.clear(tmp_path, [], 5) == [] and (tmp_path / "log.csv").exists()  # a run that continues


def test_overwrite_deletes_only_files_of_train_py_and_never_the_weights_to_start_from(tmp_path):
    ours = "CS_scenes_9.npz best.npz log.csv log.csv.1 validation.csv args.json loss.png miou.png sheet.png".split()
    ours += ["postmortem_3_rank0.npz"]
    touch(tmp_path, *ours, "notes.csv", "CS_scenes_9.pth", "result.json", "best.pth", "postmortem.txt")
    (tmp_path / "outputs").mkdir()
    gone = earlier_run.conflicts(tmp_path, overwrite=True)
    assert sorted(Path(path).name for path in gone) == sorted(ours)
    with pytest.raises(ValueError, match="would delete .*CS_scenes_9.npz, which --restore-from"):
        earlier_run.conflicts(tmp_path, overwrite=True, restore_from=str(tmp_path / "CS_scenes_9.npz"))
    assert (tmp_path / "CS_scenes_9.npz").exists()
    assert earlier_run.conflicts(tmp_path, resume="auto") == []
    assert earlier_run.conflicts(tmp_path, start=9) == []
    with pytest.raises(ValueError, match="begins at step 8"):
        earlier_run.conflicts(tmp_path, start=8)
