import numpy as np
import pytest

from utils.drawing.confusion_figure import CAPTION, cell_style, column_names, confusion_figure, row_shares
from utils.drawing.figures import INK, LINES, font


@pytest.mark.parametrize(
    "classes, words", [(2, "a"), (2, "w" * 90), (19, "class with a rather long name"), (150, "thing")]
)
@pytest.mark.parametrize("unknown", [False, True])
def test_confusion_figure_cuts_no_text(classes, words, unknown, is_framed):
    counts = np.eye(classes, classes + 1, dtype=int)
    counts[0, -1] = unknown
    figure = confusion_figure(counts, [f"{words} {k}" for k in range(classes)])
    assert is_framed(figure)
    pixels = np.asarray(figure).astype(int)
    _, xs = np.nonzero((pixels[-24:] - INK).__abs__().sum(-1) < 60)  # the caption
    assert abs(np.ptp(xs) - font(12).getlength(CAPTION)) < 5
    assert (pixels == LINES[0]).all(-1).sum() > 100 * classes  # a full blue cell for each class


def test_names_of_many_classes_do_not_overlap():
    pixels = np.asarray(confusion_figure(np.eye(150, 151, dtype=int), ["Egypt, quay"] * 150)).astype(int)
    inked = (pixels[:, :60] < 200).any((1, 2))  # rows of pixels with ink in the names on the left
    runs = np.flatnonzero(np.diff(inked.astype(int)) == 1)
    assert len(runs) == 150


def test_rows_sum_to_one_and_the_column_of_no_class_is_shown_if_it_is_used():
    counts = np.array([[3, 1, 0], [0, 0, 0]])
    for shape in (3, 2):  # with the empty column of no class, and without it
        np.testing.assert_array_equal(row_shares(counts[:, :shape]), [[0.75, 0.25], [0, 0]])
    shares = row_shares(counts + [0, 0, 4])
    np.testing.assert_array_equal(shares, [[0.375, 0.125, 0.5], [0, 0, 1]])
    assert column_names(["a", "b"], shares) == ["a", "b", "no class"]
    assert cell_style(0.0) == (0.0, "", False) and cell_style(0.49) == (0.7, "49", True)
