import numpy as np
import pytest

from datasets import build_dataset, dataset_class
from datasets.transforms import TrainTransform


def batches(epoch, workers=0, seed=5):
    data = build_dataset(
        "scenes", "train", 24, 32, count=10, transform=TrainTransform((16, 16), mirror=True), seed=seed
    )
    data.set_attrs(batch_size=4, shuffle=True, drop_last=True, num_workers=workers)
    data.set_epoch(epoch)
    got = [(images.copy(), labels.copy()) for images, labels in data]
    data.terminate()
    return got


def same(a, b):
    return len(a) == len(b) and all((x == y).all() for pair in zip(a, b) for x, y in zip(*pair))


def test_batches_have_the_promised_shapes():
    (images, labels), *_ = batches(0)
    assert images.shape == (4, 3, 16, 16) and images.dtype == np.float32
    assert labels.shape == (4, 16, 16) and labels.dtype == np.int32


def test_order_and_augmentation_depend_on_seed_and_epoch_alone():
    assert same(batches(3), batches(3))
    assert not same(batches(3), batches(4)) and not same(batches(3), batches(3, seed=6))


def test_workers_change_nothing():
    assert same(batches(2, workers=0), batches(2, workers=2))


def test_forever_goes_from_epoch_to_epoch():
    data = build_dataset(
        "scenes", "train", 24, 32, count=4, transform=TrainTransform((16, 16)), batch_size=2, shuffle=True
    )
    stream = data.forever()
    got = [next(stream)[0].copy() for _ in range(6)]
    data.set_epoch(2)
    third = [images.copy() for images, _ in data]
    assert (got[4] == third[0]).all() and (got[5] == third[1]).all()


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown dataset 'cityscape5'; choose from .*scenes"):
        dataset_class("cityscape5")
    with pytest.raises(ValueError, match="unknown split 'test' of scenes; choose from train, val"):
        build_dataset("scenes", "test")
