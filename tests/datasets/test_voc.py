"""PASCAL VOC: palette labels and the trainaug split."""

import numpy as np
import pytest
from PIL import Image
from support.scene_roots import COUNT

from datasets import build_dataset
from datasets.reading.image_io import DataError


def test_voc_reads_palette_labels_and_their_border(roots):
    data = build_dataset("voc", "train", roots["voc"])
    values = np.concatenate([data.read(index)[1].ravel() for index in range(COUNT)])
    assert set(np.unique(values)) == {0, 7, 15, 255}
    for index in range(COUNT):
        np.testing.assert_array_equal(data.read(index)[1], np.asarray(Image.open(data.pairs[index][1])))
    assert build_dataset("voc", "trainval", roots["voc"]).total_len == 2 * COUNT


def test_voc_trainaug_without_its_folder_names_the_script_that_makes_it(roots):
    (roots["voc"] / "ImageSets/Segmentation/trainaug.txt").write_text("2007_000000\n2007_000001\n")
    with pytest.raises(DataError, match="no SegmentationClassAug; make it with scripts/data/prepare_voc_aug.py"):
        build_dataset("voc", "trainaug", roots["voc"])
    assert build_dataset("voc", "train", roots["voc"]).total_len == COUNT
