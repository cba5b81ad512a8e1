import csv
import sys

import numpy as np
import pytest
from PIL import Image

from utils.training import logger


def rows(path):
    return list(csv.DictReader(open(path)))


def log(folder, steps, first=0, total=20, **options):
    run = logger.RunLog(folder, "tiny on scenes", total, first, batch_size=4, **options)
    for step in steps:
        run.step(step, 0.01, 0.5, epoch=0, loss=3.0 / step, main=2.0 / step, aux=1.0, gamma=0.1, gradient=1.5)
    return run


def test_a_row_per_step_and_some_lines_without_a_terminal(tmp_path, capfd):
    log(tmp_path, range(1, 8), total=7, every=3).close()
    assert [row["step"] for row in rows(tmp_path / "log.csv")] == list("1234567")
    row = rows(tmp_path / "log.csv")[3]
    assert float(row["loss"]) == 0.75 and row["ccl"] == "" and 0 <= float(row["data_wait"]) <= 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("step")]
    assert [line.split()[1] for line in lines] == ["1/7", "3/7", "6/7", "7/7"]


def test_a_line_covers_the_steps_since_the_last_one_and_the_time_left_excludes_compiling(tmp_path, capfd, monkeypatch):
    """Steps of 100 s and 20 s, then 2 s each, then 1 s each, of which 1 s is data loading."""
    now = [1000.0]
    monkeypatch.setattr(logger.time, "time", lambda: now[0])
    run = logger.RunLog(tmp_path, "tiny", 40, batch_size=4, every=20)
    for step in range(1, 31):
        took = {1: 100.0, 2: 20.0}.get(step, 2.0 if step <= 10 else 1.0)
        now[0] += took + (50.0 if step == 15 else 0.0)  # a validation, which is not part of a step
        run.step(step, 0.01, took, 1.0, loss=1.0)
    run.close()
    lines = [line.split() for line in capfd.readouterr().err.splitlines() if line.startswith("step")]
    at = {line[1]: line for line in lines}
    assert list(at) == ["1/40", "10/40", "20/40"]
    speed = {step: float(line[line.index("img/s") - 1]) for step, line in at.items()}
    assert speed == {"1/40": 0.04, "10/40": 1.0, "20/40": 4.0}  # 4 / 100; 9 x 4 / (20 + 8 x 2); 10 x 4 / 10
    assert at["1/40"][-5:] == "unknown before the second step".split() and at["10/40"][-1] == "01:00"  # 30 x 2 s
    assert [at["20/40"][at["20/40"].index("wait") + 1], at["1/40"][at["1/40"].index("wait") + 1]] == ["100%", "1%"]
    assert float(rows(tmp_path / "log.csv")[14]["images_per_s"]) == 4.0


def test_a_resumed_log_drops_later_steps_and_an_incomplete_row(tmp_path):
    log(tmp_path, range(1, 9)).close()
    before = rows(tmp_path / "log.csv")[:5]
    with open(tmp_path / "log.csv", "a") as file:
        file.write("9,0,0.3,0.2")
    log(tmp_path, range(6, 8), first=5).close()
    after = rows(tmp_path / "log.csv")
    assert [row["step"] for row in after] == list("1234567") and after[:5] == before
    seconds = [float(row["seconds"]) for row in after]
    assert seconds == sorted(seconds)
    log(tmp_path, [1]).close()  # a new run in the same folder
    assert len(rows(tmp_path / "log.csv")) == 1


def test_the_log_can_be_read_during_the_run(tmp_path):
    log = logger.RunLog(tmp_path, "a run", 3, batch_size=4)
    log.step(1, 0.01, 0.5, loss=2.5, main=2.0, aux=1.25, gamma=0.0)
    rows = logger.read_log(tmp_path / "log.csv")
    log.close()
    assert rows["step"] == [1] and rows["loss"] == [2.5] and rows["lr"] == [0.01] and rows["images_per_s"][0] > 0


def test_the_sheet_of_training_shows_validation_images_of_every_size(tmp_path):
    log = logger.RunLog(tmp_path, "a run", 3)
    sizes = ((40, 60), (60, 40), (31, 47))
    log.sheet([[np.full((*size, 3), 10 + k, np.uint8)] * 3 for k, size in enumerate(sizes)], ("a", "b", "c"), (), ())
    log.close()
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert [(sheet == 10 + k).all(-1).sum() for k in range(3)] == [3 * 40 * 60, 3 * 60 * 40, 3 * 31 * 47]


def test_curves_and_validations_are_drawn(tmp_path):
    run = log(tmp_path, range(1, 5))
    run.draw()
    assert not (tmp_path / "miou.png").exists()
    run.validation(4, 0.5, 0.75)
    run.draw()
    run.close("done")
    assert Image.open(tmp_path / "loss.png").size == Image.open(tmp_path / "miou.png").size == (860, 420)
    (row,) = rows(tmp_path / "validation.csv")
    assert (row["step"], row["miou"], row["pixel_accuracy"]) == ("4", "0.5", "0.75")
    assert not list(tmp_path.glob("*.part"))


def test_tensorboard_gets_the_numbers_if_it_is_installed(tmp_path, monkeypatch):
    class Writer:
        seen = []

        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            self.seen.append((name, value, step))

        def close(self):
            self.seen.append("closed")

    monkeypatch.setitem(sys.modules, "tensorboardX", type(sys)("tensorboardX"))
    sys.modules["tensorboardX"].SummaryWriter = Writer
    run = log(tmp_path, [1])
    run.validation(1, 0.25, 0.5)
    run.close()
    assert (
        ("train/loss", 3.0, 1) in Writer.seen and ("val/miou", 0.25, 1) in Writer.seen and Writer.seen[-1] == "closed"
    )
    monkeypatch.setitem(sys.modules, "tensorboardX", None)  # not installed
    (tmp_path / "b").mkdir()
    log(tmp_path / "b", []).close()


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no log .*log.csv"):
        logger.read_log(tmp_path / "log.csv")


def write(path, losses, first=1):
    with open(path, "w") as file:
        file.write("step,loss\n" + "".join(f"{step},{loss}\n" for step, loss in enumerate(losses, first)))
    return path


def test_one_of_two_limits_of_plot_log_is_enough():
    """The rule of a published training log: mean_relative_error <= 0.05 or mean_absolute_error <= 0.0002."""
    from scripts import plot_log

    errors = {"mean_relative_error": 0.02, "mean_absolute_error": 0.4}
    for relative, absolute, good in (
        (None, None, True), (0.05, None, True), (0.01, None, False), (None, 0.5, True), (None, 0.3, False),
        (0.05, 0.3, True), (0.01, 0.5, True), (0.01, 0.3, False), (0.05, 0.5, True),
    ):  # fmt: skip
        limits = {"mean_relative_error": relative, "mean_absolute_error": absolute}
        assert plot_log.passes(errors, limits) == good


def test_plot_log_compares_two_runs(run_command, tmp_path):
    a = write(tmp_path / "a.csv", np.linspace(4, 1, 50))
    b = write(tmp_path / "b.csv", np.linspace(4, 1, 50)[10:] * 1.02, first=11)
    done = run_command("python", "scripts/plot_log.py", a, b, "--out", tmp_path / "c.png", "--max-relative", "0.05")
    assert done.returncode == 0 and '"steps": 40, "mean_relative_error": 0.02' in done.stdout, done.stdout + done.stderr
    assert Image.open(tmp_path / "c.png").size == (860, 420)
    done = run_command("python", "scripts/plot_log.py", a, b, "--out", tmp_path / "c.png", "--max-relative", "0.01")
    assert done.returncode == 1 and "above --max-relative 0.01" in done.stderr
    both = ["--max-relative", "0.01", "--max-absolute", "0.01"]
    done = run_command("python", "scripts/plot_log.py", a, b, "--out", tmp_path / "c.png", *both)
    assert done.returncode == 1 and "above --max-relative 0.01 and --max-absolute 0.01" in done.stderr
    for words, command in (
        ("no log", ["gone.csv"]),
        ("no column 'iou'; it has step, loss", [a, "--column", "iou"]),
        ("no step in common", [a, write(tmp_path / "d.csv", [1, 2], first=900)]),
    ):
        done = run_command("python", "scripts/plot_log.py", *command, "--out", tmp_path / "c.png")
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
