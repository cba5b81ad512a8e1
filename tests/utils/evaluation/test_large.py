"""utils/evaluation/large.py: an image by rows gives the labels that inference.predict gives for the whole image."""

import jittor as jt
import numpy as np
import pytest

from utils.evaluation import inference, large
from utils.raster.rows import RowReader


class Strided(jt.nn.Module):
    """Scores of 5 classes at stride 8, each from its own pixel alone."""

    def __init__(self, align_corners):
        self.mix = jt.array(np.random.default_rng(3).standard_normal((5, 3)).astype(np.float32))
        self.align_corners = align_corners

    def execute(self, x):
        x = x[:, :, ::8, ::8]
        b, c, h, w = x.shape
        return [jt.matmul(self.mix, x.reshape(b, c, h * w)).reshape(b, -1, h, w)]


class Rows(RowReader):
    """An image in memory, given out in bands of 10 rows."""

    def __init__(self, image):
        self.size, self.image = image.shape[:2], image
        super().__init__()

    def bands(self):
        for top in range(0, len(self.image), 10):
            yield self.image[top : top + 10]


def normalise(image):
    return (image.transpose(2, 0, 1).astype(np.float32) - 120) / 60


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("overlap", [1 / 3, 0.5])
@pytest.mark.parametrize("average, flip", [("logits", False), ("probabilities", True)])
def test_the_settings_of_a_protocol_give_the_same_labels(monkeypatch, corners, overlap, average, flip):
    monkeypatch.setattr(inference, "BAND_NUMBERS", 5 * 81 * 7)  # seven rows a band
    image = np.random.default_rng(0).integers(0, 256, (97, 81, 3)).astype(np.uint8)
    model = Strided(corners)
    settings = dict(tile=(33, 41), overlap=overlap, average=average, flip=flip, flip_pairs=(), batch=3)
    results = list(large.predict_rows(model, Rows(image), normalise, settings, confidence=True))
    np.testing.assert_array_equal(np.concatenate([rows for rows, _, _ in results]), image)
    launched = inference.launch(model, [normalise(image)], confidence=True, **settings)[0]
    label, confidence = inference.fetch(launched)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows, _ in results]), label)
    np.testing.assert_allclose(np.concatenate([rows for *_, rows in results]), confidence, atol=1e-6)


def test_each_setting_changes_the_labels():
    """So that the comparison above can fail."""
    image = np.random.default_rng(0).integers(0, 256, (97, 81, 3)).astype(np.uint8)
    labels = []
    for corners, overlap in ((True, 1 / 3), (False, 1 / 3), (True, 0.5)):
        model = Strided(corners)
        settings = dict(tile=(33, 41), overlap=overlap, average="logits", flip=False, flip_pairs=())
        labels.append(np.concatenate([x[1] for x in large.predict_rows(model, Rows(image), normalise, settings)]))
    assert (labels[0] != labels[1]).any() and (labels[0] != labels[2]).any()
