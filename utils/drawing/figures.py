"""Figures of results as PNG: label maps in colour, overlays with a legend, contact sheets. Pillow and numpy only."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, FAINT, PAPER = (40, 44, 52), (221, 224, 229), (255, 255, 255)
VOID = -1  # in a label map given to `colourise`: a pixel of no class
LINES = ((31, 99, 178), (217, 95, 2), (27, 138, 107), (166, 54, 120), (120, 120, 120), (190, 150, 0))


# ------------------------------------------------------------------------------------------------------ text and layout


def font(size):
    return ImageFont.load_default(size=size)


def shortened(text, font_, width):
    """`text`, or as much of it as fits into `width` pixels, followed by "..."."""
    if font_.getlength(text) <= width:
        return text
    while text and font_.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def flow(widths, line_width):
    """Positions (x, line) of entries of these widths, placed from left to right in lines of at most `line_width`."""
    positions, x, line = [], 0, 0
    for width in widths:
        if x and x + width > line_width:
            x, line = 0, line + 1
        positions.append((x, line))
        x += width
    return positions


def fitted(pixels, width, height):
    """An RGB array -> a Pillow image that fits into width x height: reduced, or enlarged by an integer factor."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    factor = min(width / image.width, height / image.height)
    factor = math.floor(factor) if factor >= 1 else factor
    size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
    return image if factor == 1 else image.resize(size, Image.NEAREST if factor > 1 else Image.BILINEAR)


# ----------------------------------------------------------------------------------------------------------- label maps


def visible(image):
    """(H, W, C) uint8 -> (H, W, 3) RGB: BGR reversed; of other numbers of channels the first three, one as grey; of a
    clip (T, H, W, C) the middle frame."""
    image = image[len(image) // 2] if image.ndim == 4 else image
    channels = image.shape[2]
    if channels == 3:
        return image[:, :, ::-1]
    return image[:, :, :3] if channels > 3 else image[:, :, [0, channels - 1, channels - 1]]


def colourise(label, palette):
    """(H, W) classes -> (H, W, 3) RGB uint8; values outside the palette are black."""
    table = np.zeros((len(palette) + 1, 3), np.uint8)
    table[:-1] = palette
    label = label.astype(np.int64)
    return table[np.where((label < 0) | (label > len(palette)), len(palette), label)]


def error_map(label, prediction, void):
    """Correct pixels light, wrong ones red, void black -> (H, W, 3) RGB uint8."""
    errors = np.where((label == prediction)[:, :, None], np.uint8(FAINT), np.uint8((200, 30, 40)))
    errors[void] = 0
    return errors


def overlay(image, label, palette, opacity=0.55):
    """Classes in colour over an RGB image, with a line along their borders -> (H, W, 3) RGB uint8.

    Classes whose colour is black (the background of VOC, LIP and of folders without colours) and void leave the image
    as it is: black would only darken it.
    """
    colours = colourise(label, palette)
    mixed = (image * (1 - opacity) + colours * opacity).round().astype(np.uint8)
    mixed = np.where(colours.any(-1, keepdims=True), mixed, image)
    edge = np.zeros(label.shape, bool)
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    edge[1:] |= label[1:] != label[:-1]
    mixed[edge] = mixed[edge] // 2
    return mixed


def with_legend(image, label, names, palette, most=24):
    """An RGB overlay with a panel on its right: the classes in `label`, largest first, and their share of pixels."""
    classes, counts = np.unique(label, return_counts=True)
    present = [(count / label.size, k) for count, k in sorted(zip(-counts, classes)) if k < len(names)]
    lines = []
    for share, k in present[:most]:
        colour, name = tuple(palette[k]), shortened(names[k], font(13), 300)
        lines.append((f"{name}  {-100 * share:.1f}%{'' if any(colour) else ', not tinted'}", colour))
    if len(present) > most:
        rest = -100 * sum(share for share, _ in present[most:])
        lines.append((f"and {len(present) - most} more, together {rest:.1f}%", PAPER))
    panel_width = max((math.ceil(font(13).getlength(text)) for text, _ in lines), default=0) + 44
    height, width = image.shape[:2]
    figure = Image.new("RGB", (width + panel_width, max(height, 22 * len(lines) + 12)), PAPER)
    figure.paste(Image.fromarray(image), (0, 0))
    draw = ImageDraw.Draw(figure)
    for row, (text, colour) in enumerate(lines):
        y = 8 + 22 * row
        draw.rectangle((width + 10, y, width + 26, y + 14), colour, FAINT if colour != PAPER else None)
        draw.text((width + 34, y - 2), text, INK, font(13))
    return figure


# -------------------------------------------------------------------------------------------------------- contact sheet


def contact_sheet(rows, titles, names, palette, max_side=512):
    """rows: lists of (H, W, 3) RGB images, one for each title -> a Pillow image with column titles and a legend.

    Images of one row have the same size; rows may differ. Every image keeps its aspect ratio; columns are as wide as
    the widest image, at most `max_side` pixels.
    """
    gap, head, text = 8, 26, font(13)
    height, width = (min(max(row[0].shape[side] for row in rows), max_side) for side in (0, 1))
    tiles = [[fitted(image, width, height) for image in row] for row in rows]
    column = gap + max(width, *(math.ceil(font(14).getlength(title)) for title in titles))
    names = [shortened(name, text, 300) for name in names]
    entries = [38 + math.ceil(text.getlength(name)) for name in names]
    sheet_width = max(len(titles) * column, *entries, 0) + gap
    legend = flow(entries, sheet_width - gap)
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
