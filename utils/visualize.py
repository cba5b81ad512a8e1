"""Pictures of results: label maps in colour, a contact sheet with a legend, a plot of curves. Pillow and numpy only."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, FAINT, PAPER = (40, 44, 52), (221, 224, 229), (255, 255, 255)
LINES = ((31, 99, 178), (217, 95, 2), (27, 138, 107), (166, 54, 120), (120, 120, 120), (190, 150, 0))


def font(size):
    return ImageFont.load_default(size=size)


def colourise(label, palette):
    """(H, W) classes -> (H, W, 3) RGB uint8; what is no class is black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    return table[label.astype(np.uint8)]


def contact_sheet(rows, titles, names, palette, scale=1):
    """rows: lists of (H, W, 3) RGB pictures of one size, a column for each title -> one RGB picture with a legend."""
    height, width = rows[0][0].shape[:2]
    height, width, gap, head = height * scale, width * scale, 8, 26
    sheet_width = len(titles) * (width + gap) + gap
    chips, x, y = [], gap, 0  # the legend, broken into lines
    for name in names:
        wide = 24 + int(font(13).getlength(name)) + 14
        if x + wide > sheet_width and x > gap:
            x, y = gap, y + 22
        chips.append((x, y))
        x += wide
    top = head + len(rows) * (height + gap)
    sheet = Image.new("RGB", (sheet_width, top + y + 30), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((gap + column * (width + gap), 6), title, INK, font(14))
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            tile = Image.fromarray(np.ascontiguousarray(picture)).resize((width, height), Image.NEAREST)
            sheet.paste(tile, (gap + column * (width + gap), head + row * (height + gap)))
    for (x, y), name, colour in zip(chips, names, palette):
        draw.rectangle((x, top + y + 5, x + 16, top + y + 19), tuple(colour), FAINT)
        draw.text((x + 22, top + y + 3), name, INK, font(13))
    return sheet


def nice_ticks(low, high, count=5):
    """Round numbers that cover [low, high]."""
    span = max(high - low, 1e-12)
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= count)
    return [k * step for k in range(math.floor(low / step), math.ceil(high / step) + 1)]


def plot_curves(curves, title, x_label, size=(860, 420), smooth=0.0, log=False):
    """curves: {name: (x, y)} -> RGB picture. `smooth` in 0..1 draws the running mean over the faint raw line.

    With `log`, both axes are logarithmic.
    """
    if log:
        curves = {name: (np.log10(x), np.log10(y)) for name, (x, y) in curves.items()}
    width, height = size
    left, right, top, bottom = 64, width - 36, 44, height - 48
    plot = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(plot)
    xs = [x for x, _ in curves.values()]
    ys = [y for _, y in curves.values()]
    if log:
        x_ticks, y_ticks = (
            [k for k in range(math.floor(min(map(min, v))), math.ceil(max(map(max, v))) + 1)] for v in (xs, ys)
        )
    else:
        x_ticks = nice_ticks(min(map(min, xs)), max(map(max, xs)), 8)
        y_ticks = nice_ticks(min(0.0, *map(min, ys)), max(np.percentile(np.concatenate(ys), 99), 1e-6) * 1.02)
    (x0, x1), (y0, y1) = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])

    def place(x, y):
        return (
            left + (x - x0) / max(x1 - x0, 1e-12) * (right - left),
            bottom - (min(max(y, y0), y1) - y0) / max(y1 - y0, 1e-12) * (bottom - top),
        )

    for tick in y_ticks:
        y = place(x0, tick)[1]
        draw.line((left, y, right, y), FAINT)
        draw.text((left - 8, y), f"{10.0**tick if log else tick:g}", INK, font(12), anchor="rm")
    for tick in x_ticks:
        x = place(tick, y0)[0]
        draw.line((x, bottom, x, bottom + 4), INK)
        draw.text((x, bottom + 8), f"{10.0**tick if log else tick:g}", INK, font(12), anchor="ma")
    draw.line((left, bottom, right, bottom), INK)
    draw.text((left, 14), title, INK, font(16))
    draw.text(((left + right) / 2, height - 8), x_label, INK, font(12), anchor="ms")

    legend_x = right
    for (name, (x, y)), colour in reversed(list(zip(curves.items(), LINES))):
        if smooth and len(y) > 2:
            faint = tuple((c + 3 * 255) // 4 for c in colour)
            draw.line([place(a, b) for a, b in zip(x, y)], faint, 1)
            mean, weight, line = 0.0, 0.0, []
            for value in y:
                mean, weight = smooth * mean + (1 - smooth) * value, smooth * weight + 1 - smooth
                line.append(mean / weight)
            y = line
        points = [place(a, b) for a, b in zip(x, y)]
        draw.line(points if len(points) > 1 else points * 2, colour, 2)
        legend_x -= font(13).getlength(name)
        draw.text((legend_x, 17), name, colour, font(13))
        legend_x -= 18
    return plot
