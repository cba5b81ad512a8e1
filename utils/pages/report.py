"""A run as one self-contained HTML page: settings, curves, results per class, confusion, best and worst pictures."""

import math
import time
from pathlib import Path

import numpy as np

from utils.drawing.svg_chart import line_chart
from utils.pages import build
from utils.pages.results import classes, confusion, is_number, measures, percent, pictures
from utils.pages.run_folder import read_run


def write_report(folder, path=None):
    """-> the path of the page, `folder`/report.html unless another is given."""
    run = read_run(folder)
    path = Path(path or Path(folder) / "report.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(run["result"].get("iou", {}))
    palette = run["result"].get("palette")
    sections = [
        beside(
            section(
                "Results by class", classes(run["result"], run["confusion"], names, palette) + measures(run["result"])
            ),
            section("Confusion", confusion(run["confusion"], names)),
        ),
        section("Curves", charts(run["logs"]), "charts"),
        section("Best pictures", pictures(run["examples"]["best"])),
        section("Worst pictures", pictures(run["examples"]["worst"])),
        section("Settings", settings(run["args"], run["result"])),
    ]
    missing = ""
    if run["missing"]:
        missing = (
            f"<p class='soft'>Not in this folder, so not on this page: {build.escape(', '.join(run['missing']))}.</p>"
        )
    text = build.build(
        "report.html",
        title=build.escape("/".join(Path(folder).resolve().parts[-2:])),
        about=build.escape(about(run["args"], run["result"])),
        tiles=tiles(run),
        sections="\n".join(filter(None, sections)),
        missing=missing,
        made=time.strftime("%Y-%m-%d %H:%M"),
    )
    build.write(path, text)
    return path


def section(title, content, kind=""):
    return f"<section class='card {kind}'><h2>{title}</h2>{content}</section>" if content else ""


def beside(*sections):
    """Next to each other where there is room."""
    there = [text for text in sections if text]
    return f"<div class='beside'>{''.join(there)}</div>" if len(there) > 1 else "".join(there)


def about(args, result):
    settings = result.get("settings", {})
    words = [args.get("model", ""), f"on {args['dataset']}" if args.get("dataset") else ""]
    words += [f"R = {args['recurrence']}" if "recurrence" in args else ""]
    words += [f"commit {args['commit']}" if args.get("commit") else ""]
    words += [f"evaluated at step {settings['step']}" if settings.get("step") is not None else ""]
    return " · ".join(filter(None, words))


def tiles(run):
    """The numbers that one looks for first."""
    log, result, found = run["logs"].get("log", {}), run["result"], []
    if is_number(result.get("miou")):
        found.append(("mean IoU", percent(result["miou"])))
    if is_number(result.get("pixel_accuracy")):
        found.append(("pixel accuracy", percent(result["pixel_accuracy"])))
    validated = [finite(columns.get("miou", ())) for columns in run["logs"].values()]
    if "miou" not in result and any(validated):
        found.append(("best mean IoU while training", percent(max(max(values) for values in validated if values))))
    if result.get("images"):
        found.append(("pictures evaluated", f"{result['images']}"))
    for name, text in (("loss", "{:.3f}"), ("gamma", "{:.3g}")):  # gamma starts at 0 and is small for long
        values = finite(log.get(name, ()))
        if values:
            found.append((f"last {name}", text.format(values[-1])))
    if finite(log.get("step", ())):
        found.append(("steps", f"{int(log['step'][-1])}"))
    if finite(log.get("images_per_s", ())):
        found.append(("pictures per second", f"{np.median(finite(log['images_per_s'])):.3g}"))
    if finite(log.get("seconds", ())):
        found.append(("training time", duration(finite(log["seconds"])[-1])))
    return "".join(f"<div class='tile'><b class='number'>{value}</b><span>{name}</span></div>" for name, value in found)


def charts(logs):
    """Known columns in charts of their kind, every other column in one of its own."""
    groups = {}
    for log, columns in logs.items():
        for name, values in columns.items():
            if name in ("step", "seconds", "epoch", "time") or not finite(values):
                continue
            group = groups.setdefault(kind_of(name), {})
            group[f"{log} {name}" if name in group else name] = (columns["step"], values)
    order = ("loss", "mean IoU", "accuracy", "learning rate", "γ of the attention", "pictures per second")
    ordered = [name for name in order if name in groups] + [name for name in groups if name not in order]
    drawn = []
    for title in ordered:
        many = max(len(finite(values)) for _, values in groups[title].values())
        noisy = title in ("loss", "pictures per second") and many > 60
        drawn.append(line_chart(groups[title], title, "step", smooth=0.95 if noisy else 0.0, markers=many <= 40))
    return "".join(
        f"<figure>{chart}<figcaption class='soft number'></figcaption></figure>" for chart in filter(None, drawn)
    )


def kind_of(name):
    low = name.lower()
    if "miou" in low or low in ("iou", "mean_iou"):
        return "mean IoU"
    if "acc" in low:
        return "accuracy"
    if "loss" in low or low in ("main", "aux", "ccl", "ohem"):
        return "loss"
    known = {"lr": "learning rate", "gamma": "γ of the attention", "images_per_s": "pictures per second"}
    return known.get(low, name.replace("_", " "))


def settings(args, result):
    tables = []
    groups = {"Training": args.get("options"), "Evaluation": result.get("settings", {}).get("options")}
    plain = {key: value for key, value in args.items() if not isinstance(value, dict) and key != "command"}
    for title, values in ({"Run": plain} | groups | {"Machine": args.get("machine")}).items():
        if values:
            rows = "".join(
                f"<dt>{build.escape(k)}</dt><dd>{build.escape(shown(v))}</dd>" for k, v in sorted(values.items())
            )
            tables.append(f"<div><h3>{title}</h3><dl class='facts'>{rows}</dl></div>")
    command = args.get("command")
    text = " ".join(map(str, command)) if isinstance(command, list) else command
    line = f"<pre tabindex='0'>{build.escape(text)}</pre>" if text else ""
    return f"{line}<div class='columns'>{''.join(tables)}</div>" if tables or line else ""


def shown(value):
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value))
    return "–" if value is None else str(value)


def finite(values):
    return [v for v in values if math.isfinite(v)]


def duration(seconds):
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
