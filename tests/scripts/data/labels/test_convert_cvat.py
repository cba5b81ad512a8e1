"""CVAT's XML ("CVAT for images 1.1") -> label maps: every shape, z_order, subsets, broken ones."""

import math

import numpy as np
import pytest
from support import label_exports as made

CAR = f'<polygon label="car" source="manual" occluded="0" points="{made.cvat_points(made.CAR)}" z_order="0"/>'
PERSON = f'<polygon label="person" points="{made.cvat_points(made.PERSON)}" z_order="0"></polygon>'
BLOB = np.random.default_rng(2).random((9, 14)) < 0.5


def mask_element(label, mask, left, top, z=0, **more):
    runs = made.coco_counts(mask.T)  # along the rows, unlike COCO's
    size = {"width": mask.shape[1], "height": mask.shape[0], **more}
    text = f'<mask label="{label}" source="manual" rle="{", ".join(map(str, runs))}" left="{left}" top="{top}" '
    return text + " ".join(f'{key}="{value}"' for key, value in size.items()) + f' z_order="{z}"/>'


def write(root, body, **more):
    made.save_photo(root / "images/a.jpg")
    return made.write_cvat(root / "annotations.xml", body, **more)


def test_polygons_masks_boxes_and_ellipses(convert, tmp_path):
    box = '<box label="person" xtl="2.00" ytl="30.50" xbr="20.00" ybr="46.25" z_order="0"/>'
    ellipse = '<ellipse label="car" cx="50.00" cy="40.00" rx="12.00" ry="5.50" z_order="0"/>'
    write(tmp_path / "in", CAR + PERSON + box + ellipse + mask_element("car", BLOB, 20, 3))
    convert(tmp_path / "in")
    assert (tmp_path / "out/classes.txt").read_text() == "background 0 0 0\ncar 0 255 0\nperson 16 32 48\n"
    rows, columns = np.mgrid[:48, :70] + 0.5
    mask = np.zeros(made.SIZE, bool)
    mask[3:12, 20:34] = BLOB
    wanted = made.layers(
        (1, made.centres(made.CAR)),
        (2, made.centres(made.PERSON)),
        (2, (rows >= 30.5) & (rows < 46.25) & (columns >= 2) & (columns < 20)),
        (1, ((columns - 50) / 12) ** 2 + ((rows - 40) / 5.5) ** 2 < 1),
        (1, mask),
    )
    np.testing.assert_array_equal(made.only(tmp_path / "out"), wanted)


@pytest.mark.parametrize("z, top", [((0, 0), 2), ((1, 0), 1), ((0, 1), 2), ((10, 9), 1), ((-1, -2), 1)])
def test_higher_z_order_covers_lower_and_later_covers_earlier(convert, tmp_path, z, top):
    car, person = (text.replace('z_order="0"', f'z_order="{number}"') for text, number in zip((CAR, PERSON), z))
    write(tmp_path / "in", car + person)
    convert(tmp_path / "in")
    parts = [(1, made.centres(made.CAR)), (2, made.centres(made.PERSON))]
    np.testing.assert_array_equal(made.only(tmp_path / "out"), made.layers(*(parts if top == 2 else parts[::-1])))


def test_a_box_is_rotated_clockwise_about_its_centre(convert, tmp_path):
    body = '<box label="car" xtl="20" ytl="20" xbr="50" ybr="28" rotation="30.00" z_order="0"/>'
    write(tmp_path / "in", body)
    convert(tmp_path / "in")
    turn = math.radians(30)
    corners = [
        (35 + x * math.cos(turn) - y * math.sin(turn), 24 + x * math.sin(turn) + y * math.cos(turn))
        for x, y in ((-15, -4), (15, -4), (15, 4), (-15, 4))
    ]
    np.testing.assert_array_equal(made.only(tmp_path / "out"), made.layers((1, made.centres(corners))))


def test_shapes_without_area_are_reported_and_left_out(convert, tmp_path):
    body = '<polyline label="car" points="1.0,2.0;3.0,40.0" z_order="0"/><points label="car" points="3.0,3.0"/>'
    body += '<tag label="car"/><skeleton label="person"><points label="eye" points="1.0,1.0"/></skeleton>'
    write(tmp_path / "in", body + CAR)
    done = convert(tmp_path / "in")
    assert "left out, because they have no area: 1 points, 1 polyline, 1 skeleton, 1 tag" in done.stdout
    np.testing.assert_array_equal(made.only(tmp_path / "out"), made.layers((1, made.centres(made.CAR))))


def test_a_project_with_subsets_and_two_files(convert, tmp_path):
    names = {"Train": "deep/a.jpg", "Validation": "b.jpg", "default": "c.jpg"}
    for number, (subset, name) in enumerate(names.items()):
        made.save_photo(tmp_path / "in/images" / subset / name, number)
        more = f'subset="{subset}" task_id="1"'
        made.write_cvat(tmp_path / f"in/{number}/annotations.xml", CAR, name=name, more=more)
    convert(tmp_path / "in")
    assert set(made.labels(tmp_path / "out")) == {"train/deep/a", "val/b", "train/c"}


def test_an_image_without_annotations_and_no_meta(convert, tmp_path):
    write(tmp_path / "in", "", labels=())
    made.save_photo(tmp_path / "in/images/b.jpg", 1)
    made.write_cvat(tmp_path / "in/b/more.xml", PERSON, labels=(), name="b.jpg")
    done = convert(tmp_path / "in", "--val", "0")
    assert "2 images (2 train), 1 of them without annotations" in done.stdout
    assert (tmp_path / "out/classes.txt").read_text() == "background\nperson\n"
    assert not made.labels(tmp_path / "out")["train/a"].any()


@pytest.mark.parametrize(
    "body, words",
    [
        ('<polygon label="car" points="1.0,2.0;3.0,4.0" z_order="0"/>', "2 points, and at least 3 are needed"),
        ('<polygon label="car" points="1.0,nan;3.0,4.0;5,6" z_order="0"/>', "a coordinate is NaN or infinity"),
        ('<polygon label="car" points="1.0;3.0,4.0;5,6" z_order="0"/>', "points are pairs x,y"),
        ('<polygon label="car" z_order="0"/>', "'points' is missing"),
        ('<box label="car" xtl="a" ytl="1" xbr="2" ybr="3"/>', "could not convert string to float: 'a'"),
        ('<box label="car" xtl="1" ytl="1" xbr="9" ybr="9" rotation="inf"/>', "a rotation is NaN or infinity"),
        ('<polygon label="bus" points="1.0,2.0;3.0,4.0;5,6"/>', "'bus' is not one of the 2 classes: car, person"),
        (mask_element("car", BLOB, 20, 3, width=15), "the RLE has 126 pixels, and its mask of 9x15 135"),
        (mask_element("car", BLOB, 60, 3), "the mask of 9x14 at left 60, top 3 is not within 48x70"),
        (mask_element("car", BLOB, 20, 3).replace('rle="', 'rle="x, '), "invalid literal for int()"),
    ],
)
def test_a_broken_annotation_is_named_and_can_be_left_out(refused, convert, tmp_path, body, words):
    write(tmp_path / "in", PERSON + body)
    refused(tmp_path / "in", "annotations.xml, image 'a.jpg', annotation 2 (", words)
    done = convert(tmp_path / "in", "--on-bad-annotation", "skip")
    assert "left out: 1 broken annotations or images: " in done.stdout
    np.testing.assert_array_equal(made.only(tmp_path / "out"), made.layers((2, made.centres(made.PERSON))))


def test_broken_files(refused, tmp_path):
    path = write(tmp_path / "in", CAR)
    good = path.read_text()
    for text, words in (
        (good[:-30], "annotations.xml is not valid XML ("),
        (good.replace("<image", "<track/><image"), 'is "CVAT for video 1.1"; export it as "CVAT for images 1.1"'),
        (good.replace("image", "pictures"), "has no <image>"),
        (good.replace("#00ff00", "#00ffxy"), "label 'car' has the color '#00ffxy', not #rrggbb"),
        (good.replace('height="48"', 'height="47"'), "is for 47x70 pixels (height x width), and its image"),
        (good.replace('height="48"', 'height="?"'), "invalid literal for int()"),
        (good.replace('name="a.jpg"', 'name="z.jpg"'), "its image 'z.jpg' is not below"),
        (good.replace("<polygon", "<blob").replace("polygon>", "blob>"), "a <blob>, which is not known"),
    ):
        path.write_text(text)
        refused(tmp_path / "in", "annotations.xml", words)
