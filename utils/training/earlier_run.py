"""A second run with the --snapshot-dir of an earlier one: an error where it would mix the files of both.

A run that continues (--resume, or --start-iters N with the weights of step N) may use the folder if it has no
checkpoint of a later step. A new run may not use a folder with checkpoints: `--resume auto` would later take those of
the earlier run. A log without a checkpoint is renamed. --overwrite deletes the files of the earlier run.
"""

import os
from pathlib import Path

from utils.training.logger import rows_of
from utils.weights import checkpoint

LOGS = ("log.csv", "validation.csv")
WRITTEN = (  # all files that train.py writes into --snapshot-dir
    "CS_scenes_*.npz",
    "best.npz",
    "args.json",
    *LOGS,
    *(f"{name}.[0-9]*" for name in LOGS),
    "loss.png",
    "miou.png",
    "sheet.png",
    "postmortem_*_rank*.npz",
    "events.out.tfevents.*",
)


def conflicts(folder, resume=None, overwrite=False, start=0, restore_from=None):
    """-> files for `clear` to delete. Raises ValueError if an earlier run would be mixed with this one.

    The main rank calls it before the first file is written."""
    folder = Path(folder)
    if not folder.is_dir() or resume == "auto":
        return []
    start = checkpoint.step_of(resume) if resume else start
    if start is None:  # no checkpoint, or a damaged one: an error when it is read
        return []
    later = [path for step, path in checkpoint.steps_in(folder).items() if step > start]
    best = folder / checkpoint.BEST
    if not start and best.exists() and not later:
        later = [str(best)]
    if not later:
        return []
    if not overwrite:
        newest = max(later, key=lambda path: checkpoint.step_of(path) or 0)
        begins = f"this run begins at step {start}" if start else "this is a new run"
        raise ValueError(
            f"--snapshot-dir {folder} holds an earlier run up to step {checkpoint.step_of(newest)} "
            f"({os.path.basename(newest)}), and {begins}. Fix: --resume auto to continue it, another "
            "--snapshot-dir to keep both, or --overwrite to delete "
            + ("its later checkpoints" if start else "its checkpoints, logs and figures")
        )
    paths = later if start else written(folder)
    for path in paths:
        if restore_from and os.path.exists(restore_from) and os.path.samefile(path, restore_from):
            raise ValueError(
                f"--overwrite would delete {path}, which --restore-from {restore_from} names. Fix: another "
                "--snapshot-dir, or move that file"
            )
    return paths


def clear(folder, paths, start):
    """Make the folder ready for a run that begins at step `start`; called after all other checks. -> lines"""
    for path in paths:
        os.remove(path)
    if paths:
        return [f"--overwrite: deleted {len(paths)} file{'s' * (len(paths) != 1)} of an earlier run in {folder}"]
    return [] if start else keep_logs(Path(folder))


def written(folder):
    """The files of an earlier run in this folder."""
    return sorted({str(path) for pattern in WRITTEN for path in folder.glob(pattern) if path.is_file()})


def keep_logs(folder):
    """Rename the logs of a run without a checkpoint: log.csv.1, log.csv.2, .. -> lines"""
    lines = []
    for name in LOGS:
        path, number = folder / name, 1
        if not rows_of(path):
            continue
        while (folder / f"{name}.{number}").exists():
            number += 1
        path.rename(folder / f"{name}.{number}")
        lines.append(f"{path} is of an earlier run without a checkpoint; it is now {path.name}.{number}")
    return lines
