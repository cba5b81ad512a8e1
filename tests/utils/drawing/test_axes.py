import pytest

from utils.drawing.axes import Axes, clean, log_ticks, nice_ticks, running_mean, step_ticks, thin


@pytest.mark.parametrize("low, high", [(0, 1), (0.2, 0.9), (-3, 1700), (5, 5)])
def test_ticks_are_round_and_cover_the_range(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high - 1e-9 and len(set(ticks)) == len(ticks) <= 8


def test_ticks_of_integers_are_integers():
    assert step_ticks([1, 2], 5) == [1, 2] and 1.5 in step_ticks([1, 1.9], 2)


def test_logarithmic_ticks_surround_the_values():
    assert log_ticks(3, 40) == [2, 5, 10, 20, 50] and log_ticks(1, 1e6) == [10.0**k for k in range(7)]


def test_axes_map_both_ends_of_a_range_to_the_sides():
    axes = Axes(10, 110, 20, 220, (0, 4), (-1, 1))
    assert [axes.x(0), axes.x(4), axes.y(-1), axes.y(0), axes.y(7)] == [10, 110, 220, 120, 20]  # y is clipped
    assert Axes(0, 100, 0, 100, (0, 2), (0, 2), log=True).x(10) == 50


def test_running_mean_is_correct_from_its_start():
    assert running_mean([2.0, 2.0, 2.0], 0.9) == pytest.approx([2.0, 2.0, 2.0])
    assert running_mean([0.0, 1.0], 0.5) == pytest.approx([0.0, 2 / 3])


def test_thin_curves_keep_their_extremes():
    xs, ys = list(range(5000)), [1.0] * 5000
    ys[1234], ys[4321] = 9.0, -5.0
    kept = thin(xs, ys)
    assert len(kept[0]) <= 480 and (1234, 9.0) in zip(*kept) and (4321, -5.0) in zip(*kept)


def test_values_that_cannot_be_drawn_are_left_out():
    xs, ys = [3, 1, 2, 4, 0], [1.0, -2.0, float("nan"), None, 5.0]
    assert clean(xs, ys) == ([0, 1, 3], [5, -2, 1]) and clean(xs, ys, positive=True) == ([3], [1])
