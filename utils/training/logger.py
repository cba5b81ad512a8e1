"""What a run leaves behind while it goes: a progress bar, log.csv, validation.csv, curves, TensorBoard, args.json."""

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
    "gradient",
    "lr",
    "gamma",
    "images_per_s",
    "data_wait",
    "seconds",
)
VALIDATION = ("step", "miou", "pixel_accuracy", "seconds")
REDRAW = 300  # seconds between two drawings of the curves


class RunLog:
    """One row per step in `folder`/log.csv and the same numbers on a bar. Only the main rank has one.

    Where stderr is no terminal, plain lines stand in for the bar: after the first step, the tenth, and every `every`
    steps. Images per second and the share of waiting are those of the steps since the last line. A resumed run
    (`first` > 0) keeps the rows of the steps it stands on and drops later ones, as if nothing had happened.
    """

    def __init__(self, folder, title, total, first=0, batch_size=1, every=50):
        self.folder, self.title, self.total, self.batch_size, self.every = Path(folder), title, total, batch_size, every
        self.path = self.folder / "log.csv"
        self.steps = Table(self.path, COLUMNS, first)
        self.validations = Table(self.folder / "validation.csv", VALIDATION, first)
        watched = sys.stderr.isatty()
        how = {"desc": "train", "unit": "step", "dynamic_ncols": True, "mininterval": 0.5, "disable": not watched}
        self.bar = tqdm(total=total, initial=first, **how)
        self.board = tensorboard(folder)
        self.first, self.began = first, time.time()
        self.before = self.steps.last.get("seconds", 0.0)  # what the run took until it was resumed
        self.drawn, self.compiled = self.began, None
        self.recent = []  # (seconds, seconds of waiting) of the steps since the last line

    def begin(self, record):
        """args.json, and a word about the wait that comes."""
        write_json(self.folder / "args.json", {**record, "command": sys.argv, "began": time.strftime("%F %T")})
        print("The first steps compile Jittor's operators: a minute or two on a new machine, then kept.", flush=True)

    def step(self, step, lr, took, waited=0.0, **values):
        """`took`: seconds of this step, validation and checkpoints aside; `waited`: those until its data were there."""
        now, took = time.time(), max(took, 1e-9)
        row = {**values, "step": step, "lr": lr, "images_per_s": self.batch_size / took, "data_wait": waited / took}
        self.steps.add({**row, "seconds": self.before + now - self.began})
        if self.board:
            for name in COLUMNS[2:-1]:
                if name in row:
                    self.board.add_scalar(f"train/{name}", row[name], step)
        self.recent.append((took, waited))
        seconds, waiting = map(sum, zip(*self.recent))
        parts = [f"{name} {row[name]:.3f}" for name in ("loss", "main", "aux", "ccl", "gamma") if name in row]
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
        """From the steps behind the first two, which compile: the second one is the first that finds moments."""
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
        self.last = time.time()  # its time is not the next step's

    def draw(self):
        """loss.png, and miou.png once there is a validation."""
        rows = read_log(self.path)
        curves = {name: (rows["step"], rows[name]) for name in ("main", "aux") if np.isfinite(rows[name]).all()}
        picture = plot_curves(curves, f"{self.title}: cross entropy", "step", smooth=0.9)
        self.picture("loss.png", picture)
        rows = read_log(self.folder / "validation.csv")
        if rows:
            curves = {"mean IoU": (rows["step"], rows["miou"])}
            self.picture("miou.png", plot_curves(curves, f"{self.title}: validation", "step"))
        self.drawn = time.time()

    def sheet(self, rows, titles, names, palette):
        """sheet.png; images of all sizes, each in its own shape."""
        self.picture("sheet.png", figures.contact_sheet(rows, titles, names, palette))

    def picture(self, name, image):
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
    """A csv file that is added to, row by row; rows after step `first` of an earlier run are cut off."""

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
    """The whole rows of a csv, without a last one that a kill cut short; none if there is no such file."""
    try:
        with open(path, newline="") as file:
            text = file.read()
    except FileNotFoundError:
        return []
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [row for row in rows if None not in row and None not in row.values()]


def read_log(path):
    """log.csv -> {column: list of floats}; nan where a cell is empty."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"no log {path}; train.py writes log.csv into --snapshot-dir")
    rows = rows_of(path)
    return {key: [float(row[key] or "nan") for row in rows] for key in (rows[0] if rows else ())}


def tensorboard(folder):
    """A writer, if the optional tensorboardX is installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def git_commit():
    """The commit the code is at, with a + if files differ from it; "" outside a checkout."""
    try:
        run = dict(capture_output=True, text=True, cwd=Path(__file__).parent, check=True)
        commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], **run).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], **run).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+" if changed else "")


def write_json(path, value):
    with whole_file(path, "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
