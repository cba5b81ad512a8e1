"""The results in a report: table of classes, confusion matrix, best and worst images with their errors."""

import math

import numpy as np

from utils.drawing import confusion_figure as figure
from utils.pages import build
from utils.pages.run_folder import PANELS

TABLE_LIMIT = 32  # with more classes than this, the confusion matrix is a figure and not a table
LISTED = 20  # of the most frequent confusions, beside that figure


def class_table(result, counts, names, palette):
    """IoU of each class as a bar, and recall, share of pixels and confusions from the confusion matrix."""
    if not names:
        return ""
    rows = []
    has_counts = counts is not None and len(counts) == len(names)
    has_colours = palette is not None and len(palette) >= len(names)
    for k, name in enumerate(names):
        iou, chip = result["iou"][name], ""
        if has_colours:
            chip = "<span class='chip' style='background:rgb({} {} {})'></span>".format(*map(int, palette[k]))
        share, text = (iou, percent(iou)) if is_number(iou) else (0, "–")
        cells = f"<td><div class='bar'><i style='width:{100 * share:.1f}%'></i></div></td><td>{text}</td>"
        if has_counts:
            total = counts[k].sum()
            recall, pixels = (percent(counts[k, k] / total) if total else "–"), percent(total / max(counts.sum(), 1))
            confused = build.escape(confused_with(counts[k], k, names))
            cells += f"<td>{recall}</td><td>{pixels}</td><td class='text'>{confused}</td>"
        rows.append(f"<tr><th scope='row'>{chip}{build.escape(name)}</th>{cells}</tr>")
    head = "<th scope='col'>class</th><th scope='col' colspan='2'>IoU</th>"
    if has_counts:
        head += "<th scope='col'>recall</th><th scope='col'>pixels</th><th scope='col' class='text'>confused with</th>"
    table = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f"<div class='scroll'><table class='classes number'>{table}</table></div>"


def confused_with(row, k, names):
    """The two classes that pixels of class k are most often predicted as."""
    others = [(row[j], j) for j in range(len(names)) if j != k and row[j] > 0]
    others = [f"{names[j]} {percent(count / row.sum())}" for count, j in sorted(others, reverse=True)[:2]]
    return ", ".join(others)


def confusion_matrix(counts, names):
    """A table up to TABLE_LIMIT classes, else the figure that evaluate.py writes and a list of confusions."""
    if counts is None:
        return ""
    if len(names) != len(counts):
        names = [str(k) for k in range(len(counts))]
    shares = figure.row_shares(counts)
    matrix = confusion_table(shares, names) if len(names) <= TABLE_LIMIT else confusion_image(counts, shares, names)
    return f"<p class='soft'>{figure.CAPTION}</p>{matrix}"


def confusion_table(shares, names):
    columns = figure.column_names(names, shares)
    head = "".join(f"<th scope='col'><span>{build.escape(name)}</span></th>" for name in columns)
    body = []
    for name, row in zip(names, shares):
        cells, inverted = "", " class='deep'"
        for depth, text, deep in map(figure.cell_style, row):
            cells += f"<td{inverted if deep else ''} style='--share:{100 * depth:.0f}%'>{text}</td>"
        body.append(f"<tr><th scope='row'>{build.escape(name)}</th>{cells}</tr>")
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='Confusion matrix'>"
        f"<table class='confusion number'><thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def confusion_image(counts, shares, names):
    columns, source = figure.column_names(names, shares), build.data_uri(figure.confusion_figure(counts, names))
    pairs = sorted(((share, i, j) for (i, j), share in np.ndenumerate(shares) if i != j), reverse=True)
    items = "".join(
        f"<li>{build.escape(names[i])} predicted as {build.escape(columns[j])}: {percent(share)}</li>"
        for share, i, j in pairs[:LISTED]
        if share > 0
    )
    return (
        "<div class='scroll tall' tabindex='0' role='region' aria-label='Confusion matrix'>"
        f"<img class='matrix' alt='Confusion matrix of {len(names)} classes' src='{source}'></div>"
        f"<h3>Most confused</h3><ol>{items}</ol>"
    )


def examples(entries):
    """entries: [(name, score, panels)], each panel of PANELS an RGB array."""
    shown = []
    for name, score, panels in entries:
        images = "".join(
            f"<figure><img decoding='async' alt='{title} of {build.escape(name)}' "
            f"src='{build.data_uri(panel, 88 if title == 'image' else None)}'><figcaption>{title}</figcaption></figure>"
            for title, panel in zip(PANELS, panels)
        )
        title = build.escape(name) + (f": mean IoU {percent(score)}" if is_number(score) else "")
        shown.append(f"<div class='example'><h3>{title}</h3><div class='tiles'>{images}</div></div>")
    return "".join(shown)


def other_measures(result):
    """The single numbers of an evaluation that are shown nowhere else."""
    rows = ""
    for key, value in result.items():
        if is_number(value) and key not in ("miou", "pixel_accuracy", "images"):
            text = percent(value) if isinstance(value, float) and 0 <= value <= 1 else f"{value:g}"
            rows += f"<dt>{build.escape(key.replace('_', ' '))}</dt><dd class='number'>{text}</dd>"
    return f"<dl class='facts measures'>{rows}</dl>" if rows else ""


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def percent(share):
    return f"{100 * share:.1f}\u2009%" if share >= 0.00995 or share == 0 else f"{100 * share:.1g}\u2009%"
