import numpy as np
import pytest

from utils.drawing.curves import plot_curves
from utils.drawing.figures import FAINT, INK, LINES


def test_the_peak_of_a_curve_is_inside_the_axes():
    """One spike in 400 values is drawn to its full height."""
    x, y = np.arange(400), np.full(400, 2.0)
    y[200] = 9.0
    pixels = np.asarray(plot_curves({"loss": (x, y)}, "title", "step")).astype(int)
    line = (pixels == LINES[0]).all(-1)
    line[:60] = False  # the legend
    rows = np.flatnonzero(line.any(1))
    low = np.flatnonzero(line[:, 100:200].any(1)).mean()  # the rows of y = 2
    axis = np.flatnonzero((pixels[:, 100:800] == INK).all((1, 2)))[-1]  # y = 0
    assert (axis - rows[0]) / (axis - low) == pytest.approx(9 / 2, rel=0.03)
    grid = np.flatnonzero((pixels[:, 700] == FAINT).all(-1))
    assert grid[0] < rows[0]  # below the highest tick


@pytest.mark.parametrize("count", [1, 3, 9])
def test_titles_and_legends_stay_inside_the_plot_and_every_curve_is_named(count, is_framed):
    curves = {f"/a/long/path/to/a/run/number_{k}/log.csv": ([0, 1e6], [1e-5 * k, 1e5]) for k in range(count)}
    figure = plot_curves(curves, "a long title " * 30, "step")
    assert is_framed(figure)
    pixels = np.asarray(figure)[50:130]
    assert all((pixels == colour).all(-1).any() for colour in LINES[:count])


@pytest.mark.parametrize("count", [1, 2, 300])
def test_each_curve_is_drawn_in_its_colour(count):
    x = list(range(count))
    curves = {"a": (x, [2.0] * count), "b": (x, [1.0] * count)}
    pixels = np.asarray(plot_curves(curves, "title", "step", smooth=0.9))
    for colour in LINES[:2]:
        assert (pixels[60:] == colour).all(-1).sum() > 20  # below the legend; a single value is a dot
