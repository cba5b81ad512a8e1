"""What travels between host and device in inference: each image once, and label maps."""

import jittor as jt
import numpy as np
import pytest
from test_inference import Strided, make_image

from utils.evaluation.inference import predict
from utils.evaluation.windows import tiles_of


@pytest.mark.parametrize("tile", [None, (33, 41)])
def test_an_image_is_on_the_device_once_and_only_labels_come_back(monkeypatch, tile):
    """Two images, three scales and a flip: no score and no image is read by the host."""
    images, arrays, read = [make_image(57, 81), make_image(57, 81, 1)], [], []
    array = jt.array
    monkeypatch.setattr(jt, "array", lambda x, *rest: arrays.append(np.shape(x)) or array(x, *rest))
    monkeypatch.setattr(jt.Var, "numpy", lambda v: read.append(v.shape))
    labels = predict(Strided(), images, tile=tile, scales=(0.75, 1, 1.25), flip=True)
    assert [label.shape for label in labels] == [(57, 81), (57, 81)] and labels[0].dtype == np.uint8
    assert [shape for shape in arrays if len(shape) > 2] == [(3, 57, 81), (3, 57, 81)] and read == []


def test_an_image_that_is_on_the_device_already_gives_the_same_labels():
    image, settings = make_image(57, 81), {"tile": (33, 41), "scales": (1, 1.25)}
    labels = [predict(Strided(), [x], **settings)[0] for x in (image, jt.array(image))]
    np.testing.assert_array_equal(*labels)


def test_tiles_are_cut_and_padded_with_zeros():
    image = make_image(20, 30)
    windows = [(0, 0, 20, 30), (3, 5, 7, 11), (19, 29, 1, 1)]
    tiles = tiles_of(jt.array(image), windows, (33, 35)).numpy()
    for tile, (top, left, height, width) in zip(tiles, windows):
        expected = np.zeros((3, 33, 35), np.float32)
        expected[:, :height, :width] = image[:, top : top + height, left : left + width]
        np.testing.assert_array_equal(tile, expected)
