"""Pictures of results: label maps in colour, a contact sheet with a legend, a plot of curves. Pillow and numpy only."""

import itertools
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


def shortened(text, font_, width):
    """`text`, or as much of it as fits into `width` pixels, with dots at its end."""
    if font_.getlength(text) <= width:
        return text
    while text and font_.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def in_lines(widths, room):
    """Places (x, line) for entries of these widths, from left to right, broken into lines no longer than `room`."""
    places, x, line = [], 0, 0
    for width in widths:
        if x and x + width > room:
            x, line = 0, line + 1
        places.append((x, line))
        x += width
    return places


def fitted(picture, width, height):
    """An RGB array -> a Pillow image of the same shape that fits into width x height: reduced, or a whole number of
    times as large, never stretched."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    factor = min(width / image.width, height / image.height)
    factor = math.floor(factor) if factor >= 1 else factor
    size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
    return image if factor == 1 else image.resize(size, Image.NEAREST if factor > 1 else Image.BILINEAR)


def contact_sheet(rows, titles, names, palette, most=512):
    """rows: lists of (H, W, 3) RGB images, a column for each title -> one RGB picture with a legend.

    Images of one row have one size, and rows may differ: every image keeps its shape in a column that is as wide as
    the widest, at most `most` pixels.
    """
    gap, head, text = 8, 26, font(13)
    height, width = (min(max(row[0].shape[side] for row in rows), most) for side in (0, 1))
    tiles = [[fitted(picture, width, height) for picture in row] for row in rows]
    column = gap + max(width, *(math.ceil(font(14).getlength(title)) for title in titles))
    names = [shortened(name, text, 300) for name in names]
    chips = [38 + math.ceil(text.getlength(name)) for name in names]
    sheet_width = max(len(titles) * column, *chips, 0) + gap
    legend = in_lines(chips, sheet_width - gap)
    top = head + sum(row[0].height + gap for row in tiles)
    sheet = Image.new("RGB", (sheet_width, top + 30 + 22 * max((line for _, line in legend), default=0)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, title in enumerate(titles):
        draw.text((gap + number * column, 6), title, INK, font(14))
    y = head
    for row in tiles:
        for number, tile in enumerate(row):
            sheet.paste(tile, (gap + number * column, y))
        y += row[0].height + gap
    for (x, line), name, colour in zip(legend, names, palette):
        x, y = gap + x, top + 22 * line
        draw.rectangle((x, y + 5, x + 16, y + 19), tuple(colour), FAINT)
        draw.text((x + 22, y + 3), name, INK, text)
    return sheet


def nice_ticks(low, high, count=5):
    """Round numbers that cover [low, high]."""
    span = max(high - low, 1e-12)
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= count)
    return [k * step for k in range(math.floor(low / step), math.ceil(high / step) + 1)]


def plot_curves(curves, title, x_label, size=(860, 420), smooth=0.0):
    """curves: {name: (x, y)} -> RGB picture. `smooth` in 0..1 draws the running mean over the faint raw line."""
    width, height = size
    text, small = font(13), font(12)
    first, last = min(min(x) for x, _ in curves.values()), max(max(x) for x, _ in curves.values())
    x_ticks = nice_ticks(first, last, 8) if last > first else [first - 1, first, first + 1]
    lowest, highest = min(min(y) for _, y in curves.values()), max(max(y) for _, y in curves.values())
    y_ticks = nice_ticks(min(0.0, lowest), max(highest, 1e-6))
    labels = [f"{tick:g}" for tick in y_ticks]
    left, right = 20 + math.ceil(max(map(small.getlength, labels))), width - 36
    names = [shortened(name, text, right - left - 40) for name in curves]
    legend = in_lines([42 + math.ceil(text.getlength(name)) for name in names], right - left)
    top, bottom = 66 + 20 * legend[-1][1], height - 48
    plot = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(plot)
    (x0, x1), (y0, y1) = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])

    def place(x, y):
        return (
            left + (x - x0) / max(x1 - x0, 1e-12) * (right - left),
            bottom - (y - y0) / max(y1 - y0, 1e-12) * (bottom - top),
        )

    for tick, label in zip(y_ticks, labels):
        y = place(x0, tick)[1]
        draw.line((left, y, right, y), FAINT)
        draw.text((left - 8, y), label, INK, small, anchor="rm")
    whole = all(value == round(value) for x, _ in curves.values() for value in x)  # no step 1.5
    for tick in [tick for tick in x_ticks if not whole or abs(tick - round(tick)) < 1e-9]:
        x = place(tick, y0)[0]
        draw.line((x, bottom, x, bottom + 4), INK)
        draw.text((x, bottom + 8), f"{tick:g}", INK, small, anchor="ma")
    draw.line((left, bottom, right, bottom), INK)
    draw.text((left, 12), shortened(title, font(16), right - left), INK, font(16))
    draw.text(((left + right) / 2, height - 8), x_label, INK, small, anchor="ms")

    for (x, y), name, at, colour in reversed(list(zip(curves.values(), names, legend, itertools.cycle(LINES)))):
        if smooth and len(y) > 2:
            faint = tuple((c + 3 * 255) // 4 for c in colour)
            draw.line([place(a, b) for a, b in zip(x, y)], faint, 1)
            y = running_mean(y, smooth)
        points = [place(a, b) for a, b in zip(x, y)]
        draw.line(points, colour, 2)
        for at_x, at_y in points if len(points) <= 40 else ():
            draw.ellipse((at_x - 3, at_y - 3, at_x + 3, at_y + 3), colour)
        line_x, line_y = left + at[0], 45 + 20 * at[1]
        draw.line((line_x, line_y, line_x + 18, line_y), colour, 2)
        draw.text((line_x + 24, line_y), name, colour, text, anchor="lm")
    return plot


def running_mean(values, weight):
    """Of what came before, corrected for its start."""
    mean, total, out = 0.0, 0.0, []
    for value in values:
        mean, total = weight * mean + (1 - weight) * value, weight * total + 1 - weight
        out.append(mean / total)
    return out


def error_map(label, prediction, void):
    """Right pixels light, wrong ones red, void black -> (H, W, 3) RGB uint8."""
    picture = np.where((label == prediction)[:, :, None], np.uint8(FAINT), np.uint8((200, 30, 40)))
    picture[void] = 0
    return picture


def overlay(picture, label, palette, opacity=0.55):
    """Classes in colour over an RGB image, with a line where they meet -> (H, W, 3) RGB uint8.

    A class whose colour is black (the background of VOC, LIP and of folders without colours) and what is no class
    leave the image as it is: black over an image is not a colour, it only darkens it.
    """
    colours = colourise(label, palette)
    mixed = (picture * (1 - opacity) + colours * opacity).round().astype(np.uint8)
    mixed = np.where(colours.any(-1, keepdims=True), mixed, picture)
    edge = np.zeros(label.shape, bool)
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    edge[1:] |= label[1:] != label[:-1]
    mixed[edge] = mixed[edge] // 2
    return mixed


def with_legend(picture, label, names, palette, most=24):
    """An RGB overlay with a panel on its right: the classes in `label`, largest first, and their share of pixels."""
    classes, counts = np.unique(label, return_counts=True)
    found = [(count / label.size, k) for count, k in sorted(zip(-counts, classes)) if k < len(names)]
    lines = []
    for share, k in found[:most]:
        colour, name = tuple(palette[k]), shortened(names[k], font(13), 300)
        lines.append((f"{name}  {-100 * share:.1f}%{'' if any(colour) else ', not tinted'}", colour))
    if len(found) > most:
        rest = -100 * sum(share for share, _ in found[most:])
        lines.append((f"and {len(found) - most} more, together {rest:.1f}%", PAPER))
    wide = max((math.ceil(font(13).getlength(text)) for text, _ in lines), default=0) + 44
    height, width = picture.shape[:2]
    canvas = Image.new("RGB", (width + wide, max(height, 22 * len(lines) + 12)), PAPER)
    canvas.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for row, (text, colour) in enumerate(lines):
        y = 8 + 22 * row
        draw.rectangle((width + 10, y, width + 26, y + 14), colour, FAINT if colour != PAPER else None)
        draw.text((width + 34, y - 2), text, INK, font(13))
    return canvas


def confusion_picture(counts, names):
    """Rows are true classes, columns predictions; a cell is as blue as its share of the row is large."""
    classes, few = len(names), len(names) <= 40
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    columns = classes + bool(counts[:, -1].any())  # the last one, predictions of no class, only if there are any
    cell, text = (34, font(13)) if few else (14, font(11))
    names = [shortened(name, text, 260) for name in [*names, "no class"]]
    caption = "rows: true class, 100% each; columns: predicted"
    left = math.ceil(max(map(text.getlength, names))) + 16
    wide = left + max(columns * cell + 20, math.ceil(font(12).getlength(caption)) + 12)
    picture = Image.new("RGB", (wide, left + classes * cell + 32), PAPER)
    draw = ImageDraw.Draw(picture)
    for k, name in enumerate(names[:columns]):  # upright, above its column
        label = Image.new("RGB", (left - 12, cell), PAPER)
        ImageDraw.Draw(label).text((2, cell / 2), name, INK, text, anchor="lm")
        picture.paste(label.rotate(90, expand=True), (left + k * cell, 4))
    for row in range(classes):
        y = left + row * cell
        draw.text((left - 8, y + cell / 2), names[row], INK, text, anchor="rm")
        for column in range(columns):
            x, share = left + column * cell, float(shares[row, column])
            shade = tuple(round(255 + (c - 255) * share**0.5) for c in LINES[0])
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), shade, FAINT)
            if few and share >= 0.005:
                colour = PAPER if share > 0.25 else INK
                draw.text((x + cell / 2, y + cell / 2), f"{100 * share:.0f}", colour, font(11), anchor="mm")
    draw.text((left, left + classes * cell + 8), caption, INK, font(12))
    return picture
