import re

import pytest

from utils.drawing.svg_chart import line_chart, tick_label


def test_a_chart_leaves_out_what_is_not_finite():
    chart = line_chart({"a": ([1, 2, 3], [1.0, float("nan"), 2.0]), "b": ([], [])}, "t", "step")
    assert chart.count("<polyline") == 1 and "a from 1 to 2" in chart
    assert line_chart({"a": ([1], [float("nan")])}, "t") == ""


@pytest.mark.parametrize(
    "value, text", [(0, "0"), (0.25, "0.25"), (5e-4, "5e-4"), (40000, "40k"), (2e6, "2M"), (1000, "1000")]
)
def test_tick_labels_are_short(value, text):
    assert tick_label(value) == text


def test_two_steps_have_integer_ticks():
    steps = re.findall(r'text-anchor="(?:middle|end)">([^<]+)</text>', line_chart({"a": ([1, 2], [5.0, 6.0])}, "t"))
    assert not {"1.2", "1.5", "1.8"} & set(steps) and "2" in steps


def test_long_names_of_many_curves_stay_inside_the_chart():
    curves = {f"/a/long/path/to/a/run/number_{k}/log.csv": ([1, 2], [k, k + 1.0]) for k in range(6)}
    drawn = line_chart(curves, "t", size=(860, 420))
    names = [(float(x), float(y), name) for x, y, name in re.findall(r'x="([\d.]+)" y="([\d.]+)">(/a[^<]+)<', drawn)]
    assert len(names) == 6 and all(x + 6.5 * len(name) < 860 for x, _, name in names)
    first_grid = float(re.search(r'class="grid" d="M52 ([\d.]+)', drawn).group(1))
    assert max(y for _, y, _ in names) < first_grid


def test_the_peak_of_a_smoothed_curve_is_drawn_to_its_height():
    ys = [2.0] * 400
    ys[200] = 9.0
    drawn = line_chart({"loss": (list(range(400)), ys)}, "t", smooth=0.9, size=(860, 420))
    raw = re.search(r'class="raw s0" points="([^"]+)"', drawn).group(1)
    heights = [float(point.split(",")[1]) for point in raw.split()]
    bottom = 420 - 26
    assert (bottom - min(heights)) / (bottom - max(heights)) == pytest.approx(9 / 2, rel=0.01)
