"""--dataset folder: your own images and labels, with classes from a file or from --num-classes."""

import numpy as np
import pytest
from support.scene_roots import COUNT, SEED, SIZE

from datasets import build_dataset, detect
from datasets.reading.image_io import DataError
from datasets.scenes import folders
from datasets.scenes.dataset import NAMES, draw_scene


def test_folder_takes_names_colours_and_void_from_classes_txt(roots, tmp_path):
    (tmp_path / "images").symlink_to(roots["folder"] / "images")
    (tmp_path / "labels").symlink_to(roots["folder"] / "labels")
    lines = ["# my classes", "void"] + [f"{name} thing" for name in NAMES[1:]]
    (tmp_path / "classes.txt").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    data = build_dataset("folder", "val", tmp_path)
    assert data.names == tuple(f"{name} thing" for name in NAMES[1:])
    scene = draw_scene(SEED, COUNT, *SIZE)[1]
    np.testing.assert_array_equal(data.read(0)[1], np.where((scene == 0) | (scene == 255), 255, scene - 1))


def test_folder_takes_values_and_pairs_from_classes_json(roots, tmp_path):
    (tmp_path / "images").symlink_to(roots["folder"] / "images")
    (tmp_path / "labels").symlink_to(roots["folder"] / "labels")
    text = '{"names": ["a", "b"], "values": {"0": 1, %s}, "flip_pairs": [[0, 1]], "ignore_label": 200}'
    (tmp_path / "classes.json").write_text(text % ", ".join(f'"{k}": 0' for k in range(1, 9)))
    data = build_dataset("folder", "val", tmp_path)
    scene = draw_scene(SEED, COUNT, *SIZE)[1]
    assert data.flip_pairs == ((0, 1),) and data.ignore_label == 200
    np.testing.assert_array_equal(data.read(0)[1], np.where(scene == 255, 200, scene == 0))
    assert build_dataset("folder", "val", tmp_path, ignore_label=255).ignore_label == 255


@pytest.mark.parametrize(
    ("name", "text"),
    [("classes.json", '{"classes": 3}'), ("classes.json", "{"), ("classes.txt", "a 1 2 3\nb\n"), ("classes.txt", "\n")],
)
def test_folder_with_an_invalid_class_file(roots, tmp_path, name, text):
    (tmp_path / "images").symlink_to(roots["folder"] / "images")
    (tmp_path / "labels").symlink_to(roots["folder"] / "labels")
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=f"{name} is not a valid class file"):
        build_dataset("folder", "val", tmp_path)


def test_folder_without_a_class_file(roots, tmp_path):
    (tmp_path / "images").symlink_to(roots["folder"] / "images")
    (tmp_path / "labels").symlink_to(roots["folder"] / "labels")
    with pytest.raises(DataError, match="put classes.txt there .* or give --num-classes"):
        build_dataset("folder", "val", tmp_path)
    data = build_dataset("folder", "val", tmp_path, num_classes=9)
    assert data.names[8] == "class 8" and data.read(0)[1].max() == 255
    data = build_dataset("folder", "val", tmp_path, num_classes=8)
    with pytest.raises(DataError, match=r"label values that are not a class.* 8 \(\d+ pixels\).*numbered 1..8 with 0"):
        [data.read(index) for index in range(COUNT)]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/validation", "annotations/validation"),
        ("img_dir/val", "ann_dir/val"),
        ("val", "valannot"),
        ("val/images", "val/masks"),
        ("images/valid", "masks/valid"),
    ],
)
def test_folder_in_other_layouts(roots, tmp_path, images, labels):
    for name, source in ((images, "images"), (labels, "labels")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(roots["folder"] / source / "val")
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    assert detect(tmp_path) == "folder" and build_dataset(split="val", data_dir=tmp_path).total_len == COUNT


def test_names_of_samples_are_unique(tmp_path):
    for place in ("a", "b"):
        root = folders.write_folder(tmp_path / place, 2, SIZE, SEED)
        for part in ("images", "labels"):
            (tmp_path / "all" / part / "train").mkdir(parents=True, exist_ok=True)
            (tmp_path / "all" / part / "train" / place).symlink_to(root / part / "train")
    (tmp_path / "all" / "classes.txt").write_text("\n".join(NAMES))
    data = build_dataset(data_dir=tmp_path / "all")
    assert [data.sample_name(k) for k in range(4)] == [f"images_train_{p}_scene{k}" for p in "ab" for k in range(2)]
    data = build_dataset(data_dir=tmp_path / "a")
    assert [data.sample_name(k) for k in range(2)] == ["scene0", "scene1"]


def test_flat_folder_with_lists_or_as_a_whole(roots, tmp_path):
    (tmp_path / "images").symlink_to(roots["folder"] / "images" / "val")
    (tmp_path / "labels").symlink_to(roots["folder"] / "labels" / "val")
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    assert build_dataset("folder", "all", tmp_path).total_len == COUNT
    with pytest.raises(DataError, match=r"split 'train'.* is empty.*images: all \(3\); choose it with --split all"):
        build_dataset("folder", "train", tmp_path)
    (tmp_path / "train.txt").write_text("scene3\n\nscene4.png\n")
    assert build_dataset("folder", "train", tmp_path).total_len == 2
