"""Beacons: the same bytes everywhere, the two halves, and no answer without the beacon in view."""

import zlib

import numpy as np
import pytest

from datasets import build_dataset, training_data
from datasets.find import locate, record, recorded_place
from datasets.scenes import beacons
from datasets.scenes.beacons import FAR, NAMES, SIDE, draw_beacon

CHECKSUMS = [[2649591773, 1006001398], [4093728684, 4260266463], [2952621406, 2150313983]]


def test_same_arguments_give_the_same_bytes_on_every_machine():
    cases = ((0, (65, 65)), (1, (97, 65)), (1_000_003, (65, 129)))
    assert [[zlib.crc32(x.tobytes()) for x in draw_beacon(3, n, *size)[:2]] for n, size in cases] == CHECKSUMS


def test_only_the_pixels_of_the_beacon_depend_on_its_colour():
    for number in range(20):
        red, red_label, places = draw_beacon(0, number, 65, 65, 0)
        blue, blue_label, others = draw_beacon(0, number, 65, 65, 2)
        y, x = places["beacon"]
        changed = np.argwhere((red != blue).any(-1))
        assert places == others and len(changed) > 40
        assert (changed >= (y, x)).all() and (changed < (y + SIDE, x + SIDE)).all()
        assert ((red_label == 255) == (blue_label == 255)).all()
        assert set(np.unique(red_label)) == {0, 255} and set(np.unique(blue_label)) == {2, 255}


def test_the_halves_and_the_distance():
    same_axes = set()
    for number in range(300):
        _, label, places = draw_beacon(1, number, 65, 97)
        y, x = places["region"]
        assert (label[y : y + SIDE, x : x + SIDE] != 255).all() and (label != 255).sum() == SIDE**2
        same = [a == b for a, b in zip(places["region"], places["beacon"])]
        between = [abs(a - b) - SIDE for a, b in zip(places["region"], places["beacon"])]  # pixels
        assert all(one or pixels >= FAR for one, pixels in zip(same, between))
        assert sum(same) == (1 if number % 2 == 0 else 0)
        same_axes.add(tuple(same))
    assert same_axes == {(True, False), (False, True), (False, False)}


@pytest.mark.parametrize("split", ["val", "val_cross", "val_anywhere"])
def test_a_constant_answer_is_right_for_one_third_of_the_pixels(split):
    data = build_dataset("beacons", split)
    counts = sum(np.bincount(data.read(index)[1].ravel(), minlength=256) for index in range(data.total_len))
    assert (counts[: len(NAMES)] == data.total_len // 3 * SIDE**2).all() and data.total_len % 6 == 0


def test_the_halves_of_val_are_its_images_and_none_is_in_train():
    train, val, *halves = (build_dataset("beacons", split) for split in ("train", "val", "val_cross", "val_anywhere"))
    names = {data.sample_name(index) for data in halves for index in range(data.total_len)}
    assert names == {val.sample_name(index) for index in range(val.total_len)} and len(names) == 600
    assert train.number(train.total_len) <= val.first
    assert np.array_equal(halves[1].read(4)[0], val.read(9)[0])


def test_crops_of_training_are_whole_images():
    data = training_data("beacons", "train", (65, 65), batch_size=6, seed=2)
    batch = next(iter(data.forever()))
    assert batch.images.shape == (6, 65, 65, 3) and ((batch.labels != 255).sum((1, 2)) == SIDE**2).all()


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match=f"36x65 is too small .* minimum is {beacons.SMALLEST}"):
        draw_beacon(0, 0, 36, 65)
    with pytest.raises(ValueError, match="--data-dir D has no use with --dataset beacons"):
        build_dataset("beacons", "val", data_dir="D")
    with pytest.raises(ValueError, match="beacons have 3 classes, not 9"):
        build_dataset("beacons", "val", num_classes=9)
    with pytest.raises(ValueError, match="unknown split 'test' of beacons"):
        build_dataset("beacons", "test")


def test_a_checkpoint_leads_to_its_dataset():
    place, line = locate("beacons", None, (65, 65))
    meta = {"data": record(place), "dataset": "beacons", "names": list(NAMES)}
    assert recorded_place(meta, "x.npz", "auto") == (place, "") and not line
    with pytest.raises(ValueError, match="x.npz was trained on beacons; its classes are not those of drawn scenes"):
        recorded_place(meta, "x.npz", "scenes")
