import numpy as np
import pytest

from utils.evaluation.confusion import ConfusionMatrix


def worked_example():
    matrix = ConfusionMatrix(3)
    label = np.array([[0, 0, 1], [1, 1, 255]], np.uint8)
    guess = np.array([[0, 1, 1], [1, 2, 0]], np.uint8)
    matrix.update(label, guess)
    return matrix


def test_three_classes_by_hand():
    """Class 0: 1 of 2. Class 1: 2 right, 1 missed, 1 too many. Class 2: only predicted. Void is not counted."""
    matrix = worked_example()
    np.testing.assert_array_equal(matrix.counts, [[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(matrix.iou, [1 / 2, 2 / 4, 0])
    np.testing.assert_allclose(matrix.accuracy, [1 / 2, 2 / 3, np.nan])
    assert matrix.miou == pytest.approx(1 / 3) and matrix.pixel_accuracy == pytest.approx(3 / 5)


def test_a_class_in_neither_labels_nor_predictions_is_nan_and_left_out_of_the_mean():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([0, 1]), np.array([0, 0]))
    np.testing.assert_array_equal(np.isnan(matrix.iou), [False, False, True, True])
    assert matrix.miou == pytest.approx(0.25)


def test_an_ignored_class_enters_no_mean():
    """151 classes of ADE20K: 0 is ignored in labels, but the network may predict it."""
    matrix = ConfusionMatrix(3, ignore=0)
    matrix.update(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 2, 0, 1, 2, 2]))
    np.testing.assert_allclose(matrix.iou, [np.nan, 1 / 2, 1])  # the prediction of 0 is a miss of class 1
    assert matrix.miou == matrix.miou_absent_as_zero == pytest.approx(3 / 4)
    assert matrix.mean_accuracy == pytest.approx(3 / 4) and matrix.pixel_accuracy == pytest.approx(3 / 4)
    table = matrix.table(["other", "wall", "sky"])
    assert "absent" not in table and table.splitlines()[1].split()[:3] == ["other", "-", "-"]
    matrix = ConfusionMatrix(4, ignore=0)
    matrix.update(np.array([1, 2]), np.array([0, 2]))
    assert matrix.miou == pytest.approx(1 / 2) and matrix.miou_absent_as_zero == pytest.approx(1 / 3)
    assert "(1 absent class counted 0" in matrix.table(["other", "wall", "sky", "tree"])


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
    assert lines[1].split()[1:] == ["50.00", "50.00", "40.0%", "2"] and lines[3].split()[2] == "-"
    assert lines[4].split() == ["mean", "IoU", "33.33", "58.33"]


def test_both_readings_of_an_absent_class_are_shown_when_they_differ():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([0, 1]), np.array([0, 0]))
    assert matrix.miou == pytest.approx(0.25) and matrix.miou_absent_as_zero == pytest.approx(0.125)
    assert "2 absent classes counted 0" in matrix.table("abcd")
    assert "absent as zero" not in worked_example().table("abc")


def test_predictions_outside_the_classes_are_counted_in_the_last_column():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 0, 0, 1, 255]), np.array([0, 2, -1, 255, 7]))
    np.testing.assert_array_equal(matrix.counts, [[1, 0, 2], [0, 0, 1]])
    assert "3 predicted pixels are outside" in matrix.table("ab")


def test_an_update_gives_the_counts_of_its_pair_and_reduce_adds_ranks():
    matrix = ConfusionMatrix(2)
    first = matrix.update(np.array([0, 1]), np.array([0, 0]))
    np.testing.assert_array_equal(first, matrix.update(np.array([0, 1]), np.array([0, 0])))
    np.testing.assert_array_equal(matrix.reduce(lambda counts: 3 * counts).counts, 6 * first)
    assert matrix.counts.dtype == np.int64


def test_confusion_within_a_category_is_no_error():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 0, 1, 2]), np.array([1, 0, 2, 255]))
    scores = matrix.category_iou({"both": (0, 1), "other": (2,), "none": ()})
    assert scores["both"] == pytest.approx(2 / 3) and scores["other"] == 0 and np.isnan(scores["none"])


def test_voc_as_the_devkit_computes_it(rng):
    """VOCevalseg: pixels with truth below 255; tp / (truth + predicted - tp), mean over 21 with background."""
    matrix, sums = ConfusionMatrix(21), np.zeros((3, 21))
    for _ in range(3):
        truth = rng.choice([*range(21), 255], (40, 50)).astype(np.uint8)
        guess = np.where(rng.random(truth.shape) < 0.6, np.minimum(truth, 20), rng.integers(0, 21, truth.shape))
        matrix.update(truth, guess)
        for k in range(21):
            t, g = (truth == k) & (truth < 255), (guess == k) & (truth < 255)
            sums[:, k] += (t & g).sum(), t.sum(), g.sum()
    scores = [tp / (t + g - tp) for tp, t, g in sums.T]
    np.testing.assert_allclose(matrix.iou, scores, rtol=1e-12)
    assert matrix.miou == pytest.approx(sum(scores) / 21, rel=1e-12)


def test_ade20k_as_the_benchmark_computes_it(rng):
    """Classes from values 1..150; unlabelled pixels are not counted; score = mean of mean IoU and pixel accuracy."""
    matrix, intersection, union, right, labelled = ConfusionMatrix(150), np.zeros(150), np.zeros(150), 0, 0
    for _ in range(2):
        value = rng.integers(0, 151, (90, 120))
        guess = np.where(rng.random(value.shape) < 0.5, value, rng.integers(1, 151, value.shape)).clip(1) - 1
        matrix.update(np.where(value == 0, 255, value - 1), guess)
        for k in range(150):
            t, g = value == k + 1, (guess == k) & (value > 0)
            intersection[k] += (t & g).sum()
            union[k] += (t | g).sum()
        right, labelled = right + ((guess + 1 == value) & (value > 0)).sum(), labelled + (value > 0).sum()
    np.testing.assert_allclose(matrix.iou, intersection / union, rtol=1e-12)
    assert matrix.pixel_accuracy == pytest.approx(right / labelled, rel=1e-12)
