"""The meaning of 255 and other grey values in the labels of a folder, decided from the training labels."""

import numpy as np
import pytest
from PIL import Image

from datasets import base, build_dataset
from datasets.reading import grey_labels
from datasets.reading.image_io import NOTICES, DataError

MASK = np.zeros((12, 16), np.uint8)
MASK[3:9, 4:10] = 1


def write(root, labels, classes="background\nperson\n", split="train"):
    """A folder with these label images, (H, W) or PIL images."""
    for number, label in enumerate(labels):
        label = label if isinstance(label, Image.Image) else Image.fromarray(np.asarray(label, np.uint8))
        for part, image in (("images", Image.new("RGB", label.size, (number, 90, 200))), ("labels", label)):
            path = root / part / split / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    if classes:
        (root / "classes.txt").write_text(classes)
    return root


@pytest.fixture(autouse=True)
def nothing_reported():
    base.REPORTED.clear()
    NOTICES.clear()


def test_masks_of_0_and_255_are_two_classes_and_that_is_printed_once(tmp_path, capfd):
    root = write(tmp_path, [MASK * 255] * 3)
    write(tmp_path, [MASK * 255, MASK * 0], split="val")
    for split in ("train", "val", "all"):
        data = build_dataset("folder", split, root)
        assert data.grey_labels == "binary" and data.ignore_label == 255
        np.testing.assert_array_equal(data.read(0)[1], MASK)
    printed = capfd.readouterr().err
    assert printed.count("255 is read as class 1, 'person'") == 1 and "3 of 3 examined" in printed
    assert build_dataset("folder", "train", root, num_classes=2).grey_labels == "binary"
    (root / "classes.txt").unlink()
    assert build_dataset("folder", "train", root, num_classes=2).grey_labels == "binary"
    assert (build_dataset("folder", "train", root, num_classes=3).read(0)[1] == np.where(MASK, 255, 0)).all()


@pytest.mark.parametrize("mode", ["P", "RGB", "LA", "RGBA"])
def test_the_mode_of_the_file_changes_nothing(tmp_path, mode):
    label = Image.fromarray(MASK * 255)
    if mode == "P":
        label.putpalette(bytes(range(256)) * 3)
    data = build_dataset("folder", "train", write(tmp_path, [label if mode == "P" else label.convert(mode)]))
    assert data.grey_labels == "binary"
    np.testing.assert_array_equal(data.read(0)[1], MASK)


def test_255_beside_0_and_1_stays_void(tmp_path, capfd):
    rim = np.where(MASK == 1, 1, 0)
    rim[0] = 255
    root = write(tmp_path, [np.where(MASK, 255, 0), rim])  # the first file without the second would be a mask
    data = build_dataset("folder", "train", root)
    assert data.grey_labels == "void" and (data.read(0)[1] == np.where(MASK, 255, 0)).all()
    assert build_dataset("folder", "train", write(tmp_path / "b", [MASK])).grey_labels == "numbers"
    assert capfd.readouterr().err == ""


def test_an_explicit_void_label_of_255_is_used_and_its_consequence_reported(tmp_path, capfd):
    root = write(tmp_path, [MASK * 255])
    want = np.where(MASK, 255, 0)
    for options in (dict(ignore_label=255), dict(ignore_label=255, grey_labels="void"), dict(grey_labels="void")):
        data = build_dataset("folder", "train", root, **options)
        assert data.grey_labels == "void" and (data.read(0)[1] == want).all(), options
        assert "'person' never occurs; if 255 is that class" in capfd.readouterr().err, options
        base.REPORTED.clear()
    (root / "classes.txt").unlink()
    for text in ('"ignore_label": 255', '"values": {"0": 0, "1": 1}'):
        (root / "classes.json").write_text('{"names": ["background", "person"], ' + text + "}")
        assert (build_dataset("folder", "train", root).read(0)[1] == want).all()
    (root / "classes.json").write_text('["background", "person"]')
    assert (build_dataset("folder", "train", root).read(0)[1] == MASK).all()


@pytest.mark.parametrize("recorded", ["binary", "numbers"])
def test_evaluation_decides_from_its_own_labels_unless_they_leave_it_open(tmp_path, recorded):
    """A checkpoint passes on its ignore label, 255, and the decision for its own data."""
    of_checkpoint = dict(ignore_label=255, grey_labels=recorded, num_classes=2)
    masks, numbers = write(tmp_path / "masks", [MASK * 255], split="val"), write(tmp_path / "b", [MASK], split="val")
    for root in (masks, numbers):
        np.testing.assert_array_equal(build_dataset("folder", "val", root, **of_checkpoint).read(0)[1], MASK)
    data = build_dataset("folder", "val", masks, ignore_label=255)  # an older checkpoint: 255 was void then
    np.testing.assert_array_equal(data.read(0)[1], np.where(MASK, 255, 0))


def test_a_label_that_contradicts_the_decision_is_an_error_with_the_fix(tmp_path):
    root = write(tmp_path, [MASK * 255])
    rim = MASK.copy()
    rim[0] = 255
    write(tmp_path, [rim], split="val")
    data = build_dataset("folder", "val", root)
    with pytest.raises(
        DataError, match=r"000.png has .*: 1 \(36 pixels\).*examined label files \(1 of 1\).*--ignore-label 255"
    ):
        data.read(0)
    assert (build_dataset("folder", "val", root, ignore_label=255).read(0)[1] == rim).all()


def test_a_mask_with_values_between_names_them(tmp_path):
    noisy = MASK * 255
    noisy[0, :3] = 3, 251, 251
    data = build_dataset("folder", "train", write(tmp_path, [noisy]))
    with pytest.raises(DataError, match=r"3 \(1 pixels\), 251 \(2 pixels\).*mask of 0 and 255.*interpolation or compr"):
        data.read(0)


def test_files_that_do_not_decode_are_ignored(tmp_path):
    root = write(tmp_path, [MASK * 255] * 3)
    (root / "labels/train/001.png").write_bytes(b"version https://git-lfs")
    assert build_dataset("folder", "train", root).grey_labels == "binary" and not NOTICES


def test_many_labels_are_examined_evenly_spread(monkeypatch):
    labels = list(range(1000))
    chosen = grey_labels.spread(labels)
    assert len(chosen) == grey_labels.MOST and chosen == sorted(set(chosen)) and chosen[0] == 0 and chosen[-1] > 990
    assert grey_labels.spread(labels[:9]) == labels[:9]


def test_colours_of_the_class_file_hold_for_grey_labels(tmp_path, capfd):
    root = write(tmp_path / "a", [MASK * 255], "background 0 0 0\nperson 255 255 255\n")
    data = build_dataset("folder", "train", root)
    np.testing.assert_array_equal(data.read(0)[1], MASK)
    assert data.grey_labels == "colours" and "read as the colours of the class file" in capfd.readouterr().err
    values = np.choose(np.arange(192).reshape(12, 16) % 3, [0, 128, 255])
    root = write(tmp_path / "b", [values], "person 255 255 255\nvoid 0 0 0\nroad 128 128 128\n")
    want = np.choose(np.arange(192).reshape(12, 16) % 3, [255, 1, 0])
    np.testing.assert_array_equal(build_dataset("folder", "train", root).read(0)[1], want)
    data = build_dataset("folder", "train", root, num_classes=2, ignore_label=255, grey_labels="colours")
    np.testing.assert_array_equal(data.read(0)[1], want)
    values[0, 0] = 77
    write(tmp_path / "b", [values], None, split="val")
    data = build_dataset("folder", "val", root)
    with pytest.raises(DataError, match=r"RGB \(77, 77, 77\) x 1"):
        data.read(0)


def test_class_numbers_stay_class_numbers_beside_colours(tmp_path):
    three = np.arange(192).reshape(12, 16) % 3
    root = write(tmp_path, [three, np.where(MASK, 255, 0)], "a 0 0 0\nb 128 128 128\nc 255 255 255\n")
    data = build_dataset("folder", "train", root)
    assert data.grey_labels in ("numbers", "void") and (data.read(0)[1] == three).all()
    painted = np.repeat((three * 127.6).astype(np.uint8)[:, :, None], 3, axis=2)
    painted = np.uint8([(0, 0, 0), (128, 128, 128), (255, 255, 255)])[three]
    write(tmp_path, [Image.fromarray(painted)], None, split="val")
    np.testing.assert_array_equal(build_dataset("folder", "val", root).read(0)[1], three)


def test_colours_and_values_in_one_class_file(tmp_path):
    root = write(tmp_path, [MASK * 7], None)
    write(tmp_path, [Image.fromarray(np.uint8([(9, 0, 0), (0, 9, 0)])[MASK])], None, split="val")
    text = '{"names": ["a", "b"], "values": {"0": 0, "7": 1}, "palette": [[9, 0, 0], [0, 9, 0]]}'
    (root / "classes.json").write_text(text)
    for split in ("train", "val"):
        np.testing.assert_array_equal(build_dataset("folder", split, root).read(0)[1], MASK)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("classes.txt", "person\n", "has only the class 'person'"),
        ("classes.txt", "a\na\n", "the class 'a' occurs twice"),
        ("classes.json", '{"names": ["a", "b"], "values": {"900": 1}}', "outside 0..255"),
        ("classes.json", '{"names": ["a", "b"], "palette": [[0, 0], [1, 2, 300]]}', "not three numbers"),
        ("classes.json", '{"names": ["a", "b"], "flip_pairs": [[0, 2]]}', "not a pair of classes 0..1"),
        ("classes.json", '{"names": ["a", "b"], "ignore_label": "no"}', "not an integer"),
        ("classes.json", '{"names": "ab"}', "not a list of names"),
        ("classes.json", "7", "is not a valid class file"),
        ("classes.json", '{"names": ["a", "b"], "palette": 3}', "is not a valid class file"),
        ("classes.json", '{"names": ["a", "b"], "values": [1]}', "is not a valid class file"),
    ],
)
def test_invalid_class_files(tmp_path, name, text, words):
    root = write(tmp_path, [MASK], None)
    (root / name).write_text(text)
    with pytest.raises(DataError, match=words):
        build_dataset("folder", "train", root)


def test_another_number_of_classes_names_the_file(tmp_path):
    with pytest.raises(ValueError, match=r"classes.txt names 2 classes, not 5 \(--num-classes"):
        build_dataset("folder", "train", write(tmp_path, [MASK]), num_classes=5)
