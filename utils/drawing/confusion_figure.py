"""A confusion matrix: how its cells are normalised, shaded and labelled, and its figure as PNG."""

import math

import numpy as np
from PIL import Image, ImageDraw

from utils.drawing.figures import FAINT, INK, LINES, PAPER, font, shortened

CAPTION = "Rows: true class, 100% each; columns: predicted class"
NO_CLASS = "no class"  # the column of predictions that are no class of the dataset


def row_shares(counts):
    """counts (K, K) or (K, K + 1), true class by predicted class -> shares of each row, of its pixels.

    The last of K + 1 columns counts predictions of no class; it is left out where it is empty.
    """
    classes = len(counts)
    columns = classes + bool(counts[:, classes:].any())
    return counts[:, :columns] / np.maximum(counts.sum(1, keepdims=True), 1)


def column_names(names, shares):
    return [*names, NO_CLASS][: shares.shape[1]]


def cell_style(share):
    """-> (depth of the colour in 0..1, text in percent or "", True where the colour is deep: the text is inverted)"""
    return math.sqrt(share), f"{100 * share:.0f}" if share >= 0.005 else "", share > 0.25


def confusion_figure(counts, names):
    """-> a Pillow image: rows are true classes, columns predicted ones; up to 40 classes the cells have numbers."""
    shares, few = row_shares(counts), len(names) <= 40
    classes, columns = shares.shape
    cell, text = (34, font(13)) if few else (14, font(11))
    names = [shortened(name, text, 260) for name in column_names(names, shares)]
    left = math.ceil(max(map(text.getlength, names))) + 16
    width = left + max(columns * cell + 20, math.ceil(font(12).getlength(CAPTION)) + 12)
    figure = Image.new("RGB", (width, left + classes * cell + 32), PAPER)
    draw = ImageDraw.Draw(figure)
    for k, name in enumerate(names):  # upright, above its column
        title = Image.new("RGB", (left - 12, cell), PAPER)
        ImageDraw.Draw(title).text((2, cell / 2), name, INK, text, anchor="lm")
        figure.paste(title.rotate(90, expand=True), (left + k * cell, 4))
    for row in range(classes):
        y = left + row * cell
        draw.text((left - 8, y + cell / 2), names[row], INK, text, anchor="rm")
        for column in range(columns):
            x, (depth, percent, deep) = left + column * cell, cell_style(float(shares[row, column]))
            shade = tuple(round(255 + (c - 255) * depth) for c in LINES[0])
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), shade, FAINT)
            if few and percent:
                draw.text((x + cell / 2, y + cell / 2), percent, PAPER if deep else INK, font(11), anchor="mm")
    draw.text((left, left + classes * cell + 8), CAPTION, INK, font(12))
    return figure
