import numpy as np
import pytest

from datasets.transforms import CAFFE_BGR, CITYSCAPES_SCALES, TrainTransform, normalise


def pair(rng, height=20, width=30):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), rng.integers(0, 9, (height, width), dtype=np.uint8)


def test_normalise_is_bgr_minus_the_mean(rng):
    image, _ = pair(rng)
    x = normalise(image)
    assert x.shape == (3, 20, 30) and x.dtype == np.float32
    np.testing.assert_allclose(x[0], image[:, :, 0] - 104.00698793, atol=1e-4)
    np.testing.assert_allclose(x[2], image[:, :, 2] - 122.67891434, atol=1e-4)


def test_normalise_rgb_with_std(rng):
    image, _ = pair(rng)
    x = normalise(image, {"channels": "rgb", "mean": (1, 2, 3), "std": (2, 4, 8)})
    np.testing.assert_allclose(x[0], (image[:, :, 2].astype(float) - 1) / 2, rtol=1e-6)


def test_the_official_scales():
    assert CITYSCAPES_SCALES == (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1)


def test_padding_is_at_the_right_and_bottom_mean_and_void(rng):
    image, label = pair(rng, 5, 6)
    x, y = TrainTransform((9, 8))(image, label, rng)
    assert x.shape == (3, 9, 8) and y.shape == (9, 8)
    np.testing.assert_array_equal(x[:, :5, :6], normalise(image))
    np.testing.assert_array_equal(y[:5, :6], label)
    assert (x[:, 5:] == 0).all() and (x[:, :, 6:] == 0).all() and (y[5:] == 255).all() and (y[:, 6:] == 255).all()


@pytest.mark.parametrize("scales", [None, CITYSCAPES_SCALES])
def test_crop_and_mirror_keep_picture_and_label_together(scales):
    """The picture carries the label in its channels; whatever is done to one must have been done to the other."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        label = np.kron(rng.integers(0, 9, (4, 5), dtype=np.uint8), np.ones((9, 9), np.uint8))
        image = np.repeat(label[:, :, None] * 10, 3, axis=2)
        flat = {"channels": "bgr", "mean": (0, 0, 0), "std": (1, 1, 1)}
        x, y = TrainTransform((24, 31), scales, mirror=True, how=flat)(image, label, rng)
        same = (np.abs(x[0] - 10.0 * y) < 5) | (y == 255)
        assert x.shape == (3, 24, 31) and same.mean() > (0.99 if scales is None else 0.55)
        if scales is None:
            assert same.all()


def test_mirror_happens_about_half_the_time(rng):
    image, label = pair(rng)
    mirrored = sum((TrainTransform((20, 30), mirror=True)(image, label, rng)[1] != label).any() for _ in range(200))
    assert 70 < mirrored < 130


def test_the_generator_decides_everything(rng):
    image, label = pair(rng)
    augment = TrainTransform((12, 13), CITYSCAPES_SCALES, mirror=True)
    first, again, other = (augment(image, label, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again)) and (first[0] != other[0]).any()
    assert CAFFE_BGR["std"] == (1.0, 1.0, 1.0)
