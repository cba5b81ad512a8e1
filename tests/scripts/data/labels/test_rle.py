"""scripts/data/labels/rle.py: run lengths, against plain encoders."""

import numpy as np
import pytest
from support.label_exports import coco_counts, coco_string

from datasets.reading.image_io import DataError
from scripts.data.labels import rle


def random_mask(rng):
    height, width = rng.integers(1, 40, 2)
    coarse = rng.random((-(-height // 5), -(-width // 7))) < rng.random()
    return np.repeat(np.repeat(coarse, 5, axis=0), 7, axis=1)[:height, :width] ^ (rng.random((height, width)) < 0.03)


def test_counts_and_strings_of_random_masks(rng):
    for _ in range(200):
        mask = random_mask(rng)
        counts = coco_counts(mask)
        np.testing.assert_array_equal(rle.mask(counts, mask.shape, columns=True), mask)
        rows = coco_counts(mask.T)  # the same runs along the rows
        np.testing.assert_array_equal(rle.mask(rows, mask.shape, columns=False), mask)
        assert rle.decompress(coco_string(counts)) == counts


def test_large_counts_and_differences(rng):
    for _ in range(100):
        counts = rng.integers(0, 10 ** rng.integers(1, 8), 12).tolist()
        assert rle.decompress(coco_string(counts)) == counts


def test_a_string_that_coco_s_own_tools_wrote():
    rows = "010100100 010010000 001001110 001001111 000011001 001011101 001110001".split()
    mask = np.array([[pixel == "1" for pixel in row] for row in rows])
    text = "7270J14NL01201OM010O2132"
    np.testing.assert_array_equal(rle.mask(rle.decompress(text), (7, 9), columns=True), mask)
    assert coco_string(coco_counts(mask)) == text


def test_broken_runs():
    for counts, words in (
        ([3, 4], "the RLE has 7 pixels, and its mask of 2x4 8"),
        ([9, -1], "not whole numbers"),
        ([4.5, 3.5], "not whole numbers"),
        (["8"], "not whole numbers"),
        ([[8]], "not whole numbers"),
    ):
        with pytest.raises(DataError, match=words):
            rle.mask(counts, (2, 4), columns=True)
    with pytest.raises(DataError, match="the character ' '"):
        rle.decompress("7 2")
    with pytest.raises(DataError, match="ends within a number"):
        rle.decompress("7o")
