import numpy as np
import pytest
from PIL import Image

from datasets.scenes import folders
from datasets.scenes.dataset import IGNORE, NAMES, draw_scene
from datasets.scenes.drawing import CAR, PERSON


def test_cityscapes(tmp_path):
    folders.write_cityscapes(tmp_path, count=2, size=(64, 128), seed=4)
    images = sorted(tmp_path.glob("leftImg8bit/*/*/*_leftImg8bit.png"))
    assert len(images) == 6
    for image in images:
        split, city, name = image.parts[-3:]
        stem = name[: -len("_leftImg8bit.png")]
        got, sequence, frame = stem.split("_")
        assert got == city and len(sequence) == len(frame) == 6
        labels = {
            name: np.asarray(Image.open(tmp_path / "gtFine" / split / city / f"{stem}_gtFine_{name}.png"))
            for name in ("labelIds", "instanceIds", "color")
        }
        ids = labels["labelIds"]
        assert Image.open(image).mode == "RGB" and ids.shape == (64, 128) and ids.dtype == np.uint8
        if split == "test":
            assert set(np.unique(ids)) == {3}
            continue
        assert set(np.unique(ids)) <= {7, 8, 11, 17, 20, 21, 23, 24, 26, 3}
        many = labels["instanceIds"].astype(int)
        assert (np.where(many >= 1000, many // 1000, many) == ids).all() and set(
            np.unique(many[many >= 1000] // 1000)
        ) <= {24, 26}
    assert {image.parts[-3] for image in images} == {"train", "val", "test"}


def test_cityscapes_labels_are_those_of_the_scene(tmp_path):
    folders.write_cityscapes(tmp_path, count=1, size=(64, 128), seed=4, splits=("train",))
    label = draw_scene(4, 0, 64, 128)[1]
    ids = np.asarray(Image.open(next(tmp_path.glob("gtFine/train/*/*_labelIds.png"))))
    for number, name in enumerate(NAMES):
        assert (ids[label == number] == folders.CITYSCAPES_IDS[name]).all()
    assert (ids[label == IGNORE] == 3).all()


def test_ade20k(tmp_path):
    root = folders.write_ade20k(tmp_path, count=2, size=(48, 64))
    assert root == tmp_path / "ADEChallengeData2016"
    for split, short in (("training", "train"), ("validation", "val")):
        for number in (1, 2):
            image = Image.open(root / "images" / split / f"ADE_{short}_{number:08d}.jpg")
            label = Image.open(root / "annotations" / split / f"ADE_{short}_{number:08d}.png")
            assert image.size == label.size == (64, 48) and label.mode == "L"
            assert set(np.unique(np.asarray(label))) <= set(folders.ADE20K_VALUES.values())
    assert len((root / "sceneCategories.txt").read_text().split("\n")) == 5


def test_voc(tmp_path):
    root = folders.write_voc(tmp_path, count=2, size=(96, 128), seed=1)
    lists = {
        name: (root / "ImageSets/Segmentation" / f"{name}.txt").read_text().split()
        for name in ("train", "val", "trainval")
    }
    assert len(lists["train"]) == len(lists["val"]) == 2 and sorted(lists["trainval"]) == sorted(
        lists["train"] + lists["val"]
    )
    for stem in lists["trainval"]:
        label, objects = (
            Image.open(root / folder / f"{stem}.png") for folder in ("SegmentationClass", "SegmentationObject")
        )
        assert label.mode == objects.mode == "P" and (root / "JPEGImages" / f"{stem}.jpg").is_file()
        assert label.getpalette()[:6] == [0, 0, 0, 128, 0, 0] and label.getpalette()[-3:] == [224, 224, 192]
        values = np.asarray(label)
        assert set(np.unique(values)) <= {0, 7, 15, 255}
        drawn = draw_scene(1, int(stem[5:]), 96, 128)[1]
        inside = values != 255
        assert (values[inside & (drawn == CAR)] == 7).all() and (values[inside & (drawn == PERSON)] == 15).all()
    assert (values == 255).any()


def test_command_line(run_command, tmp_path):
    done = run_command(
        "python", "scripts/data/make_scenes.py", "--layout", "voc", "--out", tmp_path, "--count", 1, "--size", "32,48"
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("VOCdevkit/VOC2012/JPEGImages/*.jpg"))) == 2


@pytest.mark.parametrize("size", ["0,5", "wide", "1,2,3"])
def test_command_line_names_a_bad_size(run_command, tmp_path, size):
    done = run_command("python", "scripts/data/make_scenes.py", "--layout", "voc", "--out", tmp_path, "--size", size)
    assert done.returncode == 2 and size in done.stderr and "expected H,W" in done.stderr
