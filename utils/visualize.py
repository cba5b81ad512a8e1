"""Pictures of results: label maps in colour, a contact sheet with a legend, a plot of curves. Pillow and numpy only."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, FAINT, PAPER = (40, 44, 52), (221, 224, 229), (255, 255, 255)
VOID = -1  # for colourise: a pixel of no class
LINES = ((31, 99, 178), (217, 95, 2), (27, 138, 107), (166, 54, 120), (120, 120, 120), (190, 150, 0))


def font(size):
    return ImageFont.load_default(size=size)


def colourise(label, palette):
    """(H, W) classes -> (H, W, 3) RGB uint8; what is no class is black."""
    table = np.zeros((len(palette) + 1, 3), np.uint8)
    table[:-1] = palette
    label = label.astype(np.int64)
    return table[np.where((label < 0) | (label > len(palette)), len(palette), label)]


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


def error_map(label, prediction, void):
    """Right pixels light, wrong ones red, void black -> (H, W, 3) RGB uint8."""
    picture = np.where((label == prediction)[:, :, None], np.uint8(FAINT), np.uint8((200, 30, 40)))
    picture[void] = 0
    return picture


def overlay(picture, label, palette, opacity=0.55):
    """Classes in colour over an RGB picture, with a line where they meet -> (H, W, 3) RGB uint8."""
    mixed = (picture * (1 - opacity) + colourise(label, palette) * opacity).round().astype(np.uint8)
    edge = np.zeros(label.shape, bool)
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    edge[1:] |= label[1:] != label[:-1]
    mixed[edge] = mixed[edge] // 2
    return mixed


def with_legend(picture, label, names, palette, most=24):
    """An RGB picture with a panel on its right: the classes in `label`, largest first, and their share of pixels."""
    classes, counts = np.unique(label, return_counts=True)
    shares = sorted(zip(-counts / label.size, classes))
    lines = [(f"{names[k]}  {-100 * share:.1f}%", tuple(palette[k])) for share, k in shares if k < len(names)][:most]
    wide = int(max(font(13).getlength(text) for text, _ in lines)) + 44
    height, width = picture.shape[:2]
    canvas = Image.new("RGB", (width + wide, max(height, 22 * len(lines) + 12)), PAPER)
    canvas.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for row, (text, colour) in enumerate(lines):
        y = 8 + 22 * row
        draw.rectangle((width + 10, y, width + 26, y + 14), colour, FAINT)
        draw.text((width + 34, y - 2), text, INK, font(13))
    return canvas


def confusion_picture(counts, names):
    """Rows are true classes, columns predictions; a cell is as blue as its share of the row is large."""
    classes = len(names)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    columns = classes + bool(counts[:, -1].any())  # the last one, predictions of no class, only if there are any
    cell = 34 if classes <= 40 else max(1000 // classes, 5)
    text = font(13 if classes <= 40 else max(cell, 7))
    left = int(max(text.getlength(name) for name in [*names, "no class"])) + 16
    picture = Image.new("RGB", (left + columns * cell + 20, left + classes * cell + 30), PAPER)
    draw = ImageDraw.Draw(picture)
    for k, name in enumerate([*names, "no class"][:columns]):  # upright, above its column
        label = Image.new("RGB", (left - 12, cell), PAPER)
        ImageDraw.Draw(label).text((2, cell / 2), name, INK, text, anchor="lm")
        picture.paste(label.rotate(90, expand=True), (left + k * cell, 4))
    for row, name in enumerate(names):
        y = left + row * cell
        draw.text((left - 8, y + cell / 2), name, INK, text, anchor="rm")
        for column in range(columns):
            x, share = left + column * cell, float(shares[row, column])
            shade = tuple(round(255 + (c - 255) * share**0.5) for c in LINES[0])
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), shade, FAINT if cell > 12 else None)
            if classes <= 40 and share >= 0.005:
                colour = PAPER if share > 0.25 else INK
                draw.text((x + cell / 2, y + cell / 2), f"{100 * share:.0f}", colour, font(11), anchor="mm")
    draw.text((left, left + classes * cell + 8), "rows: true class, 100% each; columns: predicted", INK, font(12))
    return picture
