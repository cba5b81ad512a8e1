"""What a run and its evaluation have left in a folder. Read leniently: what is missing or damaged is named."""

import csv
import json
import math
from pathlib import Path

import numpy as np

from utils.examples import read_examples


def read_run(folder):
    """-> {"args", "logs", "result", "confusion", "examples", "missing"}; None or empty where a part is not there.

    An evaluation may lie in the folder itself or in one below it (evaluate.py's default is outputs/); the training that
    belongs to the folder of an evaluation may lie in the folder above.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder}; expected the --snapshot-dir of a training or --save-dir of an evaluation"
        )
    missing = []
    trained = next((f for f in (folder, folder.resolve().parent) if has_training(f)), folder)
    args = read_json(trained / "args.json", "settings (args.json)", missing)
    logs = {path.stem: read_columns(path) for path in sorted(trained.glob("*.csv"))}
    logs = {name: columns for name, columns in logs.items() if columns}
    if "log" not in logs:
        missing.append("curves (log.csv)")
    found = sorted([*folder.glob("result.json"), *folder.glob("*/result.json")], key=lambda path: path.stat().st_mtime)
    home = found[-1].parent if found else folder
    result = read_json(home / "result.json", "results of an evaluation (result.json)", missing)
    confusion = read_confusion(result, home)
    if result and confusion is None:
        missing.append("confusion matrix")
    examples = read_examples(home / "examples")
    if not any(examples):
        missing.append("best and worst pictures (examples/)")
    if args is None and not logs and result is None:
        raise ValueError(
            f"{folder} holds neither args.json, nor log.csv, nor result.json: it is not the folder of a run"
        )
    parts = {"args": args or {}, "logs": logs, "result": result or {}, "confusion": confusion, "examples": examples}
    return {**parts, "missing": missing}


def has_training(folder):
    return (folder / "args.json").is_file() or (folder / "log.csv").is_file()


def read_json(path, what, missing):
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
        missing.append(f"{what}: not what it should be")
    except FileNotFoundError:
        missing.append(what)
    except (OSError, ValueError):
        missing.append(f"{what}: cannot be read")
    return None


def read_columns(path):
    """A .csv with a `step` column -> {column: floats, NaN where a row has none}; a last line cut short is left out."""
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    except (OSError, ValueError, csv.Error):
        return {}
    rows = [row for row in rows if None not in row.values() and None not in row]
    if not rows or "step" not in rows[0]:
        return {}
    return {name: [number(row[name]) for row in rows] for name in rows[0]}


def number(text):
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_confusion(result, folder):
    """counts[truth, prediction] from result.json, or from confusion.npy, .npz or .csv beside it."""
    for key in ("confusion", "confusion_matrix"):
        if result and isinstance(result.get(key), list):
            return square(np.array(result[key]))
    for path in sorted(folder.glob("confusion*.np[yz]")) + sorted(folder.glob("confusion*.csv")):
        try:
            if path.suffix == ".csv":
                return square(np.genfromtxt(path, delimiter=","))
            loaded = np.load(path, allow_pickle=False)
            return square(loaded if path.suffix == ".npy" else loaded[loaded.files[0]])
        except (OSError, ValueError, IndexError):
            continue
    return None


def square(counts):
    """A heading row or column of names reads as NaN and goes; a column for predictions that are no class may stay."""
    if counts.ndim != 2 or counts.dtype == object:
        return None
    counts = counts.astype(np.float64)
    counts = counts[~np.isnan(counts).all(1)][:, ~np.isnan(counts).all(0)]
    return counts if counts.shape[0] and counts.shape[1] - counts.shape[0] in (0, 1) else None
