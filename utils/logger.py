"""What a run leaves behind while it goes: a progress bar, log.csv, args.json."""

import csv
import json
import os
import subprocess
import time
from pathlib import Path

from tqdm import tqdm


class RunLog:
    """One row per step in `folder`/log.csv and a tqdm bar with the same numbers. Only the main rank has one."""

    FIELDS = ("step", "loss", "main", "aux", "lr", "gamma", "images_per_s", "seconds")

    def __init__(self, folder, total, first=0, batch_size=1):
        self.path = Path(folder) / "log.csv"
        self.file = open(self.path, "w", newline="")  # noqa: SIM115 (closed in close)
        self.rows = csv.DictWriter(self.file, self.FIELDS)
        self.rows.writeheader()
        self.bar = tqdm(total=total, initial=first, desc="train", unit="step", dynamic_ncols=True, mininterval=0.5)
        self.batch_size, self.began, self.last = batch_size, time.time(), time.time()

    def step(self, step, lr, **values):
        now = time.time()
        row = {"step": step, "lr": lr, "images_per_s": self.batch_size / (now - self.last), "seconds": now - self.began}
        self.last = now
        row.update(values)
        self.rows.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
        self.file.flush()
        self.bar.set_postfix_str(f"loss {row['loss']:.3f} lr {lr:.2e} {row['images_per_s']:.1f} img/s", refresh=False)
        self.bar.update(1)

    def close(self):
        self.bar.close()
        self.file.close()


def read_log(path):
    """log.csv -> {column: list of floats}."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {key: [float(row[key]) for row in rows] for key in (rows[0] if rows else ())}


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
    """Whole or not at all."""
    part = f"{path}.{os.getpid()}.part"
    with open(part, "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
    os.replace(part, path)
