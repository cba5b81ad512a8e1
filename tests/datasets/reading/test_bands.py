"""Images of other numbers of channels: values, files, statistics, augmentation."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from datasets.normalise import normalise, normalise_batch
from datasets.reading import bands
from datasets.reading.image_io import DataError
from datasets.transforms import Scale, TrainTransform
from models import tables


def test_values_become_8_bits_by_their_dtype_or_a_range(tmp_path):
    path = tmp_path / "a.npy"
    for values, value_range, expected in (
        (np.uint8([[0, 7, 255]]), None, [0, 7, 255]),
        (np.uint16([[0, 32896, 65535]]), None, [0, 128, 255]),
        (np.float32([[-1, 0.5, 2]]), None, [0, 128, 255]),
        (np.uint16([[1000, 6000, 20000]]), (1000, 11000), [0, 128, 255]),
        (np.uint8([[0, 60, 100]]), (0, 100), [0, 153, 255]),
    ):
        np.save(path, values)
        image = bands.read(path, 1, value_range)
        assert image.dtype == np.uint8 and image.shape == (1, 3, 1)
        np.testing.assert_array_equal(image[0, :, 0], expected)


def test_a_tiff_of_four_bands_or_of_a_page_for_each(tmp_path, rng):
    pixels = rng.integers(0, 256, (9, 7, 5)).astype(np.uint8)
    Image.fromarray(pixels[:, :, :4]).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(bands.read(tmp_path / "a.tif", 4), pixels[:, :, :4])
    first, *rest = [Image.fromarray(np.ascontiguousarray(pixels[:, :, k])) for k in range(5)]
    first.save(tmp_path / "b.tif", save_all=True, append_images=rest)
    np.testing.assert_array_equal(bands.read(tmp_path / "b.tif", 5), pixels)


@pytest.mark.parametrize(
    "values, words",
    [
        (np.zeros((4, 4, 3), np.uint8), "has the shape 4x4x3, and --channels 5 needs"),
        (np.zeros((4, 4, 5), np.int32), "int32 values, which have no usual range: add --value-range"),
        (np.full((4, 4, 5), np.nan, np.float32), "NaN or infinity"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_file_is_named(tmp_path, values, words):
    path = tmp_path / "a.npy"
    path.write_bytes(b"hello") if values is None else np.save(path, values)
    with pytest.raises(DataError, match="a.npy .*" + words):
        bands.read(path, 5)
    with pytest.raises(DataError, match="is missing"):
        bands.read(tmp_path / "gone.npy", 5)


class Data:
    channels, value_range, total_len = 5, (0, 10), 4

    def open_pair(self, index):
        return (lambda: np.random.default_rng(index).integers(0, 256, (6, 8, 5)).astype(np.uint8)), None


def test_mean_and_deviation_are_measured_given_or_recorded():
    pixels = np.stack([Data().open_pair(k)[0]() for k in range(4)]).reshape(-1, 5)
    measured = bands.for_network(Data(), tables.CAFFE_BGR, {"stem": "v1"})
    record = measured["normalisation"]
    np.testing.assert_allclose(record["mean"], pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(record["std"], pixels.std(0), rtol=1e-5)
    assert measured["model_options"] == {"stem": "v1", "in_channels": 5} and record["range"] == [0, 10]
    assert bands.facts_of(record) == {"channels": 5, "value_range": [0, 10]} and bands.facts_of(None) == {}
    assert bands.for_network(Data(), record, {})["normalisation"] is record
    given = bands.for_network(Data(), tables.CAFFE_BGR, {}, [1, 2, 3, 4, 5], [2] * 5)["normalisation"]
    assert given["mean"] == [1, 2, 3, 4, 5] and given["std"] == [2] * 5
    with pytest.raises(ValueError, match="belong together"):
        bands.for_network(Data(), tables.CAFFE_BGR, {}, [1, 2, 3, 4, 5])
    three = SimpleNamespace(channels=3)
    assert bands.for_network(three, tables.CAFFE_BGR, {})["normalisation"] is tables.CAFFE_BGR
    with pytest.raises(ValueError, match="--channel-mean is for images of another number of channels than three"):
        bands.for_network(three, tables.CAFFE_BGR, {}, [1, 2, 3], [1, 1, 1])


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("whole", [False, True])
def test_augmentation_treats_every_channel_as_an_image_of_three(channels, whole):
    """Channel by channel the same as an RGB image of that channel three times."""
    rng = np.random.default_rng(1)
    image, label = rng.integers(0, 256, (40, 50, channels)).astype(np.uint8), np.zeros((40, 50), np.uint8)
    for seed in range(6):
        transform = TrainTransform((33, 47), Scale(span=(0.6, 1.7)), True, whole=whole)
        sample = transform(image, label, np.random.default_rng(seed))
        top, bottom, left, right = sample.box
        assert sample.image.shape == (33, 47, channels)
        for k in range(channels):
            grey = np.repeat(image[:, :, k : k + 1], 3, 2)
            expected = transform(grey, label, np.random.default_rng(seed)).image[top:bottom, left:right, 0]
            np.testing.assert_array_equal(sample.image[top:bottom, left:right, k], expected)
    jittered = TrainTransform((33, 47), jitter=True)(image, label, np.random.default_rng(3)).image
    assert jittered.shape == (33, 47, channels)


def test_both_normalisations_agree(rng):
    image = rng.integers(0, 256, (6, 7, 5)).astype(np.uint8)
    record = bands.record([10, 20, 30, 40, 50], [1, 2, 3, 4, 5])
    expected = (image.transpose(2, 0, 1) - np.float32(record["mean"])[:, None, None]) / np.float32(record["std"])[
        :, None, None
    ]
    np.testing.assert_array_equal(normalise(image, record), expected)
    np.testing.assert_array_equal(normalise_batch(image[None], record).numpy()[0], expected)
    with pytest.raises(ValueError, match="3 channels, and the network was trained with 5"):
        normalise(image[:, :, :3], record)
