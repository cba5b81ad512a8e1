"""scripts/data/convert_labels.py: the table, continued and repeated runs, splits, names, classes, refusals."""

import json
import os

import numpy as np
import pytest
from support import label_exports as made

from scripts.data.labels import names
from scripts.data.labels.export import Sample

CAR = made.drawn("polygon", made.CAR)
PERSON = made.drawn("polygon", made.PERSON)


def write(root, count=5, shapes=None):
    for number in range(count):
        made.save_photo(root / f"{number}.jpg", number)
        shape = made.labelme_shape("car", made.CAR) if number else made.labelme_shape("person", made.PERSON)
        made.write_labelme(root / f"{number}.json", shapes or [shape], f"{number}.jpg")
    return root


def times(out):
    return {path.name: os.stat(path).st_mtime_ns for part in ("images", "labels") for path in (out / part).rglob("*.*")}


def test_the_table_and_the_shares(convert, tmp_path):
    done = convert(write(tmp_path / "in", 3), "--val", "0")
    total = 3 * CAR.size
    assert "3 images (3 train), 0 of them without annotations" in done.stdout
    rows = {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines()) if len(words) == 4}
    for name, images, pixels in (("car", 2, 2 * CAR.sum()), ("person", 1, PERSON.sum()), ("(void)", 0, 0)):
        assert rows[name] == [str(images), f"{pixels:,}", f"{100 * pixels / total:.2f}%"]
    assert "100%" in done.stderr and "next: python scripts/data/verify.py --data-dir" in done.stdout


def test_what_is_complete_is_not_written_again(convert, tmp_path):
    root, out = write(tmp_path / "in"), tmp_path / "out"
    table = convert(root).stdout.split("without annotations")[1]
    first = times(out)
    assert len(first) == 10
    done = convert(root)
    assert "5 exist already, 0 to write" in done.stdout and done.stdout.split("without annotations")[1] == table
    assert times(out) == first
    next((out / "labels").rglob("3.png")).unlink()
    assert "4 exist already, 1 to write" in convert(root).stdout
    assert {name for name, time in times(out).items() if first[name] != time} == {"3.png", "3.jpg"}
    convert(root, "--force")
    assert all(time > first[name] for name, time in times(out).items())


def test_an_interrupted_run_is_no_dataset_and_goes_on(convert, refused, script, tmp_path):
    root, out = write(tmp_path / "in"), tmp_path / "out"
    whole = (root / "2.jpg").read_bytes()
    (root / "2.jpg").write_bytes(whole[:30])
    refused(root, "1 of 5 images failed, the others are written: ", "2.jpg does not decode")
    first = times(out)
    assert len(first) == 8 and not (out / "classes.txt").exists() and not list(out.rglob("*.part"))
    done = script("python", "scripts/data/verify.py", "--data-dir", out, "--out", tmp_path / "look")
    assert done.returncode == 1 and "is not completely converted: run the same command" in done.stderr
    (root / "2.jpg").write_bytes(whole)
    (out / "labels/2.png.77.part").write_bytes(b"as a killed run leaves it")
    assert "4 exist already, 1 to write" in convert(root).stdout
    assert not list(out.rglob("*.part"))
    assert first.items() <= times(out).items() and len(made.labels(out)) == 5


def test_changed_annotations_and_settings_are_converted_again(convert, tmp_path):
    root, out = write(tmp_path / "in"), tmp_path / "out"
    convert(root, "--val", "0")
    first = times(out)
    made.write_labelme(root / "1.json", [made.labelme_shape("person", made.PERSON)], "1.jpg")
    (root / "4.json").unlink()
    done = convert(root, "--val", "0")
    assert "3 exist already, 1 to write" in done.stdout and "2 outputs of an earlier run are replaced" in done.stdout
    second = times(out)
    assert {name for name, time in second.items() if time == first[name]} == {
        f"{k}.{end}" for k in (0, 2, 3) for end in ("jpg", "png")
    }
    assert "4.png" not in second and (made.labels(out)["train/1"] == 2 * PERSON).all()
    assert "0 exist already, 4 to write" in convert(root, "--val", "0", "--unlabelled", "void").stdout
    assert (out / "classes.txt").read_text() == "car\nperson\n"


def test_links_worker_processes_and_a_dry_run(script, tmp_path):
    root, out = write(tmp_path / "in"), tmp_path / "out"
    command = ["python", "scripts/data/convert_labels.py", root, out, "--workers", "2", "--link"]
    done = script(*command, "--dry-run")
    assert done.returncode == 0 and not out.exists(), done.stdout + done.stderr
    assert "5 images of 3 classes would be converted: background, car, person" in done.stdout
    done = script(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    links = sorted((out / "images").rglob("*.jpg"))
    assert len(links) == 5 and all(os.readlink(path) == str(root / path.name) for path in links)
    assert len(made.labels(out)) == 5 and "5 exist already" in script(*command).stdout


def test_the_validation_images_depend_on_the_names_alone(convert, tmp_path):
    root = write(tmp_path / "in", 20)
    convert(root, "--val", "0.25")
    first = {name for name in made.labels(tmp_path / "out") if name.startswith("val/")}
    assert len(first) == 5
    convert(root, "--val", "0.25", out=tmp_path / "again")
    assert {name for name in made.labels(tmp_path / "again") if name.startswith("val/")} == first
    made.save_photo(root / "20.jpg", 20)
    made.write_labelme(root / "20.json", [made.labelme_shape("car", made.CAR)], "20.jpg")
    convert(root, "--val", "0.25")
    assert len(first & set(made.labels(tmp_path / "out"))) >= 4
    convert(root, out=tmp_path / "usual")
    assert sum(name.startswith("val/") for name in made.labels(tmp_path / "usual")) == 2


def test_splits_of_the_export_and_val_are_one_too_many(convert, refused, tmp_path):
    for split in ("train", "val"):
        write(tmp_path / "in" / split, 1)
    refused(tmp_path / "in", "--val 0.5: this export has its own validation images", flags=["--val", "0.5"])
    refused(tmp_path / "in", "this export has its own validation images; leave --val out", flags=["--val", "0.5"])
    convert(tmp_path / "in", "--unlabelled", "background")
    assert set(made.labels(tmp_path / "out")) == {"train/0", "val/0"}


def test_class_names_that_classes_txt_cannot_hold(convert, tmp_path):
    names = ["lane 1 2 3", "#1", " car ", "Car", "car"]
    shapes = [made.labelme_shape(name, [(k, 9 * k), (69, 9 * k), (69, 9 * k + 6)]) for k, name in enumerate(names)]
    done = convert(write(tmp_path / "in", 1, shapes))
    assert (tmp_path / "out/classes.txt").read_text() == "background\ncar\n_1\nCar\nlane_1_2_3\n"
    assert "the class 'lane 1 2 3' is written as 'lane_1_2_3'" in done.stdout
    assert "differ only in upper and lower case" in done.stdout
    assert set(np.unique(made.only(tmp_path / "out"))) == {0, 1, 2, 3, 4}


def test_two_classes_and_void_are_not_binary_masks(convert, tmp_path):
    """Labels that hold only 0 and 255 would be read as masks, 255 as class 1."""
    shapes = [made.labelme_shape("void", made.PERSON)]
    (tmp_path / "names.txt").write_text("background\ncar\n")
    done = convert(write(tmp_path / "in", 2, shapes), "--classes", tmp_path / "names.txt", "--val", "0")
    assert all((label == np.where(PERSON, 255, 0)).all() for label in made.labels(tmp_path / "out").values())
    assert "no pixel of 1 of 2 classes: car" in done.stdout
    known = json.loads((tmp_path / "out/classes.json").read_text())
    assert known == {"names": ["background", "car"], "ignore_label": 255}


def test_the_file_of_classes(convert, refused, tmp_path):
    root = write(tmp_path / "in", 2)
    (tmp_path / "names.txt").write_text("person\ndog\ncar\n")
    convert(root, "--classes", tmp_path / "names.txt", "--unlabelled", "void", "--val", "0")
    assert (tmp_path / "out/classes.txt").read_text() == "person\ndog\ncar\n"
    labels = made.labels(tmp_path / "out")
    assert (labels["train/0"] == np.where(PERSON, 0, 255)).all() and (labels["train/1"] == np.where(CAR, 2, 255)).all()
    done = convert(root, "--classes", tmp_path / "names.txt", "--val", "0")
    assert "the class background, which --classes does not list, is number 0, before those of the file" in done.stdout
    (tmp_path / "names.txt").write_text("person\ndog\n")
    words = "1.json, shape 1 (polygon of 'car'): 'car' is not one of the 1 classes: person"
    refused(root, words, flags=["--classes", tmp_path / "names.txt"])
    (tmp_path / "names.txt").write_text("")
    refused(root, "names.txt is not a valid class file", flags=["--classes", tmp_path / "names.txt"])


def test_too_few_and_too_many_classes(refused, tmp_path):
    root = write(tmp_path / "in", 1)
    refused(root, "1 classes (person), and 2 to 254 are possible", flags=["--unlabelled", "void"])
    many = [made.labelme_shape(f"c{k}", made.CAR) for k in range(255)]
    refused(write(tmp_path / "many", 1, many), "256 classes (background, c0")


def test_places_that_are_refused(refused, convert, tmp_path):
    root, out = write(tmp_path / "in", 1), tmp_path / "out"
    refused(tmp_path / "gone", "gone does not exist")
    (tmp_path / "a.zip").write_bytes(b"PK")
    refused(tmp_path / "a.zip", "is an archive; unpack it")
    out.mkdir()
    (out / "notes.txt").write_text("x")
    refused(root, "holds files that this script did not write (no convert.json)")
    done = convert(root, code=1, out=root)
    assert "is the folder of the export: choose another folder" in done.stderr
    done = convert(root, code=1, out=tmp_path / "a.zip")
    assert "a.zip is a file; give a folder to write to" in done.stderr
    (out / "notes.txt").rename(out / "convert.json")
    refused(root, "convert.json is damaged; delete ")


def test_a_folder_inside_the_export_is_not_searched(convert, tmp_path):
    root = write(tmp_path / "in")
    convert(root, out=root / "converted")
    first = times(root / "converted")
    assert "5 exist already, 0 to write" in convert(root, out=root / "converted").stdout
    assert times(root / "converted") == first and len(made.labels(root / "converted")) == 5


def test_what_is_no_export_or_several(refused, convert, tmp_path):
    made.save_photo(tmp_path / "in/a.jpg")
    for flags, words in (((), "is not an export that can be converted"), (["--format", "coco"], "not of the format")):
        done = convert(tmp_path / "in", *flags, code=1)
        assert words in done.stderr and "it holds a.jpg. Known formats:\n  cvat: CVAT for images 1.1 (" in done.stderr
    write(tmp_path / "in", 1)
    made.write_cvat(tmp_path / "in/annotations.xml", "")
    refused(tmp_path / "in", "may be cvat or labelme: choose one with --format")
    convert(tmp_path / "in", "--format", "labelme")


def test_names_of_files_are_safe_and_unique():
    def written(*wanted):
        return names.unique([Sample(name, "", "", None, split="train") for name in wanted])

    unsafe = [
        "../../etc/a.jpg",
        "C:\\x\\b.png",
        "https://host/c.jpg?d=1",
        ".hidden/-e.jpg",
        "f\n\tg.jpg",
        "h\ud800.jpg",
    ]
    wanted = ["etc/a", "C_/x/b", "https_/host/c.jpg_d=1", "_hidden/_e", "f__g", "h_"]
    outputs, lines = written(*unsafe)
    assert outputs == wanted and lines[0].startswith("6 images have another name here")
    outputs, _ = written("a.jpg", "a.png", "A.jpg", "a_mask.jpg", "b/a.jpg")
    assert outputs == ["a", "a_2", "A_3", "a_mask_2", "b/a"]
    assert written("é 1 (2).jpg", "b.tar.png", "train/c.jpg") == (["é 1 (2)", "b.tar", "c"], [])
    long = written("x" * 400 + ".jpg", "x" * 401 + ".jpg")[0]
    assert len(set(long)) == 2 and all(len(name) <= 150 for name in long)


@pytest.mark.parametrize("form", ["labelme", "coco", "cvat", "cvat-masks", "binary", "colors"])
def test_verify_names_the_command(script, convert, tmp_path, form):
    root, label = tmp_path / "my export", made.layers((1, CAR), (2, PERSON))
    made.save_photo(root / ("images" if form in ("binary", "colors", "coco") else "JPEGImages") / "a.jpg")
    if form == "labelme":
        made.write_labelme(root / "a.json", [made.labelme_shape("car", made.CAR)])
    elif form == "coco":
        made.write_coco(root / "annotations/x.json", {1: "a.jpg"}, [(1, 1, [made.ring(made.CAR)], {})], {1: "car"})
    elif form == "cvat":
        made.write_cvat(root / "annotations.xml", "<box label='car' xtl='1' ytl='2' xbr='30' ybr='40'/>")
    elif form == "cvat-masks":  # Pascal VOC's folders
        colours = np.uint8([(0, 0, 0), (1, 2, 3), (4, 5, 6)])
        made.write_cvat_masks(root, {"a": colours[label]}, "car:1,2,3::\nperson:4,5,6::\n", {"train": ["a"]})
    elif form == "binary":
        made.save(root / "masks/car/a.png", (CAR * 255).astype(np.uint8))
    else:
        made.save(root / "masks/a.png", np.uint8([(0, 0, 0), (128, 0, 0), (0, 128, 0)])[label])
    done = script("python", "scripts/data/verify.py", "--data-dir", root, "--out", tmp_path / "look")
    assert done.returncode == 1 and "is an export of labels" in done.stderr and "Traceback" not in done.stderr
    command = f"python scripts/data/convert_labels.py '{root}' '{root}_converted'"
    assert done.stderr.strip().endswith(f"convert it first: {command}"), done.stderr
    convert(root, out=f"{root}_converted")
    done = script("python", "scripts/data/verify.py", "--data-dir", f"{root}_converted", "--out", tmp_path / "look")
    assert "0 errors" in done.stdout, done.stdout + done.stderr
