"""labelme JSON -> label maps: every shape, overlaps, embedded images, broken files."""

import io
import json
import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageOps
from support import label_exports as made

from datasets import build_dataset

SMALL = np.random.default_rng(5).random((12, 9)) < 0.6


def write(root, *shapes, **more):
    made.save_photo(root / "a.jpg")
    return made.write_labelme(root / "a.json", list(shapes), **more)


def test_shapes_are_drawn_as_labelme_draws_them(convert, tmp_path):
    """Later shapes cover earlier ones; group_id and flags have no meaning; rectangles may begin at any corner."""
    shapes = [
        made.labelme_shape("car", made.CAR, group_id=3),
        made.labelme_shape("box", [(60.5, 30.2), (20.1, 44.7)], "rectangle", flags={"x": True}),
        made.labelme_shape("wheel", [(25, 20), (31, 24)], "circle"),
        made.labelme_shape("car", made.PERSON, None),
        made.labelme_mask("box", SMALL, 5, 7),
        made.labelme_shape("box", [(1, 1), (9, 1), (9, 4), (1, 4)], "rectangle"),
    ]
    write(tmp_path / "in", *shapes)
    convert(tmp_path / "in")
    assert (tmp_path / "out/classes.txt").read_text() == "background\nbox\ncar\nwheel\n"
    mask = np.zeros(made.SIZE, bool)
    mask[7:19, 5:14] = SMALL
    wanted = made.layers(
        (2, made.drawn("polygon", made.CAR)),
        (1, made.drawn("rectangle", [(20.1, 30.2), (60.5, 44.7)])),
        (3, made.drawn("circle", [(25, 20), (31, 24)])),
        (2, made.drawn("polygon", made.PERSON)),
        (1, mask),
        (1, made.drawn("rectangle", [(1, 1), (9, 4)])),
    )
    np.testing.assert_array_equal(made.only(tmp_path / "out"), wanted)
    assert set(np.unique(wanted)) == {0, 1, 2, 3}


def test_a_circle_has_its_centre_and_a_point_on_the_line(convert, tmp_path):
    write(tmp_path / "in", made.labelme_shape("dot", [(30, 24), (30, 14)], "circle"))
    convert(tmp_path / "in")
    label = made.only(tmp_path / "out")
    rows, columns = np.nonzero(label)
    assert label[24, 30] == 1 and (rows.min(), rows.max(), columns.min(), columns.max()) == (14, 34, 20, 40)


def test_lines_and_points_are_reported_and_left_out(convert, tmp_path):
    lines = [made.labelme_shape("wire", [(1, 1), (40, 40), (50, 2)], "linestrip")] * 2
    write(tmp_path / "in", *lines, made.labelme_shape("eye", [(3, 3)], "point"), made.labelme_shape("car", made.CAR))
    done = convert(tmp_path / "in")
    assert "note: left out, because they have no area: 2 linestrip, 1 point" in done.stdout
    assert (tmp_path / "out/classes.txt").read_text() == "background\ncar\n"


def test_names_that_labelme_reserves(convert, tmp_path):
    shapes = [made.labelme_shape("car", made.CAR), made.labelme_shape("__ignore__", made.PERSON)]
    shapes += [made.labelme_shape("_background_", [(20, 20), (25, 20), (25, 25)])]
    write(tmp_path / "in", *shapes)
    convert(tmp_path / "in")
    wanted = made.layers((1, made.drawn("polygon", made.CAR)), (255, made.drawn("polygon", made.PERSON)))
    wanted[made.drawn("polygon", [(20, 20), (25, 20), (25, 25)])] = 0
    np.testing.assert_array_equal(made.only(tmp_path / "out"), wanted)
    assert json.loads((tmp_path / "out/classes.json").read_text())["names"] == ["background", "car"]


def test_an_embedded_image_and_a_windows_path(convert, tmp_path):
    data = io.BytesIO()
    Image.fromarray(made.photo(3)).save(data, "PNG")
    shape = made.labelme_shape("car", made.CAR)
    made.write_labelme(tmp_path / "in/one.json", [shape], "..\\gone\\one.png", data=data.getvalue())
    made.save_photo(tmp_path / "in/photos/two.jpg", 4)
    made.write_labelme(tmp_path / "in/two.json", [shape], "..\\photos\\two.jpg")
    done = convert(tmp_path / "in", "--val", "0")
    assert "1 images are taken from imageData, because imagePath does not exist" in done.stdout
    assert (tmp_path / "out/images/train/one.png").read_bytes() == data.getvalue()
    assert (tmp_path / "out/images/train/two.jpg").read_bytes() == (tmp_path / "in/photos/two.jpg").read_bytes()
    assert set(made.labels(tmp_path / "out")) == {"train/one", "train/two"}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [made.SIZE, (50, 50)], ids=["wide", "square"])
def test_annotations_of_rotated_photos(convert, tmp_path, orientation, size):
    """labelme shows a photo as its EXIF orientation requires: labels fit the pixels that the project reads."""
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[5:20, 10:40] = 255
    path = tmp_path / "in/a.jpg"
    path.parent.mkdir()
    Image.fromarray(pixels).save(path, quality=95, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))[:, :, 0] > 127
    rows, columns = np.nonzero(upright)
    corners = [(columns.min(), rows.min()), (columns.max(), rows.max())]
    made.write_labelme(tmp_path / "in/a.json", [made.labelme_shape("white", corners, "rectangle")], size=upright.shape)
    convert(tmp_path / "in")
    image, label = build_dataset(split="train", data_dir=str(tmp_path / "out")).read(0)
    np.testing.assert_array_equal(label == 1, image[:, :, 1] > 127)


NAN = made.labelme_shape("car", [(1, float("nan")), (30, 4), (20, 30)])


@pytest.mark.parametrize(
    "shape, words",
    [
        (NAN, "a coordinate is NaN or infinity"),
        (made.labelme_shape("car", made.CAR[:2]), "2 points, and at least 3 are needed"),
        (made.labelme_shape("car", [(1, 2), (1e9, 3), (4, 5)]), "1e+09 is far outside the image"),
        (made.labelme_shape("car", made.CAR[:3], "circle"), "a circle has two points"),
        (made.labelme_shape("car", made.CAR[:3], "rectangle"), "a rectangle has two points"),
        (made.labelme_shape("car", made.CAR, "spiral"), "the shape_type 'spiral' is not known; known are polygon"),
        (made.labelme_mask("car", SMALL, 65, 3), "is not within 48x70"),
        ({**made.labelme_mask("car", SMALL, 5, 3), "mask": "?"}, "its mask is not valid base64"),
        ({**made.labelme_mask("car", SMALL, 5, 3), "points": [[5, 3], [9, 9]]}, "12x9 pixels, and its box 7x5"),
        ({"label": "car", "shape_type": "polygon"}, "'points' is missing"),
        ({"label": "car", "points": "abc"}, "could not convert"),
    ],
)
def test_a_broken_shape_is_named_and_can_be_left_out(refused, convert, tmp_path, shape, words):
    write(tmp_path / "in", made.labelme_shape("person", made.PERSON), shape)
    refused(tmp_path / "in", "a.json, shape 2 (", "of 'car')", words)
    done = convert(tmp_path / "in", "--on-bad-annotation", "skip")
    assert "left out: 1 broken annotations or images: " in done.stdout and words in done.stdout
    wanted = made.layers((2, made.drawn("polygon", made.PERSON)))
    np.testing.assert_array_equal(made.only(tmp_path / "out"), wanted)


def test_other_json_files_and_accents_as_macos_writes_them(convert, tmp_path):
    made.save_photo(tmp_path / "in" / unicodedata.normalize("NFD", "café.jpg"))
    name = unicodedata.normalize("NFC", "café.jpg")
    made.write_labelme(tmp_path / "in/deep/a.json", [made.labelme_shape("car", made.CAR)], name)
    (tmp_path / "in/settings.json").write_text('{"editor": 1}')
    (tmp_path / "in/list.json").write_text("[1, 2]")
    done = convert(tmp_path / "in")
    assert "note: left out: 2 JSON files that are not labelme's" in done.stdout
    assert set(made.labels(tmp_path / "out")) == {"train/deep/a"}


def test_broken_files(refused, convert, tmp_path):
    path = write(tmp_path / "in", made.labelme_shape("person", made.PERSON))
    good = path.read_text()
    for text, words in (
        (good[:200], "a.json is not a valid file of labelme: "),
        (good.replace('"shapes"', '"forms"'), "'shapes' is missing"),
        (good.replace('"imageHeight": 48', '"imageHeight": "x"'), "imageHeight and imageWidth are 'x' and 70"),
        (good.replace('"imageHeight": 48', '"imageHeight": 49'), "is for 49x70 pixels (height x width), and its image"),
        (good.replace('"a.jpg"', '"b.jpg"'), "its image 'b.jpg' is not below"),
    ):
        path.write_text(text)
        refused(tmp_path / "in", str(path), words)
    made.save_photo(tmp_path / "in/c.jpg")
    made.write_labelme(tmp_path / "in/c.json", [made.labelme_shape("car", made.CAR)], "c.jpg")
    done = convert(tmp_path / "in", "--on-bad-annotation", "skip")
    assert "left out: 1 broken annotations or images: " in done.stdout and "1 images (1 train)" in done.stdout
    (tmp_path / "in/c.jpg").write_bytes((tmp_path / "in/c.jpg").read_bytes()[:20])
    refused(
        tmp_path / "in",
        "has no image that can be converted",
        "c.jpg does not decode",
        flags=["--on-bad-annotation", "skip"],
    )
