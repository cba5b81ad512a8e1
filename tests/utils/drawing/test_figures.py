"""Label maps in colour, overlays with a legend, contact sheets."""

from types import SimpleNamespace

import numpy as np
import pytest

from scripts.data.sheet import draw
from utils.drawing.figures import PAPER, colourise, contact_sheet, font, overlay, with_legend

PALETTE = ((1, 2, 3), (40, 50, 60))


def test_colourise_gives_the_palette_and_black_for_void():
    colours = colourise(np.array([[0, 1, 255]]), PALETTE)
    np.testing.assert_array_equal(colours, [[(1, 2, 3), (40, 50, 60), (0, 0, 0)]])


def test_contact_sheet_shows_every_image_unchanged(rng):
    tiles = [[rng.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(2)] for _ in range(3)]
    sheet = np.asarray(contact_sheet(tiles, ("a", "b"), ("road", "sky"), PALETTE))
    for row in range(3):
        for column in range(2):
            y, x = 26 + row * 28, 8 + column * 38
            np.testing.assert_array_equal(sheet[y : y + 20, x : x + 30], tiles[row][column])
    assert any((sheet == colour).all(-1).sum() > 100 for colour in PALETTE)


def test_contact_sheet_keeps_the_aspect_ratio_of_every_image(rng):
    """Upright, wide, tiny and huge images, each of one colour, are found complete and with the expected sides."""
    sizes = ((60, 120), (200, 100), (10, 20), (1200, 600), (33, 70))
    colours = [(250, 10 * k, 5) for k in range(len(sizes))]
    rows = [[np.full((*size, 3), colour, np.uint8)] for size, colour in zip(sizes, colours)]
    sheet = np.asarray(contact_sheet(rows, ("a",), ("road",), PALETTE, max_side=400))
    for (height, width), colour in zip(sizes, colours):
        ys, xs = np.nonzero((sheet == colour).all(-1))
        tall, wide = np.ptp(ys) + 1, np.ptp(xs) + 1
        assert len(ys) == tall * wide and tall <= 400 and wide <= 400, colour  # a full rectangle
        assert abs(tall * width - wide * height) <= max(width, height), (colour, tall, wide)
        assert tall % height == wide % width == 0 or height == 1200  # images that fit are not resampled


@pytest.mark.parametrize("words", ["a", "class with a rather long name number", "w" * 90])
def test_long_names_and_titles_stay_inside_the_sheet(words, is_framed):
    tile = np.full((20, 30, 3), 9, np.uint8)
    names = [f"{words} {k}" for k in range(5)]
    sheet = contact_sheet([[tile, tile]], ("prediction", "image"), names, [(9, 9, 9)] * 5)
    assert is_framed(sheet)
    end = 8 + int(font(14).getlength("prediction")) + 1
    assert (np.asarray(sheet)[:26, end : end + 7] == PAPER).all()  # a gap between the titles


def test_overlay_tints_coloured_classes_and_leaves_black_and_void_unchanged():
    image = np.full((30, 40, 3), 200, np.uint8)
    label = np.repeat([0, 1, 2, 255], 10)[None].repeat(30, 0)
    mixed = overlay(image, label, [(0, 0, 0), (100, 0, 0), (0, 0, 50)], opacity=0.5)
    assert (mixed[5, [5, 35]] == 200).all()  # background in black, and void
    assert mixed[5, 15].tolist() == [150, 100, 100] and mixed[5, 25].tolist() == [100, 100, 125]
    assert (mixed[5, [10, 20, 30]].astype(int) <= 100).all()  # the line along borders of classes


@pytest.mark.parametrize("classes, shown", [(1, 1), (24, 24), (60, 25)])
def test_legend_lists_24_classes_and_sums_up_the_others(classes, shown):
    label = np.arange(classes).repeat(100).reshape(classes, 100)
    image = np.full((*label.shape, 3), 90, np.uint8)
    names, palette = [f"{k} {'w' * 300}" for k in range(classes)], [(0, 99, k) for k in range(classes)]
    figure = with_legend(image, label, names, palette)
    assert figure.height == max(classes, 22 * shown + 12) and figure.width < 100 + 500
    assert (np.asarray(figure)[:, -2:] == PAPER).all()
    assert with_legend(image, label + 255, ["road"], [(1, 1, 1)]).size == (144, max(classes, 12))  # all void


def test_the_overlay_of_verify_leaves_a_black_background_untinted():
    label = np.repeat([0, 1], 40)[None].repeat(40, 0).astype(np.uint8)
    data = SimpleNamespace(palette=((0, 0, 0), (128, 0, 0)), ignore_label=255, names=("background", "thing"))
    sheet = np.asarray(draw([(np.full((40, 80, 3), 200, np.uint8), label)], data))
    tile = sheet[26 : 26 + 240, 8 + 480 + 8 : 8 + 480 + 8 + 480]  # the second column
    assert (tile[120, 100] == 200).all() and tile[120, 380].tolist() == [164, 100, 100]
