"""The attention figure of the paper: the image with a green cross, the map after each pass, the map over the image."""

import numpy as np
from PIL import Image, ImageDraw

from utils.drawing.figures import FAINT, INK, PAPER, flow, font, shortened
from utils.drawing.heat import heat, heat_table

CROSS, PATH, SHADOW = (22, 240, 120, 255), (79, 212, 255, 255), (0, 0, 0, 170)
SOFT, WARNING = (100, 108, 120), (176, 58, 20)
GAP, HEAD, CAPTION = 10, 38, 30  # pixels between tiles, above them for titles, below each for its caption
FINE = 4  # marks are drawn this much larger and reduced, for smooth lines


def to_cell(pixel, pixels, cells):
    """The cell of the attention map at a pixel. Corner cells lie on corner pixels (align_corners), as for logits."""
    return int(np.floor(pixel * (cells - 1) / (pixels - 1) + 0.5)) if pixels > 1 else 0


def to_pixel(cell, pixels, cells):
    return cell * (pixels - 1) / (cells - 1) if cells > 1 else (pixels - 1) / 2


def enlarge(cells, height, width):
    """(h, w) or (h, w, C) -> (height, width) or (height, width, C), nearest cell."""
    ys = [to_cell(y, height, cells.shape[0]) for y in range(height)]
    xs = [to_cell(x, width, cells.shape[1]) for x in range(width)]
    return cells[np.ix_(ys, xs)]


def attention_figure(image, points, remark="", warning=False, light=0.55, tile_width=340):
    """-> a Pillow image: a row of tiles for each point, and below them `remark`, coloured if it is a warning.

    image: (H, W, 3) RGB uint8. points: [{"point": (x, y), "name": predicted class, "maps": [(h, w) for R = 1, 2, ..],
    "paths": [[(y, x) cells], one for each map]}]. In the last column the map is added to the image dimmed to `light`.
    """
    height, width = image.shape[:2]
    size = (tile_width, max(round(height * tile_width / width), 1))
    passes = len(points[0]["maps"])
    titles = ["image", *(f"R = {r + 1}" for r in range(passes)), f"R = {passes} over the image"]
    row_height = size[1] + CAPTION + GAP
    figure_width, bottom = GAP + len(titles) * (size[0] + GAP), HEAD + len(points) * row_height
    lines = wrapped(remark, font(17), figure_width - 2 * GAP)
    figure = Image.new("RGB", (figure_width, bottom + 24 * len(lines) + 42), PAPER)
    draw = ImageDraw.Draw(figure)
    for column, title in enumerate(titles):
        draw.text((GAP + column * (size[0] + GAP), 8), title, INK, font(20))
    for row, entry in enumerate(points):
        top = HEAD + row * row_height
        for column, (tile, text) in enumerate(tiles_of(image, entry, size, light)):
            x = GAP + column * (size[0] + GAP)
            figure.paste(tile, (x, top))
            draw.text((x, top + size[1] + 6), shortened(text, font(17), size[0]), SOFT, font(17))
    for number, line in enumerate(lines):
        draw.text((GAP, bottom + 24 * number), line, WARNING if warning else INK, font(17))
    draw_scale(figure, draw, GAP, figure.height - 30)
    return figure


def tiles_of(image, entry, size, light):
    """-> (tile, caption) of each column: the image, its maps, the last map over the image."""
    (height, width), point, maps = image.shape[:2], entry["point"], entry["maps"]
    scale, cells = size[0] / width, maps[0].shape
    heats = [enlarge(heat(weights), height, width) for weights in maps]
    mixed = np.rint(255 - (255 - light * image) * (1 - heats[-1] / 255)).astype(np.uint8)
    path = [(to_pixel(x, width, cells[1]), to_pixel(y, height, cells[0])) for y, x in entry["paths"][-1]]

    def tile(pixels, path=()):
        resized = Image.fromarray(pixels).resize(size, Image.LANCZOS if size[0] < width else Image.BICUBIC)
        return marked(resized, scale, point, path)

    yield tile(image), f"({point[0]}, {point[1]}): {entry['name']}"
    for pixels, weights in zip(heats, maps):
        yield tile(pixels), f"largest weight {100 * weights.max():.1f} %"
    yield tile(mixed, path), "line: to the largest weight" if len(path) > 1 else ""


def marked(tile, scale, point, path=()):
    """A tile with the cross at `point` and a line along `path`; both (x, y) in pixels of the image."""
    layer = Image.new("RGBA", (tile.width * FINE, tile.height * FINE))
    draw, unit = ImageDraw.Draw(layer), FINE * tile.width / 340

    def place(x, y):
        return ((x + 0.5) * scale * FINE, (y + 0.5) * scale * FINE)

    (x, y), arm = place(*point), 9 * unit
    line = [place(*p) for p in path]
    for colour, thickness in ((SHADOW, 4.5), (None, 2.5)):
        width = round(thickness * unit)
        if len(line) > 1:
            draw.line(line, colour or PATH, max(width - round(unit / 2), 1), joint="curve")
            (tx, ty), r = line[-1], (4 + thickness / 2) * unit
            draw.ellipse((tx - r, ty - r, tx + r, ty + r), outline=colour or PATH, width=width)
        draw.line((x - arm, y, x + arm, y), colour or CROSS, width)
        draw.line((x, y - arm, x, y + arm), colour or CROSS, width)
    layer = layer.resize(tile.size, Image.LANCZOS)
    return Image.alpha_composite(tile.convert("RGBA"), layer).convert("RGB")


def wrapped(text, font_, width):
    """-> lines no wider than `width`."""
    words = text.split()
    positions = flow([font_.getlength(word + " ") for word in words], width)
    lines = [[] for _ in range(positions[-1][1] + 1)] if words else []
    for word, (_, line) in zip(words, positions):
        lines[line].append(word)
    return [" ".join(line) for line in lines]


def draw_scale(figure, draw, x, y):
    table = heat_table()[None].repeat(12, 0)
    figure.paste(Image.fromarray(table), (x, y))
    draw.rectangle((x - 1, y - 1, x + 256, y + 12), outline=FAINT)
    draw.text((x + 268, y + 6), "0 to the largest weight of each map, square root scale", SOFT, font(17), anchor="lm")
