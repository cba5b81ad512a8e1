"""Line charts as SVG: for pages, which bring the colours, and through `standalone` as files for the README."""

import json
import math
from html import escape

from utils.drawing.axes import Axes, all_values, clean, log_ticks, nice_ticks, running_mean, step_ticks, thin
from utils.drawing.figures import flow

STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif }
text { fill: #1f2430 }
.paper { fill: #ffffff; stroke: #dfe3e8 } .grid { stroke: #e6e9ee } .axis { stroke: #5b6472 } .soft { fill: #5b6472 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round } .raw { fill: none; stroke-width: 1; opacity: .25 }
.title { font-size: 15px; font-weight: 600 } .small { font-size: 12px }
.s0 { stroke: #1f63b2 } .s1 { stroke: #c25404 } .s2 { stroke: #17805f } .s3 { stroke: #a63678 } .s4 { stroke: #6b7280 }
.f0 { fill: #1f63b2 } .f1 { fill: #c25404 } .f2 { fill: #17805f } .f3 { fill: #a63678 } .f4 { fill: #6b7280 }
"""
COLOURS = 5  # the classes s0 .. s4 of lines and f0 .. f4 of dots


def standalone(content, width, height, label, style=""):
    """A complete SVG file with a background, legible on light and dark pages."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(label)}">\n<style>{STYLE}{style}</style>\n'
        f'<rect class="paper" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10"/>\n{content}\n</svg>\n'
    )


def line_chart(curves, title, x_label="", size=(400, 240), log=False, smooth=0.0, zero=True, markers=False):
    """curves: {name: (xs, ys)} -> an <svg> element, coloured by the classes in STYLE; "" without a finite value.

    smooth: 0..1, draws the running mean over the faint raw line. log: both axes are logarithmic. zero: the y axis
    includes 0. The drawn values are in the attribute data-curves, where a page reads them.
    """
    curves = {name: clean(xs, ys, log) for name, (xs, ys) in curves.items()}
    curves = {name: values for name, values in curves.items() if values[0]}
    if not curves:
        return ""
    width, height = size
    left, right = 52, width - 14
    legend = flow([40 + 7.2 * len(name) for name in curves], right - left)
    top = 62 + 18 * legend[-1][1] if len(curves) > 1 else 40
    bottom = height - (42 if x_label else 26)
    x_ticks, y_ticks, *ranges = scales(*all_values(curves), log, zero)
    axes = Axes(left, right, top, bottom, *ranges, log)
    parts = [f'<text class="title" x="14" y="24">{escape(title)}</text>', *grid(axes, x_ticks, y_ticks)]
    if x_label:
        middle = f'x="{(left + right) / 2}" y="{height - 8}" text-anchor="middle"'
        parts.append(f'<text class="small soft" {middle}>{escape(x_label)}</text>')
    drawn = {}
    for number, (name, (x, line)) in enumerate(zip(curves, legend)):
        colour = number % COLOURS
        elements, drawn[name] = draw_curve(axes, *curves[name], colour, smooth, markers)
        parts += elements
        if len(curves) > 1:
            x, y = left + x, 42 + 18 * line
            parts.append(f'<path class="line s{colour}" d="M{x:g} {y}h16"/>')
            parts.append(f'<text class="small" x="{x + 21:g}" y="{y + 4}">{escape(name)}</text>')
    parts.append(f'<line class="hair" y1="{top}" y2="{bottom}" visibility="hidden"/>')  # moved by report.js
    ends = "; ".join(f"{name} from {p[0][2]:g} to {p[-1][2]:g}" for name, p in drawn.items())
    data = escape(json.dumps({"box": [left, right], "x": x_label, "curves": drawn}, separators=(",", ":")))
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(f"{title}: {ends}")}" '
        f'data-curves="{data}">{"".join(parts)}</svg>'
    )


def scales(xs, ys, log, zero):
    """-> ticks of x and of y, and the range of each axis."""
    if log:
        x_ticks, y_ticks = log_ticks(min(xs), max(xs)), log_ticks(min(ys), max(ys))
        x_range = (math.log10(min(xs)) - 0.04, math.log10(max(xs)) + 0.04)
        return x_ticks, y_ticks, x_range, (math.log10(y_ticks[0]), math.log10(y_ticks[-1]))
    y_ticks = nice_ticks(min(min(ys), 0.0) if zero else min(ys), max(ys), 4)
    return step_ticks(xs, 5), y_ticks, (min(xs), max(xs)), (y_ticks[0], y_ticks[-1])


def grid(axes, x_ticks, y_ticks):
    """-> SVG elements: horizontal lines, ticks and their labels, the x axis."""
    left, right, bottom = axes.left, axes.right, axes.bottom
    parts = []
    for tick in y_ticks:
        y, label = axes.y(tick), tick_label(tick)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        parts.append(f'<text class="small soft" x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for tick in x_ticks:
        x, label = axes.x(tick), tick_label(tick)
        if left - 1 <= x <= right + 1:
            parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>')
            x, anchor = (min(x, right + 6), "end") if x > right - 12 else (x, "middle")
            place = f'x="{x:.1f}" y="{bottom + 18}" text-anchor="{anchor}"'
            parts.append(f'<text class="small soft" {place}>{label}</text>')
    parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
    return parts


def tick_label(value):
    """0.001, 25, 10k, 2M"""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.0e}".replace("e-0", "e-")


def draw_curve(axes, xs, ys, colour, smooth, markers):
    """-> SVG elements, and the drawn points [x in pixels, x, y]."""
    parts = []
    if smooth and len(ys) > 20:
        parts.append(polyline(axes, *thin(xs, ys), f"raw s{colour}"))
        ys = running_mean(ys, smooth)
    xs, ys = thin(xs, ys)
    parts.append(polyline(axes, xs, ys, f"line s{colour}"))
    if markers or len(xs) == 1:
        places = [(axes.x(x), axes.y(y)) for x, y in zip(xs, ys)]
        parts += [f'<circle class="f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
    return parts, [[round(axes.x(x), 1), float(f"{x:.6g}"), float(f"{y:.4g}")] for x, y in zip(xs, ys)]


def polyline(axes, xs, ys, classes):
    points = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in zip(xs, ys))
    return f'<polyline class="{classes}" points="{points}"/>'
