from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from scripts.data.sheet import draw
from utils.drawing.figures import (
    INK,
    LINES,
    PAPER,
    colourise,
    confusion_picture,
    contact_sheet,
    font,
    nice_ticks,
    overlay,
    plot_curves,
    with_legend,
)
from utils.training.logger import RunLog, read_log

PALETTE = ((1, 2, 3), (40, 50, 60))


def test_colourise_gives_the_palette_and_black_for_void():
    got = colourise(np.array([[0, 1, 255]]), PALETTE)
    np.testing.assert_array_equal(got, [[(1, 2, 3), (40, 50, 60), (0, 0, 0)]])


def test_contact_sheet_holds_every_tile_unchanged(rng):
    tiles = [[rng.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(2)] for _ in range(3)]
    sheet = np.asarray(contact_sheet(tiles, ("a", "b"), ("road", "sky"), PALETTE))
    for row in range(3):
        for column in range(2):
            y, x = 26 + row * 28, 8 + column * 38
            np.testing.assert_array_equal(sheet[y : y + 20, x : x + 30], tiles[row][column])
    assert any((sheet == colour).all(-1).sum() > 100 for colour in PALETTE)


def test_contact_sheet_keeps_every_image_and_its_shape(rng):
    """Upright, wide, tiny and huge images, each of one colour: all are found, with the sides they should have."""
    sizes = ((60, 120), (200, 100), (10, 20), (1200, 600), (33, 70))
    colours = [(250, 10 * k, 5) for k in range(len(sizes))]
    rows = [[np.full((*size, 3), colour, np.uint8)] for size, colour in zip(sizes, colours)]
    sheet = np.asarray(contact_sheet(rows, ("a",), ("road",), PALETTE, most=400))
    for (height, width), colour in zip(sizes, colours):
        ys, xs = np.nonzero((sheet == colour).all(-1))
        tall, wide = np.ptp(ys) + 1, np.ptp(xs) + 1
        assert len(ys) == tall * wide and tall <= 400 and wide <= 400, colour  # whole, nothing over it
        assert abs(tall * width - wide * height) <= max(width, height), (colour, tall, wide)
        assert tall % height == wide % width == 0 or height == 1200  # what fits is not resampled


def framed(picture):
    """Is nothing but paper on the outermost two pixels, as it is where no text is cut?"""
    pixels = np.asarray(picture)
    return all((part == PAPER).all() for part in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]))


@pytest.mark.parametrize("words", ["a", "class with a rather long name number", "w" * 90])
def test_long_names_and_titles_stay_inside_the_sheet(words):
    tile = np.full((20, 30, 3), 9, np.uint8)
    names = [f"{words} {k}" for k in range(5)]
    sheet = contact_sheet([[tile, tile]], ("picture", "prediction"), names, [(9, 9, 9)] * 5)
    assert framed(sheet)
    titles = np.asarray(sheet)[
        :26, 8 + int(font(14).getlength("picture")) + 1 : 8 + 8 + int(font(14).getlength("picture"))
    ]
    assert (titles == PAPER).all()  # a gap between the titles


@pytest.mark.parametrize(
    "classes, words", [(2, "a"), (2, "w" * 90), (19, "class with a rather long name"), (150, "thing")]
)
@pytest.mark.parametrize("unknown", [False, True])
def test_confusion_picture_cuts_no_text(classes, words, unknown):
    counts = np.eye(classes, classes + 1, dtype=int)
    counts[0, -1] = unknown
    picture = confusion_picture(counts, [f"{words} {k}" for k in range(classes)])
    assert framed(picture)
    pixels = np.asarray(picture).astype(int)
    _, xs = np.nonzero((pixels[-24:] - INK).__abs__().sum(-1) < 60)  # the caption
    assert abs(np.ptp(xs) - font(12).getlength("rows: true class, 100% each; columns: predicted")) < 5
    assert (pixels == LINES[0]).all(-1).sum() > 100 * classes  # a full blue cell for each class


def test_names_of_many_classes_do_not_run_into_each_other():
    picture = np.asarray(confusion_picture(np.eye(150, 151, dtype=int), ["Egypt, quay"] * 150)).astype(int)
    inked = (picture[:, :60] < 200).any((1, 2))  # rows of pixels with ink in the names on the left
    runs = np.flatnonzero(np.diff(inked.astype(int)) == 1)
    assert len(runs) == 150


def test_the_peak_of_a_curve_is_inside_the_axes():
    """One spike in 400 values: drawn to its height, not cut off at the height of the rest."""
    x, y = np.arange(400), np.full(400, 2.0)
    y[200] = 9.0
    picture = np.asarray(plot_curves({"loss": (x, y)}, "title", "step")).astype(int)
    line = (picture == LINES[0]).all(-1)
    line[:60] = False  # the legend
    rows = np.flatnonzero(line.any(1))
    low = np.flatnonzero(line[:, 100:200].any(1)).mean()  # the rows of y = 2
    axis = np.flatnonzero((picture[:, 100:800] == INK).all((1, 2)))[-1]  # y = 0
    assert (axis - rows[0]) / (axis - low) == pytest.approx(9 / 2, rel=0.03)
    grid = np.flatnonzero((picture[:, 700] == (221, 224, 229)).all(-1))
    assert grid[0] < rows[0]  # below the highest tick


@pytest.mark.parametrize("count", [1, 3, 9])
def test_titles_and_legends_stay_inside_the_plot_and_every_curve_is_named(count):
    curves = {f"/a/long/path/to/a/run/number_{k}/log.csv": ([0, 1e6], [1e-5 * k, 1e5]) for k in range(count)}
    picture = plot_curves(curves, "a long title " * 30, "step")
    assert framed(picture)
    pixels = np.asarray(picture)[50:130]
    assert all((pixels == colour).all(-1).any() for colour in LINES[:count])


def test_overlay_tints_every_coloured_class_and_leaves_black_and_void_as_they_are():
    image = np.full((30, 40, 3), 200, np.uint8)
    label = np.repeat([0, 1, 2, 255], 10)[None].repeat(30, 0)
    mixed = overlay(image, label, [(0, 0, 0), (100, 0, 0), (0, 0, 50)], opacity=0.5)
    assert (mixed[5, [5, 35]] == 200).all()  # background in black, and void
    assert mixed[5, 15].tolist() == [150, 100, 100] and mixed[5, 25].tolist() == [100, 100, 125]
    assert (mixed[5, [10, 20, 30]].astype(int) <= 100).all()  # a line where they meet


@pytest.mark.parametrize("classes, shown", [(1, 1), (24, 24), (60, 25)])
def test_legend_names_classes_until_it_counts_them(classes, shown):
    label = np.arange(classes).repeat(100).reshape(classes, 100)
    picture = np.full((*label.shape, 3), 90, np.uint8)
    whole = with_legend(
        picture, label, [f"{k} {'w' * 300}" for k in range(classes)], [(0, 99, k) for k in range(classes)]
    )
    assert whole.height == max(classes, 22 * shown + 12) and whole.width < 100 + 500
    assert (np.asarray(whole)[:, -2:] == PAPER).all()
    assert with_legend(picture, label + 255, ["road"], [(1, 1, 1)]).size == (144, max(classes, 12))  # all void


@pytest.mark.parametrize("low, high", [(0, 1), (0.2, 0.9), (-3, 1700), (5, 5)])
def test_ticks_are_round_and_cover_the_range(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high - 1e-9 and len(set(ticks)) == len(ticks) <= 8


@pytest.mark.parametrize("count", [1, 2, 300])
def test_plot_draws_each_curve_in_its_colour(count):
    x = list(range(count))
    picture = np.asarray(plot_curves({"a": (x, [2.0] * count), "b": (x, [1.0] * count)}, "title", "step", smooth=0.9))
    for colour in ((31, 99, 178), (217, 95, 2)):
        assert (picture[60:] == colour).all(-1).sum() > 20  # below the legend; a single value is a dot


def test_log_is_readable_while_the_run_goes_on(tmp_path):
    log = RunLog(tmp_path, "a run", 3, batch_size=4)
    log.step(1, 0.01, 0.5, loss=2.5, main=2.0, aux=1.25, gamma=0.0)
    rows = read_log(tmp_path / "log.csv")
    log.close()
    assert rows["step"] == [1] and rows["loss"] == [2.5] and rows["lr"] == [0.01] and rows["images_per_s"][0] > 0


def test_the_sheet_of_training_has_validation_images_of_every_size(tmp_path):
    log = RunLog(tmp_path, "a run", 3)
    sizes = ((40, 60), (60, 40), (31, 47))
    log.sheet([[np.full((*size, 3), 10 + k, np.uint8)] * 3 for k, size in enumerate(sizes)], ("a", "b", "c"), (), ())
    log.close()
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert [(sheet == 10 + k).all(-1).sum() for k in range(3)] == [3 * 40 * 60, 3 * 60 * 40, 3 * 31 * 47]


def test_the_overlay_of_verify_leaves_a_black_background_untinted():
    label = np.repeat([0, 1], 40)[None].repeat(40, 0).astype(np.uint8)
    data = SimpleNamespace(palette=((0, 0, 0), (128, 0, 0)), ignore_label=255, names=("background", "thing"))
    sheet = np.asarray(draw([(np.full((40, 80, 3), 200, np.uint8), label)], data))
    tile = sheet[26 : 26 + 240, 8 + 480 + 8 : 8 + 480 + 8 + 480]  # the second column
    assert (tile[120, 100] == 200).all() and tile[120, 380].tolist() == [164, 100, 100]
