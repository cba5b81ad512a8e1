"""Missing or wrong data is one error that names the file, before training if possible."""

import numpy as np
import pytest
from PIL import Image
from support.scene_roots import COUNT, SEED, SIZE

from datasets import build_dataset, training_data
from datasets.reading import image_io
from datasets.reading.image_io import DataError
from datasets.scenes import folders
from datasets.scenes.dataset import draw_scene


def test_an_unknown_layout_is_described(tmp_path, monkeypatch):
    (tmp_path / "stuff").mkdir()
    with pytest.raises(
        ValueError, match=r"(?s)no known dataset layout; it holds stuff. Known layouts.*cityscapes: leftImg8bit"
    ):
        build_dataset(data_dir=tmp_path)
    with pytest.raises(ValueError, match=rf"convert_labels.py '?{tmp_path}'? NEW_FOLDER$"):
        build_dataset(data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        build_dataset(data_dir=tmp_path / "gone")
    with pytest.raises(DataError, match="is not Cityscapes: neither it, nor .* leftImg8bit.*; it holds stuff"):
        build_dataset("cityscapes", data_dir=tmp_path)
    monkeypatch.delenv("CITYSCAPES_DATASET", raising=False)
    with pytest.raises(ValueError, match="--dataset voc needs --data-dir, the folder that holds JPEGImages"):
        build_dataset("voc")


def test_two_datasets_in_one_folder_need_a_choice(roots, tmp_path):
    for name in ("lip", "coco_stuff"):
        (tmp_path / name).symlink_to(roots[name])
    with pytest.raises(ValueError, match="holds coco_stuff and lip: choose one with --dataset"):
        build_dataset(data_dir=tmp_path)
    assert build_dataset("lip", "val", tmp_path).total_len == COUNT


def test_an_empty_split_names_the_others(tmp_path):
    root = folders.write_cityscapes(tmp_path, 2, SIZE, SEED, splits=("train",))
    with pytest.raises(DataError, match=r"split 'val' of Cityscapes in .* is empty: 0 images.*train \(2\)"):
        build_dataset("cityscapes", "val", root)
    with pytest.raises(ValueError, match="unknown split 'dev' of Cityscapes; choose from train, val"):
        build_dataset("cityscapes", "dev", root)


def test_images_without_labels_are_listed(tmp_path):
    root = folders.write_cityscapes(tmp_path, 4, SIZE, SEED, splits=("train",))
    for path in sorted(root.glob("gtFine/train/*/*_labelIds.png"))[1:3]:
        path.unlink()
    with pytest.raises(DataError, match=r"2 of 4 images in .*leftImg8bit/train have no label.*_gtFine_labelIds.png"):
        build_dataset("cityscapes", "train", root)


def test_other_files_among_the_images_are_ignored(tmp_path):
    root = folders.write_folder(tmp_path, 2, SIZE, SEED)
    for name in ("._scene0.png", ".DS_Store", "Thumbs.db", "notes.txt"):
        for part in ("images", "labels"):
            (root / part / "train" / name).write_bytes(b"x")
    (root / "images" / "train" / "scene0.png").rename(root / "images" / "train" / "scene0.PNG")
    assert build_dataset(data_dir=root).total_len == 2


def test_links_to_folders_are_followed_once(tmp_path):
    root = folders.write_cityscapes(tmp_path / "real", 2, SIZE, SEED, splits=("train",))
    (root / "leftImg8bit" / "train" / "circle").symlink_to(root / "leftImg8bit" / "train")
    (tmp_path / "other").mkdir()
    for part in ("leftImg8bit", "gtFine"):
        (tmp_path / "other" / part).symlink_to(root / part)
    assert build_dataset(data_dir=tmp_path / "other").total_len == 2


def test_a_dangling_link_is_found_before_training(tmp_path):
    root = folders.write_folder(tmp_path, 2, SIZE, SEED)
    (root / "images" / "train" / "scene9.png").symlink_to(tmp_path / "moved" / "scene9.png")
    with pytest.raises(DataError, match="scene9.png is a dangling link to .*moved/scene9.png"):
        build_dataset(data_dir=root)


def one_label(root, change):
    """Rewrite the first label of the training split by `change`."""
    path = sorted((root / "labels" / "train").iterdir())[0]
    change(path, np.asarray(Image.open(path)).copy())
    return build_dataset(data_dir=root, num_workers=0), path


@pytest.fixture
def folder_root(tmp_path):
    return folders.write_folder(tmp_path, 2, SIZE, SEED)


def test_label_values_outside_the_classes(folder_root):
    def change(path, label):
        label[0, :5], label[1, :7] = 33, 19
        Image.fromarray(label).save(path)

    data, path = one_label(folder_root, change)
    with pytest.raises(DataError) as caught:
        data.read(0)
    text = str(caught.value)
    assert str(path) in text and "19 (7 pixels), 33 (5 pixels)" in text and "9 classes" in text and "Probably" in text
    image_io.NOTICES.clear()
    data = build_dataset(data_dir=folder_root, on_bad_label="ignore")
    label = data.read(0)[1]
    assert (label[0, :5] == 255).all() and (label[1, :7] == 255).all() and image_io.NOTICES[0][0] == "bad-label"
    image_io.NOTICES.clear()


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ([26004, 24001], "instance or 16-bit"),
        ([9], "numbered 1..9 with 0 for other"),
        ([100], "another dataset"),
        (list(range(10, 200)), "interpolation or compression"),
    ],
)
def test_the_probable_cause_of_a_bad_label(folder_root, values, cause):
    def change(path, label):
        label = label.astype(np.uint16 if max(values) > 255 else np.uint8)
        label.reshape(-1)[: len(values)] = values
        Image.fromarray(label).save(path)

    data, _ = one_label(folder_root, change)
    with pytest.raises(DataError, match=cause):
        data.read(0)


def test_label_ids_where_train_ids_are_expected(tmp_path):
    root = folders.write_cityscapes(tmp_path, 1, SIZE, SEED, splits=("train",))
    path = next(root.glob("gtFine/train/*/*_labelIds.png"))
    path.rename(str(path).replace("labelIds", "labelTrainIds"))
    with pytest.raises(DataError, match=r"labelTrainIds.png has label values .*these are Cityscapes labelIds"):
        build_dataset(data_dir=root).read(0)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_labels_of_other_dtypes(folder_root, dtype):
    path = sorted((folder_root / "labels" / "train").iterdir())[0]
    label = np.asarray(Image.open(path)).astype(dtype)
    label[0, 0] = -1
    path.unlink()
    Image.fromarray(label).save(path.with_suffix(".tif"))
    words = "float32 numbers" if dtype is np.float32 else r"-1 \(1 pixels\)"
    with pytest.raises(DataError, match=words):
        build_dataset(data_dir=folder_root).read(0)


def test_a_16_bit_label_with_small_values_is_read(folder_root):
    data, _ = one_label(folder_root, lambda path, label: Image.fromarray(label.astype(np.uint16)).save(path))
    np.testing.assert_array_equal(data.read(0)[1], draw_scene(SEED, 0, *SIZE)[1])


def test_a_label_in_the_colours_of_classes_txt(folder_root):
    from datasets.scenes.dataset import PALETTE

    colours = np.zeros((256, 3), np.uint8)
    colours[: len(PALETTE)] = PALETTE

    def change(path, label):
        Image.fromarray(colours[np.where(label == 255, 2, label)]).save(path)

    data, _ = one_label(folder_root, change)
    scene = draw_scene(SEED, 0, *SIZE)[1]
    np.testing.assert_array_equal(data.read(0)[1], np.where(scene == 255, 2, scene))


def test_sizes_that_do_not_match(folder_root):
    data, path = one_label(folder_root, lambda path, label: Image.fromarray(label[:40]).save(path))
    with pytest.raises(DataError, match="scene0.png is 48x96 .*, its label .*scene0.png 40x96.*--resize-labels"):
        data.read(0)
    label = build_dataset(data_dir=folder_root, resize_labels=True).read(0)[1]
    assert label.shape == SIZE
    data, _ = one_label(folder_root, lambda path, label: Image.fromarray(np.zeros((96, 48), np.uint8)).save(path))
    with pytest.raises(DataError, match="turned by exactly 90 degrees"):
        data.read(0)


def test_sizes_are_checked_also_where_only_the_top_is_read(folder_root):
    one_label(folder_root, lambda path, label: Image.fromarray(np.zeros((200, 96), np.uint8)).save(path))
    data = training_data("folder", "train", (10, 10), data_dir=folder_root, batch_size=2, seed=0)
    with pytest.raises(DataError, match="48x96.*200x96"):
        list(zip(data.forever(), range(3)))


def test_an_image_turned_by_exif_is_turned_to_fit(folder_root):
    image = sorted((folder_root / "images" / "train").iterdir())[0]
    upright = Image.open(image).convert("RGB")
    exif = Image.Exif()
    exif[274] = 6
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    image.unlink()
    stored.save(image.with_suffix(".jpg"), exif=exif, quality=95)
    data = build_dataset(data_dir=folder_root)
    got = data.read(0)[0]
    assert got.shape[:2] == SIZE and np.abs(got[:, :, ::-1].astype(int) - np.asarray(upright)).mean() < 8
    image_io.NOTICES.clear()


@pytest.mark.parametrize("label", [254, 256, -1])
def test_impossible_ignore_labels(roots, label):
    with pytest.raises(ValueError, match=f"--ignore-label {label} with 21 classes"):
        build_dataset("voc", "val", roots["voc"], ignore_label=label)
