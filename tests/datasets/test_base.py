"""Order, ranks and workers: they do not change the samples, and an error is one message."""

import os
import signal
import time
from itertools import islice

import numpy as np
import pytest

from datasets import build_dataset, dataset_class
from datasets.reading.image_io import DataError
from datasets.scenes.dataset import Scenes
from datasets.transforms import CITYSCAPES_SCALES, Scale, TrainTransform


@pytest.fixture(autouse=True)
def time_limit():
    """No test here may hang."""

    def ring(*_):
        raise TimeoutError("a test of the workers took more than a minute")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def scenes(workers=0, seed=5, rank=0, world=1, cls=Scenes, **options):
    transform = TrainTransform((16, 16), Scale(CITYSCAPES_SCALES), mirror=True)
    data = cls("train", 24, 32, count=10, transform=transform, seed=seed, **options)
    data.set_attrs(batch_size=4, shuffle=True, drop_last=True, num_workers=workers, rank=rank, world_size=world)
    return data


def epoch(number, **options):
    data = scenes(**options)
    data.set_epoch(number)
    return list(data)


def same(a, b):
    return len(a) == len(b) and all((x == y).all() for pair in zip(a, b) for x, y in zip(*pair))


def joined(parts):
    """The batches of several ranks, joined."""
    return [tuple(np.concatenate(column) for column in zip(*batches)) for batches in zip(*parts)]


def test_batches_have_the_promised_shapes():
    batch, *_ = epoch(0)
    assert batch.images.shape == (4, 16, 16, 3) and batch.images.dtype == np.uint8
    assert batch.labels.shape == (4, 16, 16) and batch.labels.dtype == np.uint8
    assert batch.boxes.shape == (4, 4) and batch.indices.shape == (4,)


def test_order_and_augmentation_depend_on_seed_and_epoch_alone():
    assert same(epoch(3), epoch(3))
    assert not same(epoch(3), epoch(4)) and not same(epoch(3), epoch(3, seed=6))


@pytest.mark.parametrize("number", [1, 2, 4])
def test_workers_change_nothing(number):
    assert same(epoch(2), epoch(2, workers=number))
    assert same(list(islice(scenes().forever(), 6)), list(islice(scenes(workers=number).forever(), 6)))


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_change_nothing(world):
    """The parts of the ranks, joined, are the batch of one rank, even if the ranks do not divide it."""
    ranks = [list(islice(scenes(rank=r, world=world, workers=r % 2).forever(), 7)) for r in range(world)]
    assert same(joined(ranks), list(islice(scenes().forever(), 7)))
    assert same(joined([epoch(1, rank=r, world=world) for r in range(world)]), epoch(1))


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_a_short_last_batch_repeats_nothing(world):
    seen = []
    for rank in range(world):
        data = scenes(rank=rank, world=world)
        data.set_attrs(shuffle=False, drop_last=False)
        seen += [int(index) for batch in data for index in batch.indices]
    assert sorted(seen) == list(range(10))


def test_an_epoch_counts_up_and_reshuffles():
    data = scenes()
    first, second = list(data), list(data)
    assert data.epoch == 2 and not same(first, second) and same(second, epoch(1))


def test_forever_leaves_no_sample_out_and_continues_over_epochs():
    indices = [int(i) for batch in islice(scenes().forever(), 5) for i in batch.indices]
    assert sorted(indices[:10]) == sorted(indices[10:]) == list(range(10)) and indices[:10] != indices[10:]


@pytest.mark.parametrize("start", [1, 2, 3, 7])
def test_a_resumed_stream_equals_an_uninterrupted_one(start):
    whole = list(islice(scenes().forever(), 9))
    data = scenes(workers=2)
    opened, open_pair = [], data.open_pair
    data.open_pair = lambda index: opened.append(index) or open_pair(index)
    assert same(list(islice(data.forever(start), 9 - start)), whole[start:])
    data.set_attrs(num_workers=0)
    next(data.forever(start))
    assert len(opened) == 4  # earlier samples are not decoded again


def test_a_batch_larger_than_the_dataset():
    data = scenes()
    data.set_attrs(batch_size=25)
    batch = next(data.forever())
    assert len(batch.indices) == 25 and set(batch.indices) == set(range(10))


def test_images_of_different_sizes_come_as_lists():
    class Odd(Scenes):
        def open_pair(self, index):
            read, label = super().open_pair(index)
            return (lambda rows=None: read()[: 10 + index]), label[: 10 + index]

    for number in (0, 2):
        data = Odd("val", 24, 32, count=5, batch_size=2, num_workers=number)
        sizes = [[image.shape[0] for image in batch.images] for batch in data]
        assert sizes == [[10, 11], [12, 13], [14]]


def test_leaving_early_and_starting_again():
    data = scenes(workers=2)
    for _ in range(3):
        stream = data.forever()
        assert same([next(stream)], list(islice(scenes().forever(), 1)))


# --- errors


class Broken(Scenes):
    broken = (3,)

    def open_pair(self, index):
        if index in self.broken:
            raise DataError(f"scene {index} is broken; draw it again")
        return super().open_pair(index)


@pytest.mark.parametrize("number", [0, 2])
def test_an_error_in_a_worker_is_the_same_error_here(number):
    with pytest.raises(DataError, match="scene 3 is broken; draw it again"):
        list(islice(scenes(workers=number, cls=Broken).forever(), 9))


@pytest.mark.parametrize("number", [0, 2])
def test_skip_takes_other_samples_and_reports_it(number, capfd):
    batches = list(islice(scenes(workers=number, cls=Broken, on_bad_sample="skip").forever(), 10))
    assert all(len(batch.indices) == 4 and 3 not in batch.indices for batch in batches)
    assert capfd.readouterr().err.count("skipped (1 so far): scene 3 is broken") == 1
    again = list(islice(scenes(cls=Broken, on_bad_sample="skip").forever(), 10))
    assert same(batches, again)


def test_skip_leaves_samples_out_of_an_epoch():
    data = scenes(cls=Broken, on_bad_sample="skip")
    data.set_attrs(shuffle=False, drop_last=False)
    assert [int(i) for batch in data for i in batch.indices] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_too_much_to_skip_is_an_error():
    class Worse(Broken):
        broken = (3, 4)

    with pytest.raises(DataError, match=r"2 of 10 samples cannot be read, .* leaves out 1 .one, or 1 in 100"):
        list(islice(scenes(workers=2, cls=Worse, on_bad_sample="skip").forever(), 30))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os._exit(3), "ended with exit code 3 while it loaded sample scene_000000[0-9].*--num-workers"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed .signal 9; most likely .* out of memory"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "ended by signal 15"),
    ],
)
def test_the_death_of_a_worker_is_an_error_and_does_not_hang(end, words):
    class Dying(Scenes):
        def open_pair(self, index):
            return end() if index == 3 else super().open_pair(index)

    began = time.time()
    with pytest.raises(DataError, match=words):
        list(islice(scenes(workers=2, cls=Dying).forever(), 9))
    assert time.time() - began < 20


def test_a_bug_keeps_its_traceback():
    class Wrong(Scenes):
        def open_pair(self, index):
            return 1 / 0

    with pytest.raises(RuntimeError, match="(?s)a data worker failed at sample scene.*open_pair.*ZeroDivisionError"):
        next(scenes(workers=1, cls=Wrong).forever())


def test_all_void_samples_are_counted():
    class Void(Scenes):
        def open_pair(self, index):
            read, label = super().open_pair(index)
            return read, np.full_like(label, 255)

    data = scenes(workers=1, cls=Void)
    list(islice(data.forever(), 2))
    assert data.counts["void"] >= 8


def test_errors_about_unknown_names_list_the_known_names():
    with pytest.raises(ValueError, match="unknown dataset 'cityscape5'; choose from .*scenes"):
        dataset_class("cityscape5")
    with pytest.raises(ValueError, match="unknown split 'test' of scenes; choose from train, val"):
        build_dataset("scenes", "test")
    with pytest.raises(ValueError, match="unknown on_bad_sample 'maybe'; choose error or skip"):
        build_dataset("scenes", "train", on_bad_sample="maybe")
    with pytest.raises(ValueError, match="--data-dir /x has no use with --dataset scenes"):
        build_dataset("scenes", "train", data_dir="/x")
    with pytest.raises(ValueError, match="scenes have 9 classes, not 19"):
        build_dataset("scenes", "train", num_classes=19)
