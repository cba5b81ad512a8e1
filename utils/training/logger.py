"""What a run prints and writes: a progress bar, log.csv, validation.csv, curves, TensorBoard, args.json."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from utils.drawing import figures
from utils.drawing.curves import plot_curves
from utils.files import whole_file

COLUMNS = (
    "step",
    "epoch",
    "loss",
    "main",
    "aux",
    "ccl",
    "dice",
    "gradient",
    "lr",
    "gamma",
    "images_per_s",
    "data_wait",
    "seconds",
)
VALIDATION = ("step", "miou", "pixel_accuracy", "seconds")
REDRAW = 300  # seconds after which the curves are drawn again


class RunLog:
    """One row per step in `folder`/log.csv and the same numbers in a progress bar. Only the main rank has one.

    Where stderr is not a terminal, lines are printed instead of the bar: after the first step, the tenth, and every
    `every` steps. Images per second and the share of data loading are those of the steps since the last line. A
    resumed run (`first` > 0) keeps the rows up to step `first` and drops later ones.
    """

    def __init__(self, folder, title, total, first=0, batch_size=1, every=50):
        self.folder, self.title, self.total, self.batch_size, self.every = Path(folder), title, total, batch_size, every
        self.path = self.folder / "log.csv"
        self.steps = Table(self.path, COLUMNS, first)
        self.validations = Table(self.folder / "validation.csv", VALIDATION, first)
        tqdm_options = {"desc": "train", "unit": "step", "dynamic_ncols": True, "mininterval": 0.5}
        self.bar = tqdm(total=total, initial=first, disable=not sys.stderr.isatty(), **tqdm_options)
        self.board = tensorboard(folder)
        self.first, self.began = first, time.time()
        self.before = self.steps.last.get("seconds", 0.0)  # duration of the run before it was resumed
        self.drawn, self.compiled = self.began, None
        self.recent = []  # (duration, seconds of data loading) of the steps since the last line

    def begin(self, record):
        """Write args.json, and print why the first steps take long."""
        write_json(self.folder / "args.json", {**record, "command": sys.argv, "began": time.strftime("%F %T")})
        print(
            "The first steps compile Jittor's operators: one or two minutes on a new machine, then they are cached.",
            flush=True,
        )

    def step(self, step, lr, duration, data_time=0.0, **values):
        """`duration`: seconds of this step without validation and checkpoint; `data_time`: until its batch was read."""
        now, duration = time.time(), max(duration, 1e-9)
        row = {**values, "step": step, "lr": lr, "images_per_s": self.batch_size / duration}
        row["data_wait"] = data_time / duration
        self.steps.add({**row, "seconds": self.before + now - self.began})
        if self.board:
            for name in COLUMNS[2:-1]:
                if name in row:
                    self.board.add_scalar(f"train/{name}", row[name], step)
        self.recent.append((duration, data_time))
        seconds, waiting = map(sum, zip(*self.recent))
        parts = [f"{name} {row[name]:.3f}" for name in ("loss", "main", "aux", "ccl", "dice", "gamma") if name in row]
        speed = f"{len(self.recent) * self.batch_size / seconds:.3g} img/s wait {100 * waiting / seconds:.0f}%"
        text = f"{' '.join(parts)} lr {lr:.2e} {speed}"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(1)
        left = self.time_left(step, now)
        if step - self.first in (1, 10) or step % self.every == 0 or step == self.total:
            if self.bar.disable:
                print(f"step {step}/{self.total} {text} left {left}", file=sys.stderr, flush=True)
            self.recent.clear()
        if now - self.drawn > REDRAW:
            self.draw()

    def time_left(self, step, now):
        """Estimated without the first two steps: they compile, the second one for the moments of the optimizer."""
        done = step - self.first
        if done <= 2:
            self.compiled = (done, now)
        if done <= 1:
            return "unknown before the second step"
        past, then = self.compiled if done > 2 else (0, self.began)
        return tqdm.format_interval((now - then) / (done - past) * (self.total - step))

    def validation(self, step, miou, pixel_accuracy):
        row = {"step": step, "miou": miou, "pixel_accuracy": pixel_accuracy}
        self.validations.add({**row, "seconds": self.before + time.time() - self.began})
        if self.board:
            self.board.add_scalar("val/miou", miou, step)
            self.board.add_scalar("val/pixel_accuracy", pixel_accuracy, step)
        self.bar.write(f"step {step}: mean IoU {100 * miou:.2f}, pixel accuracy {100 * pixel_accuracy:.2f}", sys.stdout)
        sys.stdout.flush()

    def draw(self):
        """Write loss.png, and miou.png if there is a validation."""
        rows = read_log(self.path)
        curves = {name: (rows["step"], rows[name]) for name in ("main", "aux") if np.isfinite(rows[name]).all()}
        figure = plot_curves(curves, f"{self.title}: cross entropy", "step", smooth=0.9)
        self.write_png("loss.png", figure)
        rows = read_log(self.folder / "validation.csv")
        if rows:
            curves = {"mean IoU": (rows["step"], rows["miou"])}
            self.write_png("miou.png", plot_curves(curves, f"{self.title}: validation", "step"))
        self.drawn = time.time()

    def sheet(self, rows, titles, names, palette):
        """Write sheet.png. The images may differ in size."""
        self.write_png("sheet.png", figures.contact_sheet(rows, titles, names, palette))

    def write_png(self, name, image):
        with whole_file(self.folder / name) as file:
            image.save(file, "png")

    def close(self, text=None):
        self.bar.close()
        for table in (self.steps, self.validations):
            table.file.close()
        if self.board:
            self.board.close()
        if text:
            print(text, flush=True)


class Table:
    """A csv file to which rows are appended; rows of an earlier run after step `first` are dropped."""

    def __init__(self, path, columns, first):
        self.columns = columns
        kept = [row for row in rows_of(path) if 0 < float(row["step"]) <= first]
        with whole_file(path, "w", newline="") as file:
            rows = csv.DictWriter(file, columns, extrasaction="ignore")
            rows.writeheader()
            rows.writerows(kept)
        self.last = {key: float(value) for key, value in (kept[-1] if kept else {}).items() if value}
        self.file = open(path, "a", newline="")
        self.rows = csv.DictWriter(self.file, columns, extrasaction="ignore", restval="")

    def add(self, row):
        self.rows.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
        self.file.flush()


def rows_of(path):
    """The rows of a csv, without an incomplete last one (after a kill); none if there is no such file."""
    try:
        with open(path, newline="") as file:
            text = file.read()
    except FileNotFoundError:
        return []
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [row for row in rows if None not in row and None not in row.values()]


def read_log(path):
    """log.csv -> {column: list of floats}; NaN where a cell is empty."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"no log {path}; train.py writes log.csv into --snapshot-dir")
    rows = rows_of(path)
    return {key: [float(row[key] or "nan") for row in rows] for key in (rows[0] if rows else ())}


def tensorboard(folder):
    """A SummaryWriter if tensorboardX is installed, else None."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def git_commit():
    """The git commit of the code, with a + if files differ from it; "" outside a git repository."""
    try:
        options = dict(capture_output=True, text=True, cwd=Path(__file__).parent, check=True)
        commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], **options).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], **options).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+" if changed else "")


def write_json(path, value):
    with whole_file(path, "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
