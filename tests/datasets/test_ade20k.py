"""ADE20K with 150 and 151 classes."""

import numpy as np
import pytest

from datasets import build_dataset, detect, training_data


def test_ade20k_with_150_and_151_classes(roots):
    small = build_dataset("ade20k", "val", roots["ade20k"])
    large = build_dataset("ade20k", "val", roots["ade20k"], num_classes=151, ignore_label=0)
    assert (len(small.names), len(large.names)) == (150, 151) and large.names[1:] == small.names
    a, b = small.read(1)[1], large.read(1)[1]
    np.testing.assert_array_equal(np.where(a == 255, 0, a + 1), b)
    data = training_data("ade20k", "val", (80, 120), data_dir=roots["ade20k"], num_classes=151, ignore_label=0)
    labels = next(data.forever()).labels
    assert labels.max() < 151 and (labels[:, 60:] == 0).all()  # padding is ignored
    with pytest.raises(ValueError, match="150 or 151 classes, not 19"):
        build_dataset("ade20k", "val", roots["ade20k"], num_classes=19)


def test_the_full_ade20k_is_named_as_such(tmp_path):
    (tmp_path / "images" / "ADE" / "training").mkdir(parents=True)
    with pytest.raises(ValueError, match="is the full ADE20K .*ADEChallengeData2016"):
        build_dataset("ade20k", "train", tmp_path)
    with pytest.raises(ValueError, match="is the full ADE20K"):
        detect(tmp_path)
