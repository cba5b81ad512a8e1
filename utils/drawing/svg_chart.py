"""Line charts as SVG text: for pages (they bring the colours) and, through `standalone`, as files for the README."""

import json
import math
from html import escape

import numpy as np

from utils.drawing.figures import in_lines, nice_ticks, running_mean

STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif }
text { fill: #1f2430 }
.paper { fill: #ffffff; stroke: #dfe3e8 } .grid { stroke: #e6e9ee } .axis { stroke: #5b6472 } .soft { fill: #5b6472 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round } .raw { fill: none; stroke-width: 1; opacity: .25 }
.title { font-size: 15px; font-weight: 600 } .small { font-size: 12px }
.s0 { stroke: #1f63b2 } .s1 { stroke: #c25404 } .s2 { stroke: #17805f } .s3 { stroke: #a63678 } .s4 { stroke: #6b7280 }
.f0 { fill: #1f63b2 } .f1 { fill: #c25404 } .f2 { fill: #17805f } .f3 { fill: #a63678 } .f4 { fill: #6b7280 }
"""


def standalone(content, width, height, label, style=""):
    """A whole SVG file on a background of its own, legible on light and dark pages."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(label)}">\n<style>{STYLE}{style}</style>\n'
        f'<rect class="paper" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10"/>\n{content}\n</svg>\n'
    )


def short(value):
    """A tick: 0.001, 25, 10k, 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.0e}".replace("e-0", "e-")


def log_ticks(low, high):
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 3 else (1,)
    ticks = [m * 10.0**p for p in powers for m in steps]
    inner = [t for t in ticks if low / 1.001 <= t <= high * 1.001]
    before, after = [t for t in ticks if t < low / 1.001][-1:], [t for t in ticks if t > high * 1.001][:1]
    return before + inner + after


def thin(xs, ys, count=240):
    """At most 2 * count points: of each stretch its lowest and its highest, so that no spike is lost."""
    if len(xs) <= 2 * count:
        return xs, ys
    keep = []
    for part in np.array_split(np.arange(len(xs)), count):
        values = [ys[i] for i in part]
        keep += sorted({int(part[int(np.argmin(values))]), int(part[int(np.argmax(values))])})
    return [xs[i] for i in keep], [ys[i] for i in keep]


def line_chart(curves, title, x_label="", size=(400, 240), log=False, smooth=0.0, zero=True, markers=False):
    """curves: {name: (xs, ys)} -> <svg> without colours of its own (classes s0, s1 .. as in STYLE).

    `smooth` in 0..1 draws the running mean over the faint raw line; `log` makes both axes logarithmic; `zero` lets the
    axis start at 0. Values that are not finite are left out. The numbers are in data-curves, for a page to read out.
    """
    curves = {name: clean(xs, ys, log) for name, (xs, ys) in curves.items()}
    curves = {name: points for name, points in curves.items() if points[0]}
    if not curves:
        return ""
    width, height = size
    left, right = 52, width - 14
    legend = in_lines([40 + 7.2 * len(name) for name in curves], right - left)
    top, bottom = 62 + 18 * legend[-1][1] if len(curves) > 1 else 40, height - (42 if x_label else 26)
    every_x = [x for xs, _ in curves.values() for x in xs]
    every_y = [y for _, ys in curves.values() for y in ys]
    if log:
        x_ticks, y_ticks = log_ticks(min(every_x), max(every_x)), log_ticks(min(every_y), max(every_y))
    else:
        x_ticks = nice_ticks(min(every_x), max(every_x), 5)
        if all(x == round(x) for x in every_x):  # no step 1.5
            x_ticks = [tick for tick in x_ticks if abs(tick - round(tick)) < 1e-9]
        low, high = min(every_y), max(every_y)
        y_ticks = nice_ticks(min(low, 0.0) if zero else low, max(high, low), 4)
    scale = (lambda v: math.log10(v)) if log else (lambda v: v)
    if log:
        x0, x1 = scale(min(every_x)) - 0.04, scale(max(every_x)) + 0.04
    else:
        x0, x1 = min(every_x), max(every_x)
    y0, y1 = scale(y_ticks[0]), scale(y_ticks[-1])

    def place_x(x):
        return left + (scale(x) - x0) / ((x1 - x0) or 1) * (right - left)

    def place_y(y):
        share = (scale(y) - y0) / ((y1 - y0) or 1)
        return bottom - min(max(share, 0), 1) * (bottom - top)

    parts = [f'<text class="title" x="14" y="24">{escape(title)}</text>']
    for tick in y_ticks:
        y = place_y(tick)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        parts.append(f'<text class="small soft" x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in x_ticks:
        x = place_x(tick)
        if left - 1 <= x <= right + 1:
            parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>')
            anchor = "end" if x > right - 12 else "middle"
            at = min(x, right + 6) if anchor == "end" else x
            parts.append(
                f'<text class="small soft" x="{at:.1f}" y="{bottom + 18}" text-anchor="{anchor}">{short(tick)}</text>'
            )
    parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
    if x_label:
        middle = (left + right) / 2
        parts.append(
            f'<text class="small soft" x="{middle}" y="{height - 8}" text-anchor="middle">{escape(x_label)}</text>'
        )

    told = {}
    for number, (name, (xs, ys)) in enumerate(curves.items()):
        colour = number % 5
        if smooth and len(ys) > 20:
            parts.append(f'<polyline class="raw s{colour}" points="{points(*thin(xs, ys), place_x, place_y)}"/>')
            ys = running_mean(ys, smooth)
        xs, ys = thin(xs, ys)
        parts.append(f'<polyline class="line s{colour}" points="{points(xs, ys, place_x, place_y)}"/>')
        if markers or len(xs) == 1:
            parts += [
                f'<circle class="f{colour}" cx="{place_x(x):.1f}" cy="{place_y(y):.1f}" r="3"/>' for x, y in zip(xs, ys)
            ]
        if len(curves) > 1:
            x, y = left + legend[number][0], 42 + 18 * legend[number][1]
            parts.append(f'<path class="line s{colour}" d="M{x:g} {y}h16"/>')
            parts.append(f'<text class="small" x="{x + 21:g}" y="{y + 4}">{escape(name)}</text>')
        told[name] = [[round(place_x(x), 1), float(f"{x:.6g}"), float(f"{y:.4g}")] for x, y in zip(xs, ys)]
    parts.append(f'<line class="hair" y1="{top}" y2="{bottom}" visibility="hidden"/>')  # a page moves it
    ends = "; ".join(f"{name} from {p[0][2]:g} to {p[-1][2]:g}" for name, p in told.items())
    data = escape(json.dumps({"box": [left, right], "x": x_label, "curves": told}, separators=(",", ":")))
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(f"{title}: {ends}")}" '
        f'data-curves="{data}">{"".join(parts)}</svg>'
    )


def clean(xs, ys, positive):
    pairs = [(float(x), float(y)) for x, y in zip(xs, ys) if y is not None and math.isfinite(y)]
    pairs = sorted(p for p in pairs if not positive or (p[0] > 0 and p[1] > 0))
    return [x for x, _ in pairs], [y for _, y in pairs]


def points(xs, ys, place_x, place_y):
    return " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in zip(xs, ys))
