import numpy as np
import pytest

from utils.metrics import ConfusionMatrix


def worked_example():
    matrix = ConfusionMatrix(3)
    label = np.array([[0, 0, 1], [1, 1, 255]], np.uint8)
    guess = np.array([[0, 1, 1], [1, 2, 0]], np.uint8)
    matrix.update(label, guess)
    return matrix


def test_three_classes_by_hand():
    """Class 0: 1 of 2. Class 1: 2 right, 1 missed, 1 too many. Class 2: only predicted. Void counts nowhere."""
    matrix = worked_example()
    np.testing.assert_array_equal(matrix.counts, [[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(matrix.iou, [1 / 2, 2 / 4, 0])
    np.testing.assert_allclose(matrix.accuracy, [1 / 2, 2 / 3, np.nan])
    assert matrix.miou == pytest.approx(1 / 3) and matrix.pixel_accuracy == pytest.approx(3 / 5)


def test_a_class_that_nobody_names_is_nan_and_left_out_of_the_mean():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([0, 1]), np.array([0, 0]))
    np.testing.assert_array_equal(np.isnan(matrix.iou), [False, False, True, True])
    assert matrix.miou == pytest.approx(0.25)


def test_a_prediction_that_is_no_class_is_a_miss_and_nothing_else():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 0, 1]), np.array([0, 200, 1]))
    np.testing.assert_allclose(matrix.iou, [0.5, 1.0])


def test_a_wrong_label_is_named():
    with pytest.raises(ValueError, match=r"labels contain \[7\], but there are 3 classes"):
        ConfusionMatrix(3).update(np.array([0, 7]), np.array([0, 0]))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="resize the logits"):
        ConfusionMatrix(3).update(np.zeros((2, 2), int), np.zeros((2, 3), int))


def test_nothing_counted_is_nan_not_a_number():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([255]), np.array([0]))
    assert np.isnan(matrix.miou) and np.isnan(matrix.pixel_accuracy)


def test_table_shows_every_class_and_the_mean():
    lines = worked_example().table(["road", "sky", "tree"]).splitlines()
    assert [line.split()[0] for line in lines] == ["class", "road", "sky", "tree", "mean", "pixel"]
    assert lines[1].split()[1:] == ["50.00", "50.00", "40.0%"] and "33.33" in lines[4] and lines[3].split()[2] == "-"
