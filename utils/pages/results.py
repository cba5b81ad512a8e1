"""The part of a report that speaks of results: a table of classes, the confusion matrix, pictures with their errors."""

import math

import numpy as np

from utils.pages import build
from utils.pages.run_folder import PANELS

TABLE_LIMIT = 32  # more classes than this: the confusion matrix becomes a picture


def classes(result, counts, names, palette):
    """A table with bars: IoU, and what the confusion matrix adds."""
    if not names:
        return ""
    rows = []
    fits = counts is not None and len(counts) == len(names)
    coloured = palette is not None and len(palette) >= len(names)
    for k, name in enumerate(names):
        iou, chip = result["iou"][name], ""
        if coloured:
            chip = "<span class='chip' style='background:rgb({} {} {})'></span>".format(*map(int, palette[k]))
        share, text = (iou, percent(iou)) if is_number(iou) else (0, "–")
        cells = f"<td><div class='bar'><i style='width:{100 * share:.1f}%'></i></div></td><td>{text}</td>"
        if fits:
            total = counts[k].sum()
            found, pixels = (percent(counts[k, k] / total) if total else "–"), percent(total / max(counts.sum(), 1))
            mistakes = build.escape(confused_with(counts[k], k, names))
            cells += f"<td>{found}</td><td>{pixels}</td><td class='text'>{mistakes}</td>"
        rows.append(f"<tr><th scope='row'>{chip}{build.escape(name)}</th>{cells}</tr>")
    head = "<th scope='col'>class</th><th scope='col' colspan='2'>IoU</th>"
    if fits:
        head += "<th scope='col'>found</th><th scope='col'>pixels</th><th scope='col' class='text'>taken for</th>"
    table = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f"<div class='scroll'><table class='classes number'>{table}</table></div>"


def confused_with(row, k, names):
    others = [(row[j], j) for j in range(len(names)) if j != k and row[j] > 0]
    others = [f"{names[j]} {percent(count / row.sum())}" for count, j in sorted(others, reverse=True)[:2]]
    return ", ".join(others)


def confusion(counts, names):
    """Rows are the truth, each summing to 100 %; the darker, the more."""
    if counts is None:
        return ""
    if len(names) != len(counts):
        names = [str(k) for k in range(len(counts))]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    if len(names) > TABLE_LIMIT:
        shade = np.sqrt(shares)[..., None]
        picture = np.rint(255 - shade * (255 - np.array((31, 99, 178)))).astype(np.uint8)
        image = f"<img class='matrix' alt='Confusion matrix of {len(names)} classes' src='{build.data_uri(picture)}'>"
        pairs = sorted(((shares[i, j], i, j) for i, j in np.ndindex(shares.shape) if i != j), reverse=True)[:20]
        listed = [(names[i], names[j] if j < len(names) else "no class", share) for share, i, j in pairs if share > 0]
        items = "".join(
            f"<li>{build.escape(a)} taken for {build.escape(b)}: {percent(share)}</li>" for a, b, share in listed
        )
        return f"<p class='soft'>Rows: truth. Columns: prediction.</p>{image}<h3>Most confused</h3><ol>{items}</ol>"
    columns = names + ["no class"] * (counts.shape[1] - len(names) if counts[:, len(names) :].any() else 0)
    head = "".join(f"<th scope='col'><span>{build.escape(name)}</span></th>" for name in columns)
    body = []
    for name, row in zip(names, shares):
        cells = ""
        for share in row[: len(columns)]:
            text = f"{100 * share:.0f}" if share >= 0.005 else ""
            dark = " class='dark'" if share > 0.3 else ""
            cells += f"<td{dark} style='--share:{100 * math.sqrt(share):.0f}%'>{text}</td>"
        body.append(f"<tr><th scope='row'>{build.escape(name)}</th>{cells}</tr>")
    return (
        "<p class='soft'>Rows: truth, each 100 %. Columns: prediction.</p>"
        "<div class='scroll' tabindex='0' role='region' aria-label='Confusion matrix'>"
        f"<table class='confusion number'><thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def pictures(entries):
    shown = []
    for name, score, panels in entries:
        images = "".join(
            f"<figure><img decoding='async' alt='{what} of {build.escape(name)}' "
            f"src='{build.data_uri(panel, 88 if what == 'picture' else None)}'><figcaption>{what}</figcaption></figure>"
            for what, panel in zip(PANELS, panels)
        )
        title = build.escape(name) + (f": mean IoU {percent(score)}" if is_number(score) else "")
        shown.append(f"<div class='example'><h3>{title}</h3><div class='tiles'>{images}</div></div>")
    return "".join(shown)


def measures(result):
    """Single numbers of the evaluation that have no place of their own."""
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
