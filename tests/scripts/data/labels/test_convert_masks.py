"""Label images in colours (CVAT's segmentation masks, Pascal VOC) and binary masks of one class each."""

import numpy as np
import pytest
from PIL import Image
from support import label_exports as made

from datasets.voc import NAMES
from models.tables import devkit_palette

CAR, PERSON = made.centres(made.CAR), made.centres(made.PERSON)
WANTED = made.layers((1, CAR), (2, PERSON))
COLOURS = np.uint8([(0, 0, 0), (250, 50, 83), (255, 255, 255)])
LABELMAP = "background:0,0,0::\ncar:250,50,83::\nperson:255,255,255:head,hand:run\n"


def cvat(root, names=("a",), labelmap=LABELMAP, lists=None, mask=COLOURS[WANTED]):
    for number, name in enumerate(names):
        made.save_photo(root / "JPEGImages" / f"{name}.jpg", number)
    lists = {"default": names} if lists is None else lists
    return made.write_cvat_masks(root, {name: mask for name in names}, labelmap, lists)


def palette_image(label, colours):
    image = Image.fromarray(label)
    image.putpalette(np.uint8(colours).tobytes())
    return image


def test_cvat_segmentation_masks(convert, tmp_path):
    """A grey colour that no class number has is changed by one: a grey label must not look painted."""
    cvat(tmp_path / "in")
    done = convert(tmp_path / "in")
    assert "CVAT segmentation mask 1.1" in done.stdout
    assert (tmp_path / "out/classes.txt").read_text() == "background 0 0 0\ncar 250 50 83\nperson 255 255 254\n"
    np.testing.assert_array_equal(made.only(tmp_path / "out"), WANTED)


@pytest.mark.parametrize("form", ["palette", "other palette", "rgba", "numbers"])
def test_colours_are_found_in_any_mode(convert, tmp_path, form):
    mask = {
        "palette": palette_image(WANTED, COLOURS),
        "other palette": palette_image(np.uint8([5, 9, 3])[WANTED], COLOURS[[0, 0, 0, 2, 0, 0, 0, 0, 0, 1]]),
        "rgba": Image.fromarray(COLOURS[WANTED]).convert("RGBA"),
        "numbers": Image.fromarray(WANTED),
    }[form]
    cvat(tmp_path / "in", mask=mask)
    convert(tmp_path / "in")
    np.testing.assert_array_equal(made.only(tmp_path / "out"), WANTED)


def test_grey_values_that_are_colours(convert, tmp_path):
    cvat(tmp_path / "in", labelmap="background:0,0,0::\ncar:255,255,255::\n", mask=np.uint8([0, 255, 0])[WANTED])
    convert(tmp_path / "in")
    np.testing.assert_array_equal(made.only(tmp_path / "out"), (WANTED == 1).astype(np.uint8))


def test_unlabelled_void_and_a_class_void(convert, tmp_path):
    cvat(tmp_path / "in", labelmap="background:0,0,0::\ncar:250,50,83::\nvan:1,2,3::\nvoid:255,255,255::\n")
    convert(tmp_path / "in", "--unlabelled", "void")
    assert (tmp_path / "out/classes.txt").read_text() == "car 250 50 83\nvan 1 2 3\n"
    np.testing.assert_array_equal(made.only(tmp_path / "out"), np.uint8([255, 0, 255])[WANTED])


def test_lists_are_splits(convert, tmp_path):
    lists = {"train": ("a", "deep/b"), "val": ("c",), "trainval": ("a", "deep/b", "c"), "test": ("nothing",)}
    cvat(tmp_path / "in", ("a", "deep/b", "c", "d"), lists=lists)
    done = convert(tmp_path / "in")
    assert set(made.labels(tmp_path / "out")) == {"train/a", "train/deep/b", "val/c"}
    assert "left out: 1 listed images without a mask, such as 'nothing'" in done.stdout
    assert "left out: 1 masks that are in no list, such as 'd'" in done.stdout


def test_voc_without_a_file_of_colours(convert, tmp_path):
    label = WANTED * 7
    label[:3] = 255
    made.save_photo(tmp_path / "in/JPEGImages/a.jpg")
    made.save(tmp_path / "in/SegmentationClass/a.png", palette_image(label, devkit_palette(256)))
    done = convert(tmp_path / "in")
    assert "the colours and names are those of PASCAL VOC" in done.stdout
    lines = (tmp_path / "out/classes.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    np.testing.assert_array_equal(made.only(tmp_path / "out"), label)


@pytest.mark.parametrize("text", ["sky 1 2 3\ncar 250 50 83\nperson 255 255 255\n", LABELMAP])
def test_masks_beside_images_with_colors_in_a_file(convert, tmp_path, text):
    for split in ("train", "val"):
        made.save_photo(tmp_path / f"in/images/{split}/a.jpg", len(split))
        made.save(tmp_path / f"in/masks/{split}/a.png", COLOURS[WANTED])
    (tmp_path / "colors.txt").write_text(text)
    convert(tmp_path / "in", "--colors", tmp_path / "colors.txt")
    labels = made.labels(tmp_path / "out")
    assert set(labels) == {"train/a", "val/a"}
    names = [line.split()[0] for line in (tmp_path / "out/classes.txt").read_text().splitlines()]
    wanted = np.uint8([0, names.index("car"), names.index("person")])[WANTED]
    assert all((label == wanted).all() for label in labels.values()) and names[0] == "background"


def test_broken_colours(refused, convert, tmp_path):
    mask = COLOURS[WANTED]
    mask[5, :30] = 9, 8, 7
    root = cvat(tmp_path / "in", mask=mask)
    words = "1 colours (RGB) that are not those of a class: (9, 8, 7) (30 pixels); the classes are car (250, 50, 83)"
    refused(root, str(root / "SegmentationClass/a.png"), words)
    done = convert(root, "--on-bad-annotation", "skip")
    wanted = WANTED.copy()
    wanted[5, :30] = 255
    np.testing.assert_array_equal(made.only(tmp_path / "out"), wanted)
    assert words in done.stdout
    for text, words in (
        ("car:250,50\n", "labelmap.txt, line 2: 'car:250,50' is neither"),
        ("car:250,50,300::\n", "is neither"),
        ("car\n", "is neither 'name:r,g,b::' nor 'name R G B'"),
        ("car:1,2,3::\nbus:1,2,3::\n", "two classes have the colour (1, 2, 3): ['car', 'bus']"),
        ("", "labelmap.txt has no class"),
    ):
        cvat(root, labelmap=text)
        refused(root, words)
    cvat(root, mask=COLOURS[WANTED][:40])
    refused(root, "a.png is for 40x70 pixels (height x width), and its image", "has 48x70")
    (root / "JPEGImages/a.jpg").unlink()
    refused(root, "a.png: its image 'a' is not below", "give the folder of the images by --images")


def binary(root, form, top=255):
    for split, number in (("train", 1), ("val", 2)):
        made.save_photo(root / f"images/{split}/a_b.jpg", number)
        for name, mask in (("car", CAR), ("old person", PERSON)):
            path = f"{name}/a_b.png" if form == "folders" else f"a_b_{name}.png"
            made.save(root / "masks" / split / path, (mask * top).astype(np.uint8))
    return root


@pytest.mark.parametrize("form", ["folders", "names"])
@pytest.mark.parametrize("top", [1, 255])
def test_binary_masks(convert, tmp_path, form, top):
    done = convert(binary(tmp_path / "in", form, top))
    assert "one binary mask for each class" in done.stdout
    assert (tmp_path / "out/classes.txt").read_text() == "background\ncar\nold person\n"
    labels = made.labels(tmp_path / "out")
    assert set(labels) == {"train/a_b", "val/a_b"} and all((label == WANTED).all() for label in labels.values())


def test_the_order_of_the_classes_decides_where_masks_overlap(convert, tmp_path):
    (tmp_path / "classes.txt").write_text("old person\ncar\nbackground\n")
    convert(binary(tmp_path / "in", "folders"), "--classes", tmp_path / "classes.txt")
    assert (tmp_path / "out/classes.txt").read_text() == "old person\ncar\nbackground\n"
    wanted = np.full(made.SIZE, 2, np.uint8)
    wanted[PERSON] = 0
    wanted[CAR] = 1
    np.testing.assert_array_equal(made.labels(tmp_path / "out")["val/a_b"], wanted)


def test_broken_binary_masks(refused, convert, tmp_path):
    root = binary(tmp_path / "in", "folders")
    path = root / "masks/train/car/a_b.png"
    for pixels, words in (
        (np.uint8([0, 3])[CAR * 1], "it holds the values [0, 3], and a binary mask 0 and 1, or 0 and 255"),
        (COLOURS[WANTED], "it is in colours"),
    ):
        made.save(path, pixels)
        refused(root, f"{path}: {words}")
    made.save(path, (CAR[:, :50] * 255).astype(np.uint8))
    refused(root, "is for 48x50 pixels (height x width), and its image")
    made.save(path.with_name("other.png"), (CAR * 255).astype(np.uint8))
    refused(root, "other.png: it belongs to no image in", flags=["--format", "binary"])
    path.with_name("other.png").unlink()
    path.unlink()
    made.save_photo(root / "images/train/c.jpg", 9)
    done = convert(root)
    assert "left out: 1 images without a mask, such as images/train/c.jpg" in done.stdout
    assert not (made.labels(tmp_path / "out")["train/a_b"] == 1).any()
