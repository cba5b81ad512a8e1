"""scripts/data/verify.py: its table, report, contact sheet, and what it reports as errors and warnings."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from support.scene_roots import SEED, SIZE

from datasets import build_dataset
from datasets.scenes import folders


def verify(script, root, out, *more):
    return script("python", "scripts/data/verify.py", "--data-dir", root, "--out", out, "--workers", "1", *more)


def test_verify_reports_counts_sizes_and_classes(script, tmp_path):
    root = folders.write_cityscapes(tmp_path / "set", 3, SIZE, SEED)
    done = verify(script, root, tmp_path / "out")
    assert done.returncode == 0, done.output
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (
        report["dataset"] == "cityscapes"
        and report["errors"] == []
        and set(report["splits"])
        == {
            "train",
            "val",
            "test",
        }
    )
    train = report["splits"]["train"]
    labels = [build_dataset("cityscapes", "train", root).read(k)[1] for k in range(3)]
    assert train["samples"] == train["decoded"] == 3 and train["sizes"] == {"48x96": 3}
    assert train["classes"]["road"]["share"] == pytest.approx(np.mean([label == 0 for label in labels]))
    assert train["classes"]["car"]["pictures"] == sum((label == 13).any() for label in labels)
    assert train["ignored_share"] == pytest.approx(np.mean([label == 255 for label in labels]))
    assert "train has 3 images, the full Cityscapes 2975" in " ".join(report["warnings"])
    assert "Cityscapes train: 3 samples" in done.stdout and "100%" in done.stderr
    width, height = Image.open(tmp_path / "out/sheet.png").size
    assert width > 700 and height > 1000


def test_verify_names_each_fault_and_fails(script, tmp_path):
    root = folders.write_folder(tmp_path / "set", 4, SIZE, SEED)
    images, labels = sorted((root / "images/train").iterdir()), sorted((root / "labels/train").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:500])
    label = np.asarray(Image.open(labels[1])).copy()
    label[0] = 77
    Image.fromarray(label).save(labels[1])
    Image.fromarray(np.full(SIZE, 255, np.uint8)).save(labels[3])
    val = sorted((root / "images/val").iterdir())[0]
    val.write_bytes(images[2].read_bytes())  # the same image in both splits
    done = verify(script, root, tmp_path / "out")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    report = json.loads((tmp_path / "out/report.json").read_text())
    errors, warnings = report["errors"], " ".join(report["warnings"])
    assert len(errors) == 2 and "truncated or damaged" in errors[0] and "77 (96 pixels)" in errors[1]
    assert "val/scene4 is the same image as train/scene2" in warnings and "1 labels are entirely void" in warnings
    assert report["splits"]["train"]["failed"] == 2 and "2 errors" in done.stdout


def test_verify_of_nothing(script, tmp_path):
    done = verify(script, tmp_path, tmp_path / "out")
    assert done.returncode == 1 and "no known dataset layout" in done.stderr and "Traceback" not in done.stderr
    root = folders.write_lip(tmp_path / "lip", 1, SIZE)
    for path in (root / "train_segmentations").iterdir():
        path.unlink()
    done = verify(script, root, tmp_path / "out")
    assert done.returncode == 1 and "1 of 1 images in" in done.stdout and "have no label" in done.stdout


def test_verify_of_labels_in_unknown_colours(script, tmp_path):
    root = folders.write_folder(tmp_path / "set", 3, SIZE, SEED)
    (root / "classes.txt").write_text("a\nb\n")
    for path in (root / "labels").glob("*/*.png"):
        Image.fromarray(np.uint8([(0, 0, 0), (200, 9, 0)])[np.asarray(Image.open(path)) % 2]).save(path)
    done = verify(script, root, tmp_path / "out")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.output
    lines = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "give one in classes.txt (lines 'name R G B')" in lines[0]  # of both splits
    assert (
        "and 5 more like it" in lines[0]
        and "sheet.png" not in done.stdout
        and not (tmp_path / "out/sheet.png").exists()
    )
    assert len(json.loads((tmp_path / "out/report.json").read_text())["errors"]) == 6


def test_verify_reports_an_error_of_all_splits_once(script, tmp_path):
    root = folders.write_folder(tmp_path / "set", 1, SIZE, SEED)
    (root / "classes.txt").write_text("")
    done = verify(script, root, tmp_path / "out")
    assert done.returncode == 1 and done.stdout.count("is not a valid class file (it has no class)") == 1, done.output


def test_verify_of_a_flat_folder_names_the_split_as_training_does(script, tmp_path):
    root = folders.write_folder(tmp_path / "set", 2, SIZE, SEED, splits=("train",))
    for part in ("images", "labels"):
        (root / part / "train").rename(root / "flat")
        (root / part).rmdir()
        (root / "flat").rename(root / part)
    with pytest.raises(ValueError) as caught:
        build_dataset(split="train", data_dir=root)
    done = verify(script, root, tmp_path / "out")
    assert done.returncode == 1 and "choose it with --split all" in str(caught.value)
    assert f"error: {caught.value}\n" in done.stdout, done.output
    assert verify(script, root, tmp_path / "out", "--split", "all").returncode == 0


def test_verify_warns_of_classes_that_never_occur(script, tmp_path):
    root = folders.write_folder(tmp_path / "set", 2, SIZE, SEED)
    with open(root / "classes.txt", "a") as file:
        file.write("unicorn 1 2 3\n")
    done = verify(script, root, tmp_path / "out")
    words = "train: 1 of 10 classes never occur in the labels: 'unicorn'"
    assert done.returncode == 0 and f"warning: {words}\n" in done.stdout and "val: 1 of 10" not in done.stdout, (
        done.output
    )
    for path in (root / "labels").glob("*/*.png"):
        Image.fromarray((np.asarray(Image.open(path)) % 2 * 255).astype(np.uint8)).save(path)
    (root / "classes.txt").write_text("background\nperson\n")
    done = verify(script, root, tmp_path / "out", "--ignore-label", "255")
    for split in ("train", "val"):
        assert f"{split}: 1 of 2 classes never occur in the labels: 'person'" in done.stdout, done.output
    assert 'leave out --ignore-label, or put this in classes.json: "values": {"0": 0, "255": 1}' in done.stdout


def test_verify_names_labels_without_image_and_images_of_one_name(script, tmp_path):
    root = folders.write_folder(tmp_path / "set", 3, SIZE, SEED)
    images = sorted((root / "images/train").iterdir())
    images[0].unlink()
    done = verify(script, root, tmp_path / "out")
    words = f"1 label files belong to no image: {root / 'labels/train' / images[0].name}"
    assert done.returncode == 0 and words in done.stdout, done.output
    images[1].with_suffix(".jpg").write_bytes(images[1].read_bytes())
    done = verify(script, root, tmp_path / "out")
    assert done.returncode == 1 and "are two images of one name" in done.stdout, done.output


def test_the_contact_sheet_keeps_aspect_ratios(tmp_path):
    from scripts.data.sheet import draw

    class Data:
        names, palette, ignore_label = ("a", "b"), ((0, 0, 0), (250, 0, 0)), 255

    rows = []
    for height, width in ((100, 100), (60, 200), (150, 50)):
        label = np.zeros((height, width), np.uint8)
        side = min(height, width) // 2
        label[:side, :side] = 1  # a square stays one
        rows.append((np.full((height, width, 3), 90, np.uint8), label))
    sheet = np.asarray(draw(rows, Data))
    red = (sheet[:, -(sheet.shape[1] // 3) :] == (250, 0, 0)).all(2)  # the column of labels
    _, _, regions, _ = cv2.connectedComponentsWithStats(red.astype(np.uint8))
    sides = [(width, height) for _, _, width, height, _ in regions[1:] if min(width, height) > 20]  # not the legend
    assert len(sides) == 3 and all(abs(width - height) <= 2 for width, height in sides), sides
