"""Line charts as PNG, drawn by Pillow. Charts as SVG: svg_chart.py."""

import itertools
import math

from PIL import Image, ImageDraw

from utils.drawing.axes import Axes, all_values, clean, nice_ticks, running_mean, step_ticks
from utils.drawing.figures import FAINT, INK, LINES, PAPER, flow, font, shortened

TEXT, SMALL = 13, 12  # font sizes


def plot_curves(curves, title, x_label, size=(860, 420), smooth=0.0):
    """curves: {name: (xs, ys)} -> a Pillow image. `smooth` in 0..1 draws the running mean over the faint raw line."""
    curves = {name: clean(xs, ys) for name, (xs, ys) in curves.items()}
    width, height = size
    every_x, every_y = all_values(curves)
    x_ticks = step_ticks(every_x, 8) if max(every_x) > min(every_x) else [every_x[0] + k for k in (-1, 0, 1)]
    y_ticks = nice_ticks(min(0.0, min(every_y)), max(1e-6, max(every_y)))
    left, right = 20 + math.ceil(max(font(SMALL).getlength(f"{tick:g}") for tick in y_ticks)), width - 36
    names = [shortened(name, font(TEXT), right - left - 40) for name in curves]
    legend = flow([42 + math.ceil(font(TEXT).getlength(name)) for name in names], right - left)
    top, bottom = 66 + 20 * legend[-1][1], height - 48
    axes = Axes(left, right, top, bottom, (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1]))

    plot = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(plot)
    draw_axes(draw, axes, x_ticks, y_ticks)
    draw.text((left, 12), shortened(title, font(16), right - left), INK, font(16))
    draw.text(((left + right) / 2, height - 8), x_label, INK, font(SMALL), anchor="ms")
    for (xs, ys), name, (x, line), colour in reversed(
        list(zip(curves.values(), names, legend, itertools.cycle(LINES)))
    ):
        draw_curve(draw, axes, xs, ys, colour, smooth)
        x, y = left + x, 45 + 20 * line
        draw.line((x, y, x + 18, y), colour, 2)
        draw.text((x + 24, y), name, colour, font(TEXT), anchor="lm")
    return plot


def draw_axes(draw, axes, x_ticks, y_ticks):
    for tick in y_ticks:
        y = axes.y(tick)
        draw.line((axes.left, y, axes.right, y), FAINT)
        draw.text((axes.left - 8, y), f"{tick:g}", INK, font(SMALL), anchor="rm")
    for tick in x_ticks:
        x = axes.x(tick)
        draw.line((x, axes.bottom, x, axes.bottom + 4), INK)
        draw.text((x, axes.bottom + 8), f"{tick:g}", INK, font(SMALL), anchor="ma")
    draw.line((axes.left, axes.bottom, axes.right, axes.bottom), INK)


def draw_curve(draw, axes, xs, ys, colour, smooth):
    if smooth and len(ys) > 2:
        faint = tuple((c + 3 * 255) // 4 for c in colour)
        draw.line([(axes.x(x), axes.y(y)) for x, y in zip(xs, ys)], faint, 1)
        ys = running_mean(ys, smooth)
    points = [(axes.x(x), axes.y(y)) for x, y in zip(xs, ys)]
    draw.line(points, colour, 2)
    for x, y in points if len(points) <= 40 else ():
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
