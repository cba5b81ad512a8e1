"""Reads the files that a run and its evaluation wrote into a folder. Missing and damaged files are listed."""

import csv
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

PANELS = ("image", "label", "prediction", "errors")  # of the images in examples/, side by side


def read_run(folder):
    """-> {"args", "logs", "result", "confusion", "examples", "missing"}; empty where a part is missing.

    The evaluation may be in the folder itself or in a folder in it (default of evaluate.py: outputs/). If `folder` is
    that of an evaluation, its training may be in the parent folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder}; expected the --snapshot-dir of a training or the --save-dir of an evaluation"
        )
    missing = []
    training = next((f for f in (folder, folder.resolve().parent) if has_training(f)), folder)
    args = read_json(training / "args.json", "settings (args.json)", missing)
    tables = ("per_image.csv", "confusion.csv")  # of evaluate.py: no logs, though ADE20K has a class named step
    paths = [path for path in sorted(training.glob("*.csv")) if path.name not in tables]
    logs = {path.stem: read_columns(path) for path in paths}
    logs = {name: columns for name, columns in logs.items() if columns}
    if "log" not in logs:
        missing.append("curves (log.csv)")
    results = [*folder.glob("result.json"), *folder.glob("*/result.json")]
    evaluation = max(results, key=lambda path: path.stat().st_mtime).parent if results else folder
    result = read_json(evaluation / "result.json", "results of an evaluation (result.json)", missing)
    confusion = read_confusion(result, evaluation)
    if result and confusion is None:
        missing.append("confusion matrix")
    examples = read_examples(evaluation)
    if not any(examples.values()):
        missing.append("best and worst images (examples/)")
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
        missing.append(f"{what}: not a JSON object")
    except FileNotFoundError:
        missing.append(what)
    except (OSError, ValueError):
        missing.append(f"{what}: cannot be read")
    return None


def read_columns(path):
    """A .csv with a `step` column -> {column: floats, NaN for empty cells}, without an incomplete last line."""
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
    except (TypeError, ValueError):
        return math.nan


def read_confusion(result, folder):
    """-> counts (K, K) or (K, K + 1), true class by predicted class, from confusion.csv or else from result.json."""
    counts = result.get("confusion") if result else None
    try:
        with open(folder / "confusion.csv", newline="", encoding="utf-8") as file:
            counts = [row[1:] for row in csv.reader(file)][1:]  # without the names
    except OSError:
        pass
    try:
        counts = np.array(counts, np.float64)
    except (TypeError, ValueError, csv.Error):
        return None
    valid = counts.ndim == 2 and len(counts) and counts.shape[1] - len(counts) in (0, 1) and np.isfinite(counts).all()
    return counts if valid else None


def read_examples(folder):
    """The images examples/best_1.png .., each the four PANELS side by side -> {"best": [(name, score, panels)], ..}.

    Names and scores come from per_image.csv, which lists the best image first.
    """
    try:
        with open(folder / "per_image.csv", newline="", encoding="utf-8") as file:
            ranking = [(row["name"], number(row["miou"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, csv.Error):
        ranking = []
    examples = {"best": [], "worst": []}
    for path in (folder / "examples").glob("*_*.png"):
        group, _, rank = path.stem.partition("_")
        try:
            panels = np.split(np.asarray(Image.open(path).convert("RGB")), len(PANELS), axis=1)
            examples[group].append((int(rank), panels))
        except (OSError, ValueError, KeyError):
            continue  # another file, or a damaged one
    for group, entries in examples.items():
        for k, (rank, panels) in enumerate(sorted(entries, key=lambda entry: entry[0])):
            index = rank - 1 if group == "best" else -rank
            name, score = ranking[index] if rank <= len(ranking) else (f"{group} {rank}", math.nan)
            entries[k] = (name, score, panels)
    return examples
