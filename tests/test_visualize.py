import numpy as np
import pytest

from utils.logger import RunLog, read_log
from utils.visualize import colourise, contact_sheet, nice_ticks, plot_curves

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


@pytest.mark.parametrize("low, high", [(0, 1), (0.2, 0.9), (-3, 1700), (5, 5)])
def test_ticks_are_round_and_cover_the_range(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high - 1e-9 and len(set(ticks)) == len(ticks) <= 8


@pytest.mark.parametrize("count", [1, 2, 300])
def test_plot_draws_each_curve_in_its_colour(count):
    x = list(range(count))
    picture = np.asarray(plot_curves({"a": (x, [2.0] * count), "b": (x, [1.0] * count)}, "title", "step", smooth=0.9))
    for colour in ((31, 99, 178), (217, 95, 2)):
        assert (picture == colour).all(-1).sum() > 20 or count == 1


def test_log_is_readable_while_the_run_goes_on(tmp_path):
    log = RunLog(tmp_path, "a run", 3, batch_size=4)
    log.step(1, 0.01, 0.5, loss=2.5, main=2.0, aux=1.25, gamma=0.0)
    rows = read_log(tmp_path / "log.csv")
    log.close()
    assert rows["step"] == [1] and rows["loss"] == [2.5] and rows["lr"] == [0.01] and rows["images_per_s"][0] > 0
