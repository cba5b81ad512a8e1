"""COCO JSON -> label maps: polygons, both forms of run lengths, crowds, ids, several files, broken ones."""

import numpy as np
import pytest
from PIL import Image
from support import label_exports as made

CATEGORIES = {7: "person", 90: "car", 3: "dog"}  # classes in the order of their ids: dog, person, car
CAR, PERSON = made.centres(made.CAR), made.centres(made.PERSON)
BLOB = np.zeros(made.SIZE, bool)
BLOB[20:24, 15:50] = True


def counted(mask, compressed):
    counts = made.coco_counts(mask)
    return {"size": list(made.SIZE), "counts": made.coco_string(counts) if compressed else counts}


def write(root, annotations, images=None, categories=None, name="annotations/instances_default.json"):
    images = images or {5: "a.jpg"}
    for number, file in images.items():
        made.save_photo(root / "images" / file, number)
    return made.write_coco(root / name, images, annotations, categories or CATEGORIES)


@pytest.mark.parametrize("form", ["polygons", "counts", "string"])
def test_smaller_annotations_cover_larger_ones(convert, tmp_path, form):
    parts = [(90, made.CAR, CAR), (7, made.PERSON, PERSON)]
    known = [
        (5, number, [made.ring(polygon)] if form == "polygons" else counted(mask, form == "string"), {})
        for number, polygon, mask in parts
    ]
    assert CAR.sum() > PERSON.sum() > BLOB.sum()
    write(tmp_path / "in", [(5, 3, counted(BLOB, True), {}), *known[::-1]])
    convert(tmp_path / "in")
    assert (tmp_path / "out/classes.txt").read_text() == "background\ndog\nperson\ncar\n"
    wanted = made.layers((3, CAR), (2, PERSON), (1, BLOB))
    np.testing.assert_array_equal(made.only(tmp_path / "out"), wanted)


def test_several_polygons_of_one_annotation(convert, tmp_path):
    second = [(60, 2), (69, 2), (69, 9)]
    write(tmp_path / "in", [(5, 90, [made.ring(made.CAR), made.ring(second)], {"area": 1})])
    convert(tmp_path / "in")
    np.testing.assert_array_equal(made.only(tmp_path / "out"), made.layers((3, CAR | made.centres(second))))


@pytest.mark.parametrize("flag, value", [("void", 255), ("class", 2), ("skip", 0)])
def test_crowds(convert, tmp_path, flag, value):
    """A crowd lies below everything, even if it is small."""
    write(tmp_path / "in", [(5, 7, counted(BLOB, False), {"iscrowd": 1}), (5, 90, [made.ring(made.CAR)], {})])
    convert(tmp_path / "in", "--crowd", flag)
    np.testing.assert_array_equal(made.only(tmp_path / "out"), made.layers((value, BLOB), (3, CAR)))


def test_files_are_splits_images_are_in_subfolders_and_ids_differ(convert, tmp_path):
    """As the official folders: images of one name in train2017 and val2017 are told apart by their folder."""
    root, ring = tmp_path / "in", [made.ring(made.CAR)]
    for split, number, categories in (("train2017", 1, {1: "car", 2: "dog"}), ("val2017", 2, {1: "dog", 5: "car"})):
        for name in ("x.jpg", "deep/y.jpg"):
            made.save_photo(root / split / name, number)
        images = {number: "x.jpg", number + 10: "deep/y.jpg"}
        car = 1 if split == "train2017" else 5
        made.write_coco(root / f"annotations/instances_{split}.json", images, [(number, car, ring, {})], categories)
        made.write_coco(root / f"annotations/person_keypoints_{split}.json", images, [(number, 1, [], {})], {1: "dog"})
    done = convert(root)
    labels = made.labels(tmp_path / "out")
    assert set(labels) == {"train/x", "train/deep/y", "val/x", "val/deep/y"} and "2 of them without" in done.stdout
    for split, number in (("train", 1), ("val", 2)):
        np.testing.assert_array_equal(labels[f"{split}/x"], made.layers((1, CAR)))
        assert not labels[f"{split}/deep/y"].any()
        source = root / f"{split}2017/x.jpg"
        assert (tmp_path / f"out/images/{split}/x.jpg").read_bytes() == source.read_bytes(), number


def test_a_folder_for_each_split_with_the_file_inside(convert, tmp_path):
    for split, number in (("train", 1), ("valid", 2), ("test", 3)):
        made.save_photo(tmp_path / "in" / split / "a.jpg", number)
        ring = [made.ring(made.CAR)]
        made.write_coco(
            tmp_path / "in" / split / "_annotations.coco.json", {0: "a.jpg"}, [(0, 1, ring, {})], {1: "car"}
        )
    convert(tmp_path / "in")
    assert set(made.labels(tmp_path / "out")) == {"train/a", "val/a", "test/a"}
    assert (tmp_path / "out/images/val/a.jpg").read_bytes() == (tmp_path / "in/valid/a.jpg").read_bytes()


@pytest.mark.parametrize(
    "segmentation, words",
    [
        ([made.ring(made.CAR)[:4]], "2 points, and at least 3 are needed"),
        ([made.ring(made.CAR)[:7]], "a polygon has 7 numbers"),
        ([[float("nan"), *made.ring(made.CAR)[1:]]], "a coordinate is NaN or infinity"),
        ([], "it has no segmentation"),
        (made.ring(made.CAR), "neither a list of polygons nor an RLE"),
        ({"size": [48, 70], "counts": [5, 6, 7]}, "the RLE has 18 pixels, and its mask of 48x70 3360"),
        ({"size": [48, 70], "counts": "52L"}, "the RLE has"),
        ({"size": [48, 70], "counts": "5\x7f"}, "the compressed RLE has the character"),
        ({"size": [70, 48], "counts": [3360]}, "its RLE is for 70x48 pixels (height x width), its image 48x70"),
        ({"counts": [3360]}, "'size' is missing"),
        ("outline", "neither a list of polygons nor an RLE"),
    ],
)
def test_a_broken_annotation_is_named_and_can_be_left_out(refused, convert, tmp_path, segmentation, words):
    write(tmp_path / "in", [(5, 90, [made.ring(made.CAR)], {}), (5, 7, segmentation, {})])
    refused(tmp_path / "in", "instances_default.json, image 'a.jpg', annotation 101: ", words)
    done = convert(tmp_path / "in", "--on-bad-annotation", "skip")
    assert "left out: 1 broken annotations or images: " in done.stdout
    np.testing.assert_array_equal(made.only(tmp_path / "out"), made.layers((3, CAR)))


def test_broken_files(refused, tmp_path):
    root, good = tmp_path / "in", [(5, 90, [made.ring(made.CAR)], {})]
    path = write(root, good)
    text = path.read_text()
    for changed, words in (
        (text[:-40], "instances_default.json is not a valid file of COCO JSON: "),
        (text.replace('"name": "dog"', '"title": "dog"'), "a category has no whole number `id`, or no `name`"),
        (text.replace('"image_id": 5', '"image_id": 6'), "annotation 100: no image has the id 6"),
        (text.replace('"category_id": 90', '"category_id": 4'), "annotation 100: no category has the id 4"),
        (text.replace('"height": 48', '"height": 40'), "is for 40x70 pixels (height x width), and its image"),
        (text.replace("a.jpg", "b.jpg"), "its image 'b.jpg' is not below"),
        (text.replace('"file_name"', '"name"'), "'file_name' is missing"),
        (text.replace('"id": 90', '"id": 3'), "the id 3 occurs more than once in 'categories'"),
        (text.replace('"image_id": 5', '"image_id": [5]'), "an `image_id` is neither a number nor a text"),
        (text.replace('"licenses": []', '"licenses": ' + "[" * 30000), "is not a valid file of COCO JSON: "),
    ):
        path.write_text(changed)
        refused(root, "instances_default.json", words)


def test_a_category_name_that_occurs_twice_is_one_class(convert, tmp_path):
    known = [(5, 1, [made.ring(made.CAR)], {}), (5, 2, counted(BLOB, True), {})]
    write(tmp_path / "in", known, categories={1: "car", 2: "car"})
    done = convert(tmp_path / "in")
    assert "has the category 'car' more than once: they are one class" in done.stdout
    np.testing.assert_array_equal(made.only(tmp_path / "out"), made.layers((1, CAR | BLOB)))


def test_a_single_file_with_its_images_elsewhere(convert, tmp_path):
    """Its folder, whose name begins with test, does not decide the split."""
    path = write(tmp_path / "in", [(5, 90, [made.ring(made.CAR)], {})])
    path = path.rename(tmp_path / "labels.json")
    (tmp_path / "in").rename(tmp_path / "photos")
    for flags in (["--images", tmp_path / "photos/images"], []):
        convert(path, *flags)
        labels = made.labels(tmp_path / "out")
        assert list(labels) == ["train/a"] and (labels["train/a"] == made.layers((3, CAR))).all()


def test_an_image_that_two_files_annotate(refused, convert, tmp_path):
    """Also one that is in the folder of another split only."""
    ring = [made.ring(made.CAR)]
    write(tmp_path / "in", [(5, 90, ring, {})], name="first.json")
    write(tmp_path / "in", [(5, 7, ring, {})], name="second.json")
    words = "second.json, image 'a.jpg': its image ", "is annotated in", "first.json, image 'a.jpg' as well"
    refused(tmp_path / "in", *words)
    convert(tmp_path / "in", "--on-bad-annotation", "skip")
    assert (made.only(tmp_path / "out") == made.layers((3, CAR))).all()


def test_rotated_photos_whose_size_does_not_change(convert, tmp_path):
    """COCO does not state whether boxes refer to the rotated photo: this is reported."""
    exif = Image.Exif()
    exif[274] = 3
    write(tmp_path / "in", [(5, 90, [made.ring(made.CAR)], {})])
    made.save_photo(tmp_path / "in/images/a.jpg", exif=exif)
    done = convert(tmp_path / "in")
    assert "note: 1 images have an EXIF orientation, and their labels are taken to be drawn on" in done.stdout
    assert (made.only(tmp_path / "out") == made.layers((3, CAR))).all()
