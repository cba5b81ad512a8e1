import numpy as np
import pytest

from datasets.normalise import normalise, normalise_batch, on_device
from datasets.scenes import dataset
from datasets.transforms import (
    ADE20K_SIDES,
    CITYSCAPES_SCALES,
    VOC_SCALES,
    EvalTransform,
    Scale,
    TrainTransform,
    shift_colours,
)
from models.tables import CAFFE_BGR, IMAGENET_RGB
from scripts.benchmark import official_recipe


def pair(rng, height=20, width=30):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), rng.integers(0, 9, (height, width), dtype=np.uint8)


@pytest.fixture(scope="module")
def street():
    return [dataset.draw_scene(2, index, *size)[:2] for index, size in enumerate([(256, 511), (301, 400), (90, 120)])]


# --- normalising


def test_normalise_is_bgr_minus_the_mean(rng):
    image, _ = pair(rng)
    x = normalise(image)
    assert x.shape == (3, 20, 30) and x.dtype == np.float32
    want = np.asarray(image, np.float32) - np.array(CAFFE_BGR["mean"], np.float32)
    np.testing.assert_array_equal(x, want.transpose(2, 0, 1))


def test_normalise_rgb_with_std(rng):
    image, _ = pair(rng)
    x = normalise(image, IMAGENET_RGB)
    want = (image[:, :, ::-1].astype(np.float32) - np.float32(IMAGENET_RGB["mean"])) / np.float32(IMAGENET_RGB["std"])
    np.testing.assert_array_equal(x, want.transpose(2, 0, 1))


@pytest.mark.parametrize("record", [CAFFE_BGR, IMAGENET_RGB])
def test_the_device_normalises_to_the_same_bits_and_padding_to_zero(rng, record):
    images = rng.integers(0, 256, (2, 3, 5, 7, 3), dtype=np.uint8)  # clips of three
    boxes = np.array([[0, 5, 0, 7], [0, 4, 2, 7]], np.int32)
    got = normalise_batch(images, record, boxes).numpy()
    assert got.shape == (2, 9, 5, 7) and got.dtype == np.float32
    want = np.stack([normalise(image, record) for clip in images for image in clip])
    want[3:, :, 4:], want[3:, :, :, :2] = 0, 0
    np.testing.assert_array_equal(got, want.reshape(got.shape))
    np.testing.assert_array_equal(normalise(images[0], record)[:, :4], got[0, :, :4])
    np.testing.assert_array_equal(on_device(images[0], record).numpy(), normalise(images[0], record))
    np.testing.assert_array_equal(on_device(images[0, 1], record).numpy(), normalise(images[0, 1], record))
    np.testing.assert_array_equal(normalise_batch(images[:, 0], record, boxes).numpy(), want[::3])


# --- the official recipe


def test_the_official_scales():
    assert CITYSCAPES_SCALES == tuple(0.7 + k / 10.0 for k in range(15)) and round(CITYSCAPES_SCALES[14], 9) == 2.1
    assert VOC_SCALES == tuple(0.5 + k / 10.0 for k in range(12)) and round(VOC_SCALES[11], 9) == 1.6
    drawn = {Scale(CITYSCAPES_SCALES)(10, 10, np.random.default_rng(seed)) for seed in range(300)}
    assert drawn == set(CITYSCAPES_SCALES)


@pytest.mark.parametrize("crop", [(129, 193), (255, 97), (400, 300)])
def test_official_augmentation_is_bit_equal_to_the_step_by_step_recipe(street, crop):
    transform = TrainTransform(crop, Scale(CITYSCAPES_SCALES), mirror=True, whole=True)
    for seed in range(25):
        image, label = street[seed % 3]
        sample = transform(image, label, np.random.default_rng([seed, 1]))
        want, want_label = official_recipe.augment(image, label, crop, np.random.default_rng([seed, 1]))
        got = normalise_batch(sample.image[None], CAFFE_BGR, sample.box[None]).numpy()[0]
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(sample.label, want_label)


@pytest.mark.parametrize(
    ("scale", "grey"),
    [
        (Scale(CITYSCAPES_SCALES), 0.02),
        (Scale(VOC_SCALES), 0.02),
        (Scale(span=(0.4, 2.6)), 0.5),
        (Scale(sides=ADE20K_SIDES, longest=1000), 0.5),
        (Scale(span=(0.5, 2.0), sides=(512,), longest=2048), 0.5),
    ],
)
def test_crop_before_resize_has_the_same_geometry(street, scale, grey):
    """Labels are equal, and images nearly so for scales of one decimal."""
    fast, slow = (TrainTransform((193, 161), scale, mirror=True, whole=whole) for whole in (False, True))
    for seed in range(40):
        image, label = street[seed % 3]
        a, b = (transform(image, label, np.random.default_rng([seed, 2])) for transform in (fast, slow))
        assert (a.box == b.box).all() and (a.label == b.label).all()
        assert np.abs(a.image.astype(int) - b.image).mean() < grey, seed


def test_a_function_is_called_with_the_rows_that_are_needed(street):
    image, label = street[0]
    transform, asked = TrainTransform((64, 64), Scale(CITYSCAPES_SCALES)), []

    def top(rows):
        asked.append(rows)
        return image[:rows]

    for seed in range(20):
        got = transform(top, label, np.random.default_rng(seed))
        want = transform(image, label, np.random.default_rng(seed))
        assert all((x == y).all() for x, y in zip(got, want))
    assert min(asked) < 120 and max(asked) > 230


def test_padding_is_at_the_right_and_bottom_mean_and_void(rng):
    image, label = pair(rng, 5, 6)
    x, y, box = TrainTransform((9, 8))(image, label, rng)
    assert x.shape == (9, 8, 3) and y.shape == (9, 8) and box.tolist() == [0, 5, 0, 6]
    np.testing.assert_array_equal(x[:5, :6], image)
    np.testing.assert_array_equal(y[:5, :6], label)
    assert (y[5:] == 255).all() and (y[:, 6:] == 255).all()
    flat = normalise_batch(x[None], CAFFE_BGR, box[None]).numpy()[0]
    assert (flat[:, 5:] == 0).all() and (flat[:, :, 6:] == 0).all()
    assert (TrainTransform((9, 8), ignore=0)(image, label, rng).label[5:] == 0).all()


def test_one_pixel_is_padded_and_scaled_to_at_least_one(rng):
    sample = TrainTransform((4, 4), Scale((0.4,)))(np.full((1, 1, 3), 9, np.uint8), np.zeros((1, 1), np.uint8), rng)
    assert sample.box.tolist() == [0, 1, 0, 1] and sample.label[0, 0] == 0 and (sample.image[0, 0] == 9).all()


@pytest.mark.parametrize("scale", [None, Scale(CITYSCAPES_SCALES)])
def test_crop_and_mirror_keep_image_and_label_together(scale):
    """The channels of the image hold the label, so both must be changed in the same way."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        label = np.kron(rng.integers(0, 9, (4, 5), dtype=np.uint8), np.ones((9, 9), np.uint8))
        image = np.repeat(label[:, :, None] * 10, 3, axis=2)
        x, y, box = TrainTransform((24, 31), scale, mirror=True)(image, label, rng)
        same = (np.abs(x[:, :, 0] - 10.0 * y) < 5) | (y == 255)
        assert same.mean() > (0.99 if scale is None else 0.55)
        if scale is None:
            assert same.all()


def test_mirror_happens_about_half_the_time_and_swaps_left_and_right(rng):
    image, label = pair(rng)
    transform = TrainTransform((20, 30), mirror=True, flip_pairs=((2, 3), (5, 8)))
    swapped = np.array([0, 1, 3, 2, 4, 8, 6, 7, 5], np.uint8)
    mirrored = 0
    for _ in range(200):
        y = transform(image, label, rng).label
        if (y != label).any():
            mirrored += 1
            np.testing.assert_array_equal(y, swapped[label[:, ::-1]])
    assert 70 < mirrored < 130


def test_the_generator_decides_every_random_choice(rng):
    image, label = pair(rng)
    augment = TrainTransform((12, 13), Scale(CITYSCAPES_SCALES), mirror=True, jitter=True, cat_max_ratio=0.5)
    first, again, other = (augment(image, label, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again)) and (first[0] != other[0]).any()


# --- the other rules


def test_short_sides_with_a_longest_side(rng):
    drawn = {Scale(sides=(300, 600), longest=1000)(100, 400, np.random.default_rng(seed)) for seed in range(20)}
    assert drawn == {2.5}  # the longest side decides: 1000 / 400
    drawn = {Scale(sides=(300, 600), longest=1000)(200, 300, np.random.default_rng(seed)) for seed in range(20)}
    assert drawn == {1.5, 3.0}
    factors = [Scale(span=(0.5, 2), sides=(50,))(100, 100, rng) for _ in range(100)]
    assert 0.25 <= min(factors) < 0.4 and 0.8 < max(factors) <= 1.0


def test_balanced_crops_avoid_one_class(rng):
    label = np.zeros((60, 200), np.uint8)
    label[:, 170:] = rng.integers(1, 5, (60, 30))
    image = np.zeros((60, 200, 3), np.uint8)
    share = {}
    for ratio in (None, 0.75):
        transform = TrainTransform((40, 40), cat_max_ratio=ratio)
        crops = [transform(image, label, np.random.default_rng(seed)).label for seed in range(100)]
        share[ratio] = np.mean([(crop == 0).mean() < 0.75 for crop in crops])
    assert share[None] < 0.2 and share[0.75] > 0.6


def test_colours_shift_but_not_shapes(street):
    image = street[2][0]
    means = []
    for seed in range(40):
        shifted = shift_colours(image, np.random.default_rng(seed))
        assert shifted.shape == image.shape and shifted.dtype == np.uint8
        means.append(shifted.mean())
    assert np.std(means) > 5 and abs(np.mean(means) - image.mean()) < 15
    assert (shift_colours(image, np.random.default_rng(3)) == shift_colours(image, np.random.default_rng(3))).all()


def test_all_frames_of_a_clip_have_the_same_crop(street):
    image, label = street[0]
    transform = TrainTransform((64, 96), Scale(CITYSCAPES_SCALES), mirror=True, jitter=True)
    for seed in range(5):
        clip = transform(lambda rows: np.stack([image] * 3), label, np.random.default_rng(seed))
        alone = transform(image, label, np.random.default_rng(seed))
        assert clip.image.shape == (3, 64, 96, 3) and (clip.box == alone.box).all()
        assert all((frame == alone.image).all() for frame in clip.image) and (clip.label == alone.label).all()


def test_evaluation_uses_every_pixel(rng):
    image, label = pair(rng)
    sample = EvalTransform()(lambda rows=None: image, label, rng)
    assert sample.image is image and sample.label is label and sample.box.tolist() == [0, 20, 0, 30]
