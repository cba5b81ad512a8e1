"""LIP: mirrored body parts and the folders of the zip files."""

import numpy as np
from support.scene_roots import COUNT, SIZE

from datasets import build_dataset, detect, training_data


def test_lip_swaps_left_and_right_when_mirrored(roots):
    data = training_data("lip", "train", SIZE, random_mirror=True, data_dir=roots["lip"], batch_size=COUNT, seed=1)
    plain = build_dataset("lip", "train", roots["lip"])
    swapped, seen = np.arange(256), set()
    swapped[[14, 15, 16, 17, 18, 19]] = 15, 14, 17, 16, 19, 18
    for batch, _ in zip(data.forever(), range(6)):
        for index, label in zip(batch.indices, batch.labels):
            original = plain.read(index)[1]
            mirrored = not (label == original).all()
            seen.add(mirrored)
            if mirrored:
                np.testing.assert_array_equal(label, swapped[original[:, ::-1]])
    assert seen == {True, False}


def test_lip_as_its_zips_unpack(roots, tmp_path):
    (tmp_path / "TrainVal_images").mkdir()
    (tmp_path / "TrainVal_parsing_annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / "TrainVal_images" / f"{split}_images").symlink_to(roots["lip"] / f"{split}_images")
        (tmp_path / "TrainVal_parsing_annotations" / f"{split}_segmentations").symlink_to(
            roots["lip"] / f"{split}_segmentations"
        )
    assert detect(tmp_path) == "lip" and build_dataset(split="val", data_dir=tmp_path).total_len == COUNT
