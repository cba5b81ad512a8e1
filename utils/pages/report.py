"""A run as one self-contained HTML page: settings, curves, IoU by class, confusion matrix, best and worst images."""

import math
import time
from pathlib import Path

import numpy as np

from utils.drawing.svg_chart import line_chart
from utils.pages import build
from utils.pages.results import class_table, confusion_matrix, examples, is_number, other_measures, percent
from utils.pages.run_folder import read_run

NOISY = ("loss", "images per second")  # charts that show a running mean
# The first charts, in this order:
ORDER = ("loss", "mean IoU", "accuracy", "learning rate", "γ of the attention", "images per second")


def write_report(folder, path=None):
    """-> the path of the page. `path`: default: `folder`/report.html."""
    run = read_run(folder)
    path = Path(path or Path(folder) / "report.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    result, names = run["result"], list(run["result"].get("iou", {}))
    by_class = class_table(result, run["confusion"], names, result.get("palette")) + other_measures(result)
    sections = [
        side_by_side(
            section("Results by class", by_class),
            section("Confusion matrix", confusion_matrix(run["confusion"], names)),
        ),
        section("Curves", charts(run["logs"]), "charts"),
        section("Best images", examples(run["examples"]["best"])),
        section("Worst images", examples(run["examples"]["worst"])),
        section("Settings", settings(run["args"], result)),
    ]
    missing = build.escape(", ".join(run["missing"]))
    text = build.build(
        "report.html",
        title=build.escape("/".join(Path(folder).resolve().parts[-2:])),
        subtitle=build.escape(subtitle(run["args"], result)),
        tiles=tiles(run),
        sections="\n".join(filter(None, sections)),
        missing=f"<p class='soft'>Not found in this folder: {missing}.</p>" if missing else "",
        date=time.strftime("%Y-%m-%d %H:%M"),
    )
    build.write(path, text)
    return path


def section(title, content, css_class=""):
    return f"<section class='card {css_class}'><h2>{title}</h2>{content}</section>" if content else ""


def side_by_side(*sections):
    """Next to each other where the window is wide enough."""
    present = [text for text in sections if text]
    return f"<div class='beside'>{''.join(present)}</div>" if len(present) > 1 else "".join(present)


def subtitle(args, result):
    options = result.get("settings", {})
    parts = [args.get("model", ""), f"on {args['dataset']}" if args.get("dataset") else ""]
    parts += [f"R = {args['recurrence']}" if "recurrence" in args else ""]
    parts += [f"commit {args['commit']}" if args.get("commit") else ""]
    parts += [f"evaluated at step {options['step']}" if options.get("step") is not None else ""]
    return " · ".join(filter(None, parts))


def tiles(run):
    """The main numbers of the run."""
    log, result, shown = run["logs"].get("log", {}), run["result"], []
    if is_number(result.get("miou")):
        shown.append(("mean IoU", percent(result["miou"])))
    if is_number(result.get("pixel_accuracy")):
        shown.append(("pixel accuracy", percent(result["pixel_accuracy"])))
    validated = [finite(columns.get("miou", ())) for columns in run["logs"].values()]
    if "miou" not in result and any(validated):
        shown.append(("best mean IoU in training", percent(max(max(values) for values in validated if values))))
    if result.get("images"):
        shown.append(("images evaluated", f"{result['images']}"))
    for name, text in (("loss", "{:.3f}"), ("gamma", "{:.3g}")):  # gamma starts at 0 and grows slowly
        values = finite(log.get(name, ()))
        if values:
            shown.append((f"last {name}", text.format(values[-1])))
    if finite(log.get("step", ())):
        shown.append(("steps", f"{int(log['step'][-1])}"))
    if finite(log.get("images_per_s", ())):
        shown.append(("images per second", f"{np.median(finite(log['images_per_s'])):.3g}"))
    if finite(log.get("seconds", ())):
        shown.append(("training time", duration(finite(log["seconds"])[-1])))
    return "".join(f"<div class='tile'><b class='number'>{value}</b><span>{name}</span></div>" for name, value in shown)


def charts(logs):
    """The columns of all logs: known ones in common charts, every other column in its own."""
    groups = {}
    for log, columns in logs.items():
        for name, values in columns.items():
            if name in ("step", "seconds", "epoch", "time") or not finite(values):
                continue
            group = groups.setdefault(chart_of(name), {})
            group[f"{log} {name}" if name in group else name] = (columns["step"], values)
    drawn = []
    for title in sorted(groups, key=lambda title: ORDER.index(title) if title in ORDER else len(ORDER)):
        points = max(len(finite(values)) for _, values in groups[title].values())
        smooth = 0.95 if title in NOISY and points > 60 else 0.0
        drawn.append(line_chart(groups[title], title, "step", smooth=smooth, markers=points <= 40))
    return "".join(
        f"<figure>{chart}<figcaption class='soft number'></figcaption></figure>" for chart in filter(None, drawn)
    )


def chart_of(column):
    """The title of the chart that shows a column."""
    name = column.lower()
    if "miou" in name or name in ("iou", "mean_iou"):
        return "mean IoU"
    if "acc" in name:
        return "accuracy"
    if "loss" in name or name in ("main", "aux", "ccl", "ohem"):
        return "loss"
    known = {"lr": "learning rate", "gamma": "γ of the attention", "images_per_s": "images per second"}
    return known.get(name, column.replace("_", " "))


def settings(args, result):
    tables = []
    groups = {"Training": args.get("options"), "Evaluation": result.get("settings", {}).get("options")}
    plain = {key: value for key, value in args.items() if not isinstance(value, dict) and key != "command"}
    for title, values in ({"Run": plain} | groups | {"Machine": args.get("machine")}).items():
        if values:
            rows = "".join(
                f"<dt>{build.escape(k)}</dt><dd>{build.escape(as_text(v))}</dd>" for k, v in sorted(values.items())
            )
            tables.append(f"<div><h3>{title}</h3><dl class='facts'>{rows}</dl></div>")
    command = args.get("command")
    text = " ".join(map(str, command)) if isinstance(command, list) else command
    line = f"<pre tabindex='0'>{build.escape(text)}</pre>" if text else ""
    return f"{line}<div class='columns'>{''.join(tables)}</div>" if tables or line else ""


def as_text(value):
    if isinstance(value, (list, tuple)):
        return ", ".join(map(as_text, value))
    return "–" if value is None else str(value)


def finite(values):
    return [v for v in values if math.isfinite(v)]


def duration(seconds):
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
