"""The figure of the paper: picture with a green cross, the map after one pass, after two, and laid over the picture."""

import numpy as np
from PIL import Image, ImageDraw

from utils.drawing.figures import FAINT, INK, PAPER, font, in_lines, shortened
from utils.drawing.heat import heat, heat_table

CROSS, WAY, SHADOW = (22, 240, 120, 255), (79, 212, 255, 255), (0, 0, 0, 170)
SOFT, WARNING = (100, 108, 120), (176, 58, 20)
HEAD = 38  # above the tiles, for their titles
FINE = 4  # marks are drawn this much larger and reduced: smooth lines


def to_cell(pixel, pixels, cells):
    """The cell of the attention that a pixel belongs to. Corners meet corners, as where logits are brought to size."""
    return int(np.floor(pixel * (cells - 1) / (pixels - 1) + 0.5)) if pixels > 1 else 0


def to_pixel(cell, pixels, cells):
    return cell * (pixels - 1) / (cells - 1) if cells > 1 else (pixels - 1) / 2


def enlarge(cells, height, width):
    """(h, w) -> (height, width): each pixel shows its cell."""
    ys = [to_cell(y, height, cells.shape[0]) for y in range(height)]
    xs = [to_cell(x, width, cells.shape[1]) for x in range(width)]
    return cells[np.ix_(ys, xs)]


def marked(tile, scale, point, way=()):
    """A tile with the cross at `point` and the line along `way`; both (x, y) in pixels of the unscaled picture."""
    layer = Image.new("RGBA", (tile.width * FINE, tile.height * FINE))
    draw, unit = ImageDraw.Draw(layer), FINE * tile.width / 340

    def place(x, y):
        return ((x + 0.5) * scale * FINE, (y + 0.5) * scale * FINE)

    (x, y), arm = place(*point), 9 * unit
    line = [place(*p) for p in way]
    for colour, wide in ((SHADOW, 4.5), (None, 2.5)):
        width = round(wide * unit)
        if len(line) > 1:
            draw.line(line, colour or WAY, max(width - round(unit / 2), 1), joint="curve")
            (tx, ty), r = line[-1], (4 + wide / 2) * unit
            draw.ellipse((tx - r, ty - r, tx + r, ty + r), outline=colour or WAY, width=width)
        draw.line((x - arm, y, x + arm, y), colour or CROSS, width)
        draw.line((x, y - arm, x, y + arm), colour or CROSS, width)
    layer = layer.resize(tile.size, Image.LANCZOS)
    return Image.alpha_composite(tile.convert("RGBA"), layer).convert("RGB")


def attention_figure(picture, points, remark="", warning=False, light=0.55, tile_width=340):
    """picture (H, W, 3) RGB uint8; points: [{"point": (x, y), "name": class there, "maps": [map for R = 1, 2, ..],
    "ways": [[(y, x) cells], ..] one for each map}] -> an RGB figure, a row for each point, and below them `remark`, in
    the colour of a warning if it is one.

    Over the picture, dimmed to `light`, the map is added as light: where nobody looks the picture stays to be seen."""
    height, width = picture.shape[:2]
    scale = tile_width / width
    size = (tile_width, max(round(height * scale), 1))
    gap, head, caption = 10, HEAD, 30
    count = len(points[0]["maps"])
    titles = ["picture", *(f"R = {r + 1}" for r in range(count)), f"R = {count} over the picture"]
    row_height = size[1] + caption
    figure_width, bottom = gap + len(titles) * (size[0] + gap), head + len(points) * (row_height + gap)
    lines = wrapped(remark, font(17), figure_width - 2 * gap)
    figure = Image.new("RGB", (figure_width, bottom + 24 * len(lines) + 42), PAPER)
    draw = ImageDraw.Draw(figure)

    def tile(pixels):
        smaller = size[0] < width
        return Image.fromarray(pixels).resize(size, Image.LANCZOS if smaller else Image.BICUBIC)

    for column, title in enumerate(titles):
        draw.text((gap + column * (size[0] + gap), 8), title, INK, font(20))
    for row, entry in enumerate(points):
        top, point = head + row * (row_height + gap), entry["point"]
        cells = entry["maps"][0].shape
        maps = [enlarge(heat(each), *picture.shape[:2]) for each in entry["maps"]]
        mixed = np.rint(255 - (255 - light * picture) * (1 - maps[-1] / 255)).astype(np.uint8)
        ways = [
            [(to_pixel(x, width, cells[1]), to_pixel(y, height, cells[0])) for y, x in way] for way in entry["ways"]
        ]
        tiles = [marked(tile(picture), scale, point)]
        tiles += [marked(tile(pixels), scale, point) for pixels in maps]
        tiles.append(marked(tile(mixed), scale, point, ways[-1]))
        texts = [f"({point[0]}, {point[1]}): {entry['name']}"]
        texts += [f"largest weight {100 * each.max():.1f} %" for each in entry["maps"]]
        texts.append("line: to the pixel looked at most" if len(ways[-1]) > 1 else "")
        for column, (each, text) in enumerate(zip(tiles, texts)):
            x = gap + column * (size[0] + gap)
            figure.paste(each, (x, top))
            draw.text((x, top + size[1] + 6), shortened(text, font(17), size[0]), SOFT, font(17))
    for number, line in enumerate(lines):
        draw.text((gap, bottom + 24 * number), line, WARNING if warning else INK, font(17))
    scale_bar(figure, draw, gap, figure.height - 30)
    return figure


def wrapped(text, font_, width):
    """-> lines no wider than `width`."""
    words = text.split()
    places = in_lines([font_.getlength(word + " ") for word in words], width)
    lines = [[] for _ in range(places[-1][1] + 1)] if words else []
    for word, (_, line) in zip(words, places):
        lines[line].append(word)
    return [" ".join(line) for line in lines]


def scale_bar(figure, draw, x, y):
    table = heat_table()[None].repeat(12, 0)
    figure.paste(Image.fromarray(table), (x, y))
    draw.rectangle((x - 1, y - 1, x + 256, y + 12), outline=FAINT)
    draw.text((x + 268, y + 6), "0 to the largest weight of each map, square root scale", SOFT, font(17), anchor="lm")
