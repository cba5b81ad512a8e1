"""List files of other projects, and pairs by name."""

import pytest
from PIL import Image

from datasets import build_dataset
from datasets.reading import pairs
from datasets.reading.image_io import DataError
from datasets.scenes import folders

SIZE = (16, 24)


@pytest.fixture
def city(tmp_path):
    return folders.write_cityscapes(tmp_path / "cs", 3, SIZE, splits=("train", "val"))


def relative(root, split, sep):
    lines = []
    for image in sorted((root / "leftImg8bit" / split).glob("*/*.png")):
        label = str(image).replace("leftImg8bit", "gtFine", 1).replace("_leftImg8bit", "_gtFine_labelIds")
        lines.append(f"{image.relative_to(root)}{sep}{label[len(str(root)) + 1 :]}")
    return lines


def with_list(root, name, tmp_path, text, dataset="cityscapes", **options):
    path = tmp_path / "some.lst"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return build_dataset(dataset, name, root, data_list=path, **options)


@pytest.mark.parametrize("sep", ["\t", " ", "   "])
def test_the_official_lists(city, tmp_path, sep):
    data = with_list(city, "train", tmp_path, "\n".join(relative(city, "val", sep)))
    assert data.pairs == build_dataset("cityscapes", "val", city).pairs


def test_a_list_may_lie_in_the_root_and_be_relative(city):
    (city / "val.lst").write_text("\n".join(relative(city, "val", "\t")))
    assert build_dataset("cityscapes", "train", city, data_list="val.lst").total_len == 3


def test_byte_order_marks_blank_lines_and_line_ends_are_accepted(city, tmp_path):
    lines = relative(city, "train", "\t")
    text = "\ufeff" + "\r\n\r\n".join(lines) + "  \r\n \n# the end\n"
    assert with_list(city, "train", tmp_path, text.encode("utf-8")).total_len == 3


def test_one_column_is_names_or_images_without_label(city, tmp_path):
    names = [line.split("\t")[0] for line in relative(city, "train", "\t")]
    data = with_list(city, "train", tmp_path, "\n".join(names))
    assert data.total_len == 3 and all(label is None for _, label in data.pairs)
    stems = [name.rsplit("/", 1)[1].replace("_leftImg8bit.png", "") for name in names]
    data = with_list(city, "train", tmp_path, "\n".join(stems))
    assert data.pairs == build_dataset("cityscapes", "train", city).pairs


def test_names_with_blanks(tmp_path):
    root = folders.write_folder(tmp_path / "own set", 2, SIZE)
    for part in ("images", "labels"):
        for path in sorted((root / part / "train").iterdir()):
            path.rename(path.with_name(path.name.replace("scene", "my scene ")))
    lines = [f"images/train/my scene {k}.png labels/train/my scene {k}.png" for k in range(2)]
    assert with_list(root, "train", tmp_path, "\n".join(lines), "folder").total_len == 2
    assert build_dataset(data_dir=root).total_len == 2


def test_deeplab_lists_begin_with_a_slash(tmp_path):
    root = folders.write_voc(tmp_path, 2, SIZE)
    text = "/JPEGImages/2007_000000.jpg /SegmentationClass/2007_000000.png\n"
    data = with_list(root, "train", tmp_path, text, "voc")
    assert data.pairs[0][1] == root / "SegmentationClass/2007_000000.png"


def test_lists_of_ids_as_in_the_voc_devkit(tmp_path):
    root = folders.write_voc(tmp_path, 2, SIZE)
    assert with_list(root, "train", tmp_path, "2007_000002\n2007_000001\n", "voc").sample_name(0) == "2007_000002"


def test_segnet_lists_with_paths_of_another_machine(tmp_path):
    root = folders.write_segnet(tmp_path / "x", 2, SIZE)
    data = build_dataset("camvid", "train", root, data_list=root / "test.txt")
    assert data.pairs == build_dataset("camvid", "test", root).pairs


def test_absolute_paths_are_used_unchanged(city, tmp_path):
    a, b = build_dataset("cityscapes", "val", city).pairs[0]
    assert with_list(city, "train", tmp_path, f"{a}\t{b}\n").pairs == [(a, b)]


def test_invalid_lists(city, tmp_path):
    with pytest.raises(DataError, match="--data-list gone.lst is not a file, neither here nor in"):
        build_dataset("cityscapes", "train", city, data_list="gone.lst")
    with pytest.raises(DataError, match="is an empty list"):
        with_list(city, "train", tmp_path, "\n# nothing\n")
    lines = relative(city, "train", "\t")
    lines[1] = lines[1].replace("alderburg_", "alder_")
    with pytest.raises(DataError, match="1 of 3 lines of .*some.lst name no file below .*alder_"):
        with_list(city, "train", tmp_path, "\n".join(lines))


def test_a_dangling_link_in_a_list_is_reported(tmp_path):
    root = folders.write_folder(tmp_path / "set", 1, SIZE)
    (root / "images" / "train" / "a.png").symlink_to("/gone/a.png")
    with pytest.raises(DataError, match="a.png is a dangling link to /gone/a.png"):
        with_list(root, "train", tmp_path, "images/train/a.png labels/train/scene0.png\n", "folder")


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("a/berlin_0_1_leftImg8bit.png", "a/berlin_0_1"),
        ("berlin_0_1_gtFine_labelIds.png", "berlin_0_1"),
        ("berlin_0_1_gtCoarse_labelTrainIds.png", "berlin_0_1"),
        ("x_labelTrainIds.png", "x"),
        ("0001TP_008550_L.png", "0001TP_008550"),
        ("photo_mask.PNG", "photo"),
        ("photo.v2.jpeg", "photo.v2"),
        ("2007_000032", "2007_000032"),
    ],
)
def test_stems(name, want):
    assert pairs.stem(name) == want


def test_the_first_fitting_label_counts(tmp_path):
    for name in ("a.png", "a_labelTrainIds.png", "a_color.png"):
        folders.write(tmp_path / "labels" / name, Image.new("L", (2, 2)))
    folders.write(tmp_path / "images" / "a.jpg", Image.new("RGB", (2, 2)))
    for ends, want in ((("_labelTrainIds.png", ".png"), "a_labelTrainIds.png"), ((".png",), "a.png")):
        assert pairs.match(tmp_path / "images", tmp_path / "labels", "", ends)[0][1].name == want
