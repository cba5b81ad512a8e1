"""utils/evaluation/stream.py: each image once, in order, and no memory is left allocated."""

import json
import types

import jittor as jt
import numpy as np
import pytest

from datasets.reading import workers
from utils.distributed import spread
from utils.evaluation import inference, stream
from utils.evaluation.confusion import ConfusionMatrix
from utils.training.validation import validate


class Brightness(jt.nn.Module):
    """Class 1 where the image is bright; stride 1."""

    def execute(self, x):
        return [jt.concat([-x[:, :1], x[:, :1]], dim=1)]


def normalise(image):
    return (image.transpose(2, 0, 1).astype(np.float32) - 127.5) / 127.5


def pair(index):
    """Images of many sizes whose label is what Brightness sees, but for their first row."""
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (*rng.integers(33, 70, 2), 3)).astype(np.uint8)
    label = (image[:, :, 0] > 127).astype(np.uint8)
    label[0] = 255 if index % 2 else 1 - label[0]
    return image, label


def test_validation_gives_the_matrix_of_its_images_and_the_model_goes_on_training():
    want = ConfusionMatrix(2)
    for index in range(9):
        image, label = pair(index)
        want.update(label, (image[:, :, 0] > 127).astype(np.uint8))
    model = Brightness()
    pairs = types.SimpleNamespace(read=pair, total_len=9)
    matrix, shown = validate(model, pairs, normalise, 2, show=3)
    np.testing.assert_array_equal(matrix.counts, want.counts)
    assert model.is_training() and len(shown) == 3
    for index, (image, *_) in zip((0, 3, 6), shown):  # from all over the images
        np.testing.assert_array_equal(image, pair(index)[0])
    assert validate(model, pairs, normalise, 2, max_images=4)[0].counts.sum() < want.counts.sum()


def test_samples_to_look_at_are_spread():
    assert spread(range(1, 100, 2), 4) == {1, 25, 51, 75} and spread(range(2), 6) == {0, 1} and spread([], 6) == set()


def test_images_come_in_order_with_what_was_read():
    seen = []
    for index, (image, label), prediction in stream.predictions(
        Brightness(), zip([4, 2, 7], map(pair, [4, 2, 7])), normalise, batch=2
    ):
        np.testing.assert_array_equal(image, pair(index)[0])
        assert prediction.shape == label.shape
        seen.append(index)
    assert seen == [4, 2, 7]


def test_logits_are_brought_to_the_size_of_the_label():
    def read(index):
        return pair(index)[0], np.zeros((20, 31), np.uint8)

    (*_, prediction), *_ = stream.predictions(Brightness(), [(0, read(0))], normalise)
    assert prediction.shape == (20, 31)

    (*_, prediction), *_ = stream.predictions(Brightness(), [(0, (pair(0)[0], None))], normalise)
    assert prediction.shape == pair(0)[0].shape[:2]


@pytest.mark.parametrize("count", [0, 1])
def test_an_image_that_cannot_be_read_is_an_error_that_names_it(count):
    def read(index):
        if index == 2:
            raise ValueError("leaf_2.png is truncated")
        return pair(index)

    def samples():
        return zip(range(4), workers.run(read, range(4), count, return_errors=True))

    with pytest.raises(ValueError, match="leaf_2.png is truncated"):
        list(stream.predictions(Brightness(), samples(), normalise))
    left_out = []
    kept = stream.predictions(
        Brightness(),
        samples(),
        normalise,
        on_error=lambda task, error: left_out.append((task, str(error))),
    )
    assert [task for task, *_ in kept] == [0, 1, 3] and left_out == [(2, "leaf_2.png is truncated")]


def test_small_images_share_a_network_call_and_large_ones_do_not(monkeypatch):
    monkeypatch.setattr(inference, "CALL_TILES", 4)
    samples = [(k, (np.zeros((40, 40, 3), np.uint8), None)) for k in range(10)]
    assert [len(group) for group in stream.groups(samples, {})] == [4, 4, 2]
    assert [len(group) for group in stream.groups(samples, {"batch": 3})] == [3, 3, 3, 1]
    assert [len(group) for group in stream.groups(samples, {"tile": (20, 20)})] == [1] * 10
    monkeypatch.setattr(inference, "CALL_PIXELS", 3000)
    assert [len(group) for group in stream.groups(samples, {})] == [2] * 5


MEMORY = """
import json, numpy as np
from utils import runtime
from utils.options import evaluate
evaluate.before_jittor()
runtime.start("cpu", quiet=False)
from datasets.reading import workers
from models import build_model
from utils.evaluation import stream
from utils.evaluation.confusion import ConfusionMatrix
model = build_model("ccnet_r18", 9, 2)
model.eval()
def read(index):
    rng = np.random.default_rng(index)
    size = rng.integers(40, LARGEST, 2)
    return rng.integers(0, 256, (*size, 3)).astype(np.uint8), rng.integers(0, 9, size).astype(np.uint8)
def normalise(image):
    return image.transpose(2, 0, 1).astype(np.float32) - 110
matrix, used = ConfusionMatrix(9), []
settings = SETTINGS
samples = zip(range(300), workers.run(read, range(300), 1))
for index, (_, label), prediction in stream.predictions(model, samples, normalise, **settings):
    matrix.update(label, prediction)
    used.append(int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20)
print(json.dumps(used))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "largest, settings", [(200, dict(batch=1)), (100, dict(tile=(65, 65), scales=(1, 1.25), batch=4))]
)
def test_memory_after_300_images_is_that_after_30(run_command, largest, settings):
    """Images of 300 different sizes; within 5 percent."""
    done = run_command("python", "-c", MEMORY.replace("SETTINGS", repr(settings)).replace("LARGEST", str(largest)))
    assert done.returncode == 0, done.stderr[-2000:]
    used = json.loads(done.stdout.strip().splitlines()[-1])
    early, late = np.median(used[20:40]), np.median(used[280:])  # it varies with the sizes
    print(f"{early:.1f} MB after 30, {late:.1f} MB after 300")
    assert late <= 1.05 * early, (early, late)


class Middle(Brightness):
    """As Brightness, of the middle frame of a clip of three."""

    frames, sizes = 3, []

    def execute(self, x):
        self.sizes.append(len(x))
        return super().execute(x[:, 3:6])


@pytest.mark.parametrize(
    "settings", [{}, {"tile": (21, 30), "scales": (0.75, 1.0), "flip": True}, {"short_side": 24}], ids=str
)
def test_all_frames_of_a_clip_are_cut_scaled_and_flipped_alike(settings):
    """The middle frame has the labels of the same image alone; and a call has as many clips as fewer frames."""
    images = [pair(index)[0] for index in (1, 4)]
    clips = [np.stack([image[::-1], image, 255 - image]) for image in images]

    def normalise_clip(clip):
        return np.concatenate([normalise(frame) for frame in clip])

    Middle.sizes.clear()
    expected = stream.stream(
        Brightness(), ((k, (image, None)) for k, image in enumerate(images)), normalise, **settings
    )
    result = stream.stream(Middle(), ((k, (clip, None)) for k, clip in enumerate(clips)), normalise_clip, **settings)
    for (_, _, one), (_, (clip, _), other) in zip(expected, result):
        assert other.shape == clip.shape[1:3]
        np.testing.assert_array_equal(one, other)
    assert max(Middle.sizes) <= inference.CALL_TILES // 3
