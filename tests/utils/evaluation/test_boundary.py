"""utils/evaluation/boundary.py: scores of hand-made squares, and against one pixel at a time."""

import numpy as np
import pytest

from utils.evaluation.boundary import BoundaryScore


def square(top, left, side, size=(40, 60)):
    label = np.zeros(size, np.uint8)
    label[top : top + side, left : left + side] = 1
    return label


def scored(label, prediction, **options):
    score = BoundaryScore(2, **options)
    score.update(label, prediction)
    return score


def test_a_perfect_prediction_scores_one_and_an_absent_class_nothing():
    score = scored(square(10, 10, 12), square(10, 10, 12))
    np.testing.assert_array_equal(score.iou, [1, 1])
    np.testing.assert_array_equal(score.f_score, [1, 1])
    empty = scored(np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8))
    assert empty.iou[0] == 1 and np.isnan(empty.iou[1]) and np.isnan(empty.f_score[1]) and empty.means == (1, 1)


def test_bands_of_two_shifted_squares_by_hand():
    """A 10x10 square and the same moved right by 1, distance 1: bands of 36 pixels that share 18."""
    diagonal = float(np.hypot(40, 60))
    score = scored(square(15, 20, 10), square(15, 21, 10), fraction=1 / diagonal)
    assert score.sums[0, 1] == 18 and score.sums[1, 1] == 36 + 36 - 18
    assert score.f_score[1] == 1  # no outline is more than a pixel off


def test_an_outline_further_than_the_distance_is_missed():
    near, far = (scored(square(5, 5, 20), square(5, 5 + d, 20), fraction=0.03) for d in (2, 9))  # distance 2
    assert near.f_score[1] == 1 and far.f_score[1] < 0.8 and near.iou[1] > far.iou[1]


def test_a_missing_class_is_zero_and_void_is_not_counted():
    label = square(10, 10, 12)
    assert scored(label, np.zeros_like(label)).iou[1] == 0 and scored(label, np.zeros_like(label)).f_score[1] == 0
    label[label == 1] = 255
    assert np.isnan(scored(label, square(10, 10, 12)).iou[1])


def test_bands_and_distances_against_one_pixel_at_a_time(rng):
    """An outline pixel has another class, or the end of the image, among its eight neighbours."""
    label, prediction = (np.kron(rng.integers(0, 2, (4, 5)), np.ones((6, 6), int)).astype(np.uint8) for _ in range(2))
    score = scored(label, prediction, fraction=3 / float(np.hypot(*label.shape)))

    def band(mask, distance):
        padded = np.pad(mask, distance)
        whole = np.ones_like(mask)
        for dy in range(2 * distance + 1):
            for dx in range(2 * distance + 1):
                whole &= padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]]
        return mask & ~whole

    for k in (0, 1):
        truth, guess = label == k, prediction == k
        both, either = band(truth, 3) & band(guess, 3), band(truth, 3) | band(guess, 3)
        lines = np.argwhere(band(guess, 1)), np.argwhere(band(truth, 1))
        gaps = np.hypot(*(lines[0][:, None] - lines[1][None]).transpose(2, 0, 1))
        parts = (
            both.sum(),
            either.sum(),
            (gaps.min(1) <= 3).sum(),
            gaps.shape[0],
            (gaps.min(0) <= 3).sum(),
            gaps.shape[1],
        )
        assert score.sums[:, k].tolist() == list(parts)


def test_ranks_add_up():
    score = scored(square(10, 10, 12), square(10, 12, 12))
    before = score.iou.copy()
    np.testing.assert_array_equal(score.reduce(lambda sums: 2 * sums).iou, before)
    assert score.means[0] == pytest.approx(before.mean())
