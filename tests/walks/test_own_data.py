"""From your own images and labels to predictions: verify, pack, train, evaluate, predict."""

import csv
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from walks.places import ROOT

SIZES = ((60, 80), (48, 100), (90, 50))  # height x width
COLOURS = np.uint8([(0, 128, 0), (200, 30, 90)])
CLASSES = {"background", "person"}
TRAIN = "--device cpu --model ccnet_r18 --input-size 33,33 --batch-size 2 --num-steps 2 --random-mirror".split()
EVALUATE = "--device cpu --restore-from run/CS_scenes_2.npz".split()


def mask_of(index):
    height, width = SIZES[index % 3]
    mask = np.zeros((height, width), np.uint8)
    mask[5 : height - 10 - index, 8 : width // 2 + index] = 1
    return mask


def palette_image(mask):
    image = Image.fromarray(mask)
    image.putpalette(COLOURS.tobytes())
    return image


LABELS = {  # five ways to save the same two classes: (label image, classes.txt)
    "numbers": (Image.fromarray, "background\nperson\n"),
    "masks": (lambda mask: Image.fromarray(mask * 255), "background\nperson\n"),
    "colours": (lambda mask: Image.fromarray(COLOURS[mask]), "background 0 128 0\nperson 200 30 90\n"),
    "grey": (lambda mask: Image.fromarray(mask * 200 + 20), "background 20 20 20\nperson 220 220 220\n"),
    "palette": (palette_image, "background\nperson\n"),
}


def write_folder(root, form):
    """images/<split>/*.jpg and labels/<split>/*_mask.png of several sizes. -> pixels of each class in val."""
    save, classes = LABELS[form]
    pixels = np.zeros(2, int)
    for split, numbers in (("train", range(5)), ("val", range(5, 8))):
        for number in numbers:
            mask = mask_of(number)
            noise = np.random.default_rng(number).integers(0, 60, (*mask.shape, 3))
            image = Image.fromarray((noise + 150 * mask[:, :, None]).astype(np.uint8))
            for folder, name, file in (
                ("images", f"Bild {number}.JPG", image),
                ("labels", f"Bild {number}_mask.png", save(mask)),
            ):
                path = root / folder / split / name
                path.parent.mkdir(parents=True, exist_ok=True)
                file.save(path)
            pixels += np.bincount(mask.ravel(), minlength=2) * (split == "val")
    (root / "classes.txt").write_text(classes)
    return pixels


@pytest.fixture
def walk(run_command, tmp_path):
    """Run a script of this project in a new folder -> its output; the exit code must be `code`."""

    def call(script, *arguments, code=0):
        done = run_command("python", ROOT / script, *arguments, cwd=tmp_path)
        output = done.stdout + done.stderr
        message = f"{script}: exit {done.returncode}\n{output[-3000:]}"
        assert done.returncode == code and "Traceback" not in output, message
        return output

    return call


def true_pixels(folder):
    """Pixels of each true class, from the confusion matrix of an evaluation."""
    rows = list(csv.reader((folder / "confusion.csv").read_text().splitlines()))
    return [sum(int(float(cell)) for cell in row[1:]) for row in rows[1:]]


@pytest.mark.parametrize("form", LABELS)
def test_two_classes_however_they_are_saved(walk, tmp_path, form):
    data, packed = tmp_path / "meine Bilder", tmp_path / "packed"
    pixels = write_folder(data, form)
    output = walk("scripts/data/verify.py", "--data-dir", data, "--out", "look")
    assert "0 errors, 0 warnings" in output and (tmp_path / "look/sheet.png").is_file()
    assert output.count("255 is read as class 1, 'person'") == (form == "masks")
    assert output.count("values are read as the colours") == (form == "grey")
    walk("scripts/data/pack.py", "--data-dir", data, "--out", packed)
    walk("train.py", "--data-dir", packed, *TRAIN, "--snapshot-dir", "run")
    scores = []
    for place in (data, packed) if form == "masks" else (data,):
        walk("evaluate.py", *EVALUATE, "--data-dir", place, "--save-dir", f"{place.name} out")
        assert true_pixels(tmp_path / f"{place.name} out") == pixels.tolist()
        result = json.loads((tmp_path / f"{place.name} out/result.json").read_text())
        assert result["images"] == 3 and set(result["iou"]) == CLASSES
        scores.append(result["iou"])
    assert scores[0] == scores[-1]


def test_a_packed_folder_with_the_flags_of_the_data(walk, tmp_path):
    write_folder(tmp_path / "data", "masks")
    walk("scripts/data/pack.py", "--data-dir", "data", "--out", "packed", "--resize-labels")
    flags = "--on-bad-sample skip --num-workers 1 --num-classes 2 --ignore-label 255 --eval-every 2".split()
    output = walk("train.py", "--data-dir", "packed", *TRAIN, "--snapshot-dir", "run", *flags)
    assert '"best"' in output
    for flags, words in (
        (["--cache", "ram"], "--cache ram has no use with a packed folder, which is mapped into memory: leave it out"),
        (["--resize-labels"], "--resize-labels comes too late for packed: its labels were decoded when it was packed"),
        (["--on-bad-label", "ignore"], "--on-bad-label ignore comes too late"),
        (["--data-list", "few.txt"], "--data-list does not work on a packed folder: pack the list"),
        (["--num-classes", "3"], "packed was packed with --num-classes 2, not 3"),
        (["--ignore-label", "0"], "packed was packed with --ignore-label 255, not 0"),
        (["--split", "all"], "unknown split 'all' of packed; choose from train, val"),
    ):
        assert words in walk("train.py", "--data-dir", "packed", *TRAIN, "--snapshot-dir", "run2", *flags, code=1)


def test_a_checkpoint_remembers_that_255_was_void(walk, tmp_path):
    pixels = write_folder(tmp_path / "data", "masks")
    walk("train.py", "--data-dir", "data", *TRAIN, "--snapshot-dir", "run", "--ignore-label", "255")
    output = walk("evaluate.py", *EVALUATE, "--data-dir", "data", "--save-dir", "out")
    assert (
        true_pixels(tmp_path / "out") == [pixels[0], 0]
        and "255 is void, as in the data of the checkpoint: 'person' never" in output
    )


def test_a_flat_folder_is_verified_and_trained_as_a_whole(walk, tmp_path):
    write_folder(tmp_path / "data", "numbers")
    for part in ("images", "labels"):
        for path in sorted((tmp_path / "data" / part).glob("*/*")):
            path.rename(tmp_path / "data" / part / path.name)
        for split in ("train", "val"):
            (tmp_path / "data" / part / split).rmdir()
    for output in (
        walk("scripts/data/verify.py", "--data-dir", "data", "--out", "look", code=1),
        walk("train.py", "--data-dir", "data", *TRAIN, "--snapshot-dir", "run", code=1),
    ):
        assert "splits with images: all (8); choose it with --split all" in output
    output = walk("scripts/data/verify.py", "--data-dir", "data", "--out", "look", "--split", "all")
    assert "all: 8 samples, 0 failed" in output
    walk("train.py", "--data-dir", "data", *TRAIN, "--snapshot-dir", "run", "--split", "all")
    walk("evaluate.py", *EVALUATE, "--data-dir", "data", "--split", "all", "--save-dir", "out")
    assert json.loads((tmp_path / "out/result.json").read_text())["images"] == 8


def test_predictions_of_photos_a_folder_with_a_broken_file_and_a_film(walk, tmp_path):
    write_folder(tmp_path / "data", "masks")
    walk("train.py", "--data-dir", "data", *TRAIN, "--snapshot-dir", "run", "--cache", "ram")
    predict = ["scripts/predict.py", "--restore-from", "run/CS_scenes_2.npz", "--device", "cpu"]
    photo = Image.fromarray(np.full((70, 50, 3), 90, np.uint8))
    photo.save(tmp_path / "photo.jpg")
    output = walk(*predict, "--input", "photo.jpg", "--save-dir", "out")
    assert "1 of 1 files done, in out" in output
    label = np.asarray(Image.open(tmp_path / "out/photo_label.png"))
    assert label.shape == (70, 50) and label.max() <= 1
    for name in ("photo_color.png", "photo_overlay.png"):
        assert Image.open(tmp_path / "out" / name).size[1] >= 70

    (tmp_path / "holiday").mkdir()
    for name in ("a.png", "c.png"):
        photo.save(tmp_path / "holiday" / name)
    (tmp_path / "holiday" / "b.png").write_bytes((tmp_path / "holiday" / "a.png").read_bytes()[:60])
    (tmp_path / "holiday" / "notes.txt").write_text("sun")
    output = walk(*predict, "--input", "holiday", "--save-dir", "out2", code=1)
    assert "b.png" in output and "2 of 3 files done" in output and "1 of 3 files could not be read" in output
    assert sorted(path.name for path in (tmp_path / "out2").glob("*_label.png")) == ["a_label.png", "c_label.png"]

    film = cv2.VideoWriter(str(tmp_path / "drive.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (64, 48))
    for k in range(3):
        film.write(np.full((48, 64, 3), 60 * k, np.uint8))
    film.release()
    walk(*predict, "--input", "drive.avi", "--save-dir", "out3")
    film = cv2.VideoCapture(str(tmp_path / "out3/drive_overlay.mp4"))
    assert film.isOpened() and sum(film.read()[0] for _ in range(5)) == 3


def test_one_unreadable_image_is_skipped_and_two_are_too_many(walk, tmp_path):
    write_folder(tmp_path / "data", "numbers")
    images = sorted((tmp_path / "data/images/train").iterdir())
    train = ["train.py", "--data-dir", "data", *TRAIN, "--snapshot-dir", "run", "--num-steps", "6"]
    images[1].write_bytes(images[1].read_bytes()[:99])
    assert images[1].name in walk(*train, code=1)
    assert "data: skipped (1 so far)" in walk(*train, "--on-bad-sample", "skip")
    images[3].write_bytes(b"")
    output = walk(*train, "--on-bad-sample", "skip", "--snapshot-dir", "run2", code=1)
    assert "2 of 5 samples cannot be read, and --on-bad-sample skip leaves out 1 (one, or 1 in 100 of more" in output
