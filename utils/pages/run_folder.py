"""What a run and its evaluation have left in a folder. Read leniently: what is missing or damaged is named."""

import csv
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

PANELS = ("picture", "truth", "prediction", "errors")


def read_run(folder):
    """-> {"args", "logs", "result", "confusion", "examples", "missing"}; empty where a part is not there.

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
    tables = ("per_image.csv", "confusion.csv")  # of evaluate.py; ADE20K has a class named step
    paths = [path for path in sorted(trained.glob("*.csv")) if path.name not in tables]
    logs = {path.stem: read_columns(path) for path in paths}
    logs = {name: columns for name, columns in logs.items() if columns}
    if "log" not in logs:
        missing.append("curves (log.csv)")
    found = sorted([*folder.glob("result.json"), *folder.glob("*/result.json")], key=lambda path: path.stat().st_mtime)
    home = found[-1].parent if found else folder
    result = read_json(home / "result.json", "results of an evaluation (result.json)", missing)
    confusion = read_confusion(result, home)
    if result and confusion is None:
        missing.append("confusion matrix")
    examples = read_examples(home)
    if not any(examples.values()):
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
    except (TypeError, ValueError):
        return math.nan


def read_confusion(result, folder):
    """counts[truth, prediction] from confusion.csv, or from result.json; one column more, of no class, may be there."""
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
    fits = counts.ndim == 2 and len(counts) and counts.shape[1] - len(counts) in (0, 1) and np.isfinite(counts).all()
    return counts if fits else None


def read_examples(folder):
    """The pictures examples/best_1.png .., each the four PANELS side by side -> {"best": [(name, score, panels)], ..}.

    Names and scores are those of per_image.csv, which lists the best picture first.
    """
    try:
        with open(folder / "per_image.csv", newline="", encoding="utf-8") as file:
            ranking = [(row["name"], number(row["miou"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, csv.Error):
        ranking = []
    found = {"best": [], "worst": []}
    for path in (folder / "examples").glob("*_*.png"):
        kind, _, place = path.stem.partition("_")
        try:
            panels = np.split(np.asarray(Image.open(path).convert("RGB")), 4, axis=1)
            found[kind].append((int(place), panels))
        except (OSError, ValueError, KeyError):
            continue  # something else, or damaged
    for kind, entries in found.items():
        for k, (place, panels) in enumerate(sorted(entries, key=lambda entry: entry[0])):
            where = place - 1 if kind == "best" else -place
            name, score = ranking[where] if place <= len(ranking) else (f"{kind} {place}", math.nan)
            entries[k] = (name, score, panels)
    return found
