"""utils/evaluation/inference.py against full-size arithmetic in numpy: the sums of bands and tiles are the same."""

import math

import jittor as jt
import numpy as np
import pytest

from utils.evaluation import inference
from utils.evaluation.inference import cut, predict, predict_probabilities, scaled_size


class Pointwise(jt.nn.Module):
    """Scores at the size of the input, each from its own pixel alone: mirror-symmetric, blind to tile borders."""

    def __init__(self, classes=5):
        self.mix = jt.array(np.random.default_rng(3).standard_normal((classes, 3)).astype(np.float32))

    def execute(self, x):
        b, c, h, w = x.shape
        y = jt.matmul(self.mix, x.reshape(b, c, h * w)).reshape(b, -1, h, w)
        return [y + 0.3 * (y * 3).sin()]


class Strided(Pointwise):
    """The same at stride 8, as the real networks: 8n + 1 pixels give n + 1."""

    align_corners = True

    def execute(self, x):
        return super().execute(x[:, :, ::8, ::8])


def position(i, have, want, corners):
    if corners:
        return i * (have - 1) / (want - 1) if want > 1 else 0.0
    return min(max((i + 0.5) * have / want - 0.5, 0.0), have - 1.0)


def bilinear(x, size, corners=True):
    """(C, h, w) -> (C, *size), in float64 and one pixel at a time: the definition."""
    out = np.zeros((len(x), *size))
    for i in range(size[0]):
        y = position(i, x.shape[1], size[0], corners)
        a = min(int(y), x.shape[1] - 1)
        row = x[:, a] + (x[:, min(a + 1, x.shape[1] - 1)] - x[:, a]) * (y - a)
        for j in range(size[1]):
            u = position(j, x.shape[2], size[1], corners)
            b = min(int(u), x.shape[2] - 1)
            out[:, i, j] = row[:, b] + (row[:, min(b + 1, x.shape[2] - 1)] - row[:, b]) * (u - b)
    return out


def softmax(x):
    x = np.exp(x - x.max(0))
    return x / x.sum(0)


def definition(
    model, image, size, tile=None, scales=(1,), flip=False, average="logits", overlap=1 / 3, short_side=None
):
    """Everything at full size, tile after tile, added up: (K, H, W)."""
    out, corners = 0, model.align_corners
    for scale in scales:
        factor = short_side * scale / min(image.shape[1:]) if short_side else scale
        height, width = (max(round(side * factor), 1) for side in image.shape[1:])
        scaled = bilinear(image, (height, width), corners and not short_side).astype(np.float32)
        total, count = 0, np.zeros((height, width))
        for y, x, h, w in cut((height, width), tile, overlap):
            shape = [max(side, inference.LEAST) for side in tile or (height, width)]
            window = np.zeros((1, 3, *shape), np.float32)
            window[0, :, :h, :w] = scaled[:, y : y + h, x : x + w]
            passes = [model(jt.array(window))[0].numpy()[0]]
            if flip:
                passes.append(model(jt.array(window[..., ::-1].copy()))[0].numpy()[0][..., ::-1])
            for scores in passes:
                scores = bilinear(scores, shape, corners)[:, :h, :w]
                full = np.zeros((len(scores), height, width))
                full[:, y : y + h, x : x + w] = softmax(scores) if average == "probabilities" else scores
                total = total + full
                count[y : y + h, x : x + w] += 1
        out = out + bilinear(total / count, size, corners)
    return out / len(scales)


def make_image(height, width, seed=0):
    return np.random.default_rng([seed, height, width]).standard_normal((3, height, width)).astype(np.float32)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("tile", [None, (33, 41)])
@pytest.mark.parametrize("scales, flip", [((1,), False), ((0.75, 1, 1.25), True)])
def test_bands_and_tiles_add_up_to_the_full_size_mean(monkeypatch, average, tile, scales, flip):
    monkeypatch.setattr(inference, "BAND_NUMBERS", 5 * 70 * 7)  # seven rows a band
    model, image, size = Strided(), make_image(57, 81), (50, 70)
    settings = dict(tile=tile, scales=scales, flip=flip, average=average)
    label, probability = predict_probabilities(model, image, size, **settings)
    want = definition(model, image, size, **settings)
    wanted = softmax(want) if average == "logits" else want
    np.testing.assert_allclose(probability, wanted, atol=2e-5)
    clear = np.diff(np.sort(wanted, 0)[-2:], axis=0)[0] > 1e-4  # elsewhere rounding may decide
    assert clear.mean() > 0.95 and (label == wanted.argmax(0))[clear].all()
    np.testing.assert_array_equal(label, predict(model, [image], [size], **settings)[0])


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        dict(scales=(0.75, 1), flip=True),
        dict(tile=(33, 41), overlap=0.5),
        dict(short_side=41, scales=(1, 1.5)),
        dict(short_side=65, tile=(33, 41), average="probabilities"),
    ],
    ids=["scales", "overlap", "short side", "windows of scaled images"],
)
def test_the_parts_of_a_protocol_add_up_likewise(monkeypatch, corners, options):
    monkeypatch.setattr(inference, "BAND_NUMBERS", 5 * 70 * 7)
    model, image, size = Strided(), make_image(57, 81), (50, 70)
    model.align_corners = corners
    _, probability = predict_probabilities(model, image, size, **options)
    want = definition(model, image, size, **options)
    np.testing.assert_allclose(probability, softmax(want) if "average" not in options else want, atol=2e-5)


def test_the_short_side_and_the_limit_of_the_long_side():
    """The sizes that mmsegmentation gives to images with scale=(2048, 512) and (2049, 1025)."""
    for size, expected in (((683, 1024), (512, 768)), ((256, 256), (512, 512)), ((300, 2400), (256, 2048))):
        assert scaled_size(size, 1, 512, 2048) == expected
    assert scaled_size((683, 1024), 1.75, 512, 2048) == (896, 1343)
    assert scaled_size((1024, 2048), 1, 1025, 2049) == (1025, 2049)
    assert scaled_size((683, 1024), 1.5) == (round(683 * 1.5), 1536)  # without a short side


def test_whole_is_the_network_and_one_interpolation():
    model, image = Strided(), make_image(41, 65)
    scores = jt.nn.interpolate(model(jt.array(image[None]))[0], size=(41, 65), mode="bilinear", align_corners=True)
    want = scores.numpy()[0].argmax(0)
    assert (predict(model, [image])[0] == want).mean() > 0.999


def test_windows_of_forty_sizes_cover_every_pixel_and_nothing_else(rng):
    for _ in range(40):
        height, width, th, tw = (int(n) for n in rng.integers(1, 400, 4))
        seen = np.zeros((height, width), int)
        for y, x, h, w in cut((height, width), (th, tw)):
            assert 0 < h <= th and 0 < w <= tw and y >= 0 and x >= 0 and y + h <= height and x + w <= width
            seen[y : y + h, x : x + w] += 1
        assert seen.min() >= 1


def test_overlap_and_stride_are_the_official_ones_on_both_axes():
    assert [w[:2] for w in cut((1024, 2048), (769, 769))] == [
        (y, x) for y in (0, 255) for x in (0, 513, 1026, 1279)
    ]  # 8 tiles, stride 513
    boxes = cut((600, 900), (301, 451))  # each axis has its own stride: 201 and 301
    assert sorted({y for y, *_ in boxes}) == [0, 201, 299] and sorted({x for _, x, *_ in boxes}) == [0, 301, 449]
    assert cut((100, 200), (769, 769)) == [(0, 0, 100, 200)]
    assert len(cut((769, 769), (769, 769))) == 1 and math.ceil(769 * 2 / 3) == 513


def test_tiles_together_equal_tiles_one_by_one_and_images_likewise():
    model = Strided()
    images = [make_image(57, 81, seed) for seed in range(3)] + [make_image(33, 41), make_image(20, 50)]
    for settings in (dict(tile=(33, 41)), dict(), dict(scales=(0.5, 1), flip=True)):
        alone = [predict(model, [image], batch=1, **settings)[0] for image in images]
        for batch in (None, 2, 7):
            for a, b in zip(alone, predict(model, images, batch=batch, **settings)):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("tile", [None, (33, 41)])
def test_the_mirror_image_changes_nothing_for_a_mirror_symmetric_network(tile):
    for average in ("logits", "probabilities"):
        image = make_image(57, 81)
        plain = predict_probabilities(Pointwise(), image, tile=tile, average=average)[1]
        mirrored = predict_probabilities(Pointwise(), image, tile=tile, average=average, flip=True)[1]
        np.testing.assert_allclose(plain, mirrored, atol=1e-6)


def test_classes_that_change_places_in_the_mirror():
    """Left and right arm, which this network derives from the half of the image that a pixel is in."""

    class Sides(jt.nn.Module):
        def execute(self, x):
            b, _, h, w = x.shape
            left = (jt.arange(w) < w / 2).float32().broadcast((b, 1, h, w), dims=(0, 1, 2))
            return [jt.concat([left, 1 - left, left * 0], dim=1)]

    image = make_image(40, 60)
    for average in ("logits", "probabilities"):
        plain, mirrored, naive = (
            predict_probabilities(Sides(), image, average=average, **settings)[1]
            for settings in (dict(), dict(flip=True, flip_pairs=((0, 1),)), dict(flip=True))
        )
        np.testing.assert_allclose(plain, mirrored, atol=1e-6)
        assert np.abs(plain - naive).max() > 0.1


def test_scale_one_is_no_scale():
    image = make_image(57, 81)
    np.testing.assert_array_equal(
        predict_probabilities(Strided(), image)[1], predict_probabilities(Strided(), image, scales=(1.0,))[1]
    )


def test_a_constant_network_gives_a_constant_map():
    class Constant(jt.nn.Module):
        def execute(self, x):
            b, _, h, w = x.shape
            return [jt.array(np.float32([0, 2, 1])).reshape(1, 3, 1, 1).broadcast((b, 3, h // 8 + 1, w // 8 + 1))]

    for settings in (dict(), dict(tile=(33, 41), scales=(0.5, 1.5), flip=True, average="probabilities")):
        assert (predict(Constant(), [make_image(50, 90)], **settings)[0] == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (17, 400), (3, 2)])
def test_images_of_any_size(size):
    for settings in (dict(), dict(tile=(33, 41), scales=(0.5, 1))):
        label = predict(Strided(), [make_image(*size)], **settings)[0]
        assert label.shape == size and label.dtype == np.uint8


def test_many_classes_do_not_wrap():
    assert predict(Pointwise(300), [make_image(33, 33)])[0].dtype == np.int32


def test_padding_to_a_multiple_lets_the_network_see_few_sizes():
    seen = set()

    class Watched(Strided):
        def execute(self, x):
            seen.add(tuple(x.shape[2:]))
            return super().execute(x)

    for side in range(40, 129, 11):
        assert predict(Watched(), [make_image(side, side + 20)], pad_multiple=64)[0].shape == (side, side + 20)
    assert seen == {(64, 64), (64, 128), (128, 128), (128, 192)}


def test_a_network_call_never_holds_more_tiles_than_asked():
    most = []

    class Watched(Strided):
        def execute(self, x):
            most.append(x.shape[0])
            return super().execute(x)

    predict(Watched(), [make_image(200, 200)], tile=(41, 41), batch=3)
    assert max(most) == 3 and sum(most) == len(cut((200, 200), (41, 41)))
