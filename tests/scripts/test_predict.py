"""scripts/predict.py on the images that people really have."""

import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from models import build_model
from utils import media
from utils.drawing.confusion_figure import confusion_figure
from utils.drawing.figures import overlay, with_legend
from utils.weights import checkpoint

META = {"model": "ccnet_r18", "num_classes": 9, "recurrence": 2, "ignore_label": 255, "step": 1, "dataset": "scenes"}
META["normalisation"] = {"channels": "bgr", "mean": [104.0, 117.0, 123.0], "std": [1.0, 1.0, 1.0]}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.npz"
    checkpoint.save(path, build_model("ccnet_r18", 9, 2), META)
    return path


def scene(height=40, width=56, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.BICUBIC))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One of each kind, and files that are no images."""
    root = tmp_path_factory.mktemp("images")
    rgb = scene()
    grey = rgb[:, :, 1].copy()
    Image.fromarray(rgb).save(root / "plain.png")
    Image.fromarray(rgb[:1, :1]).save(root / "one pixel.png")
    Image.fromarray(scene(17, 400)).save(root / "long.png")
    Image.fromarray(grey).save(root / "grey.png")
    Image.fromarray(np.dstack([rgb, grey])).save(root / "alpha.png")
    Image.fromarray(rgb).convert("CMYK").save(root / "print.jpg")
    Image.fromarray(rgb).quantize(16).save(root / "palette.gif")
    Image.fromarray(grey.astype(np.uint16) * 257).save(root / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(rgb).save(root / "phone.jpg", exif=exif)
    (root / "ünterwegs 路").mkdir()
    Image.fromarray(rgb).save(root / "ünterwegs 路" / "straße.PNG")
    Image.fromarray(scene(200, 300)).save(root / "whole.jpg")
    data = (root / "whole.jpg").read_bytes()
    (root / "cut.jpg").write_bytes(data[: len(data) // 2])
    (root / "empty.png").touch()
    (root / "page.png").write_text("<html>not found</html>")
    (root / "notes.txt").write_text("hello")
    (root / "._plain.png").write_bytes(b"\0\1")
    return root


def predict(*arguments):
    command = [sys.executable, "scripts/predict.py", "--device", "cpu", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def done(weights, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, predict("--restore-from", weights, "--input", folder, "--save-dir", out, "--scales", "0.5,1")


def test_every_readable_image_gets_its_files_in_its_size(done, folder):
    out, _ = done
    sizes = {"plain": (56, 40), "one pixel": (1, 1), "long": (400, 17), "grey": (56, 40), "alpha": (56, 40)}
    sizes.update({"print": (56, 40), "palette": (56, 40), "deep": (56, 40), "phone": (40, 56), "whole": (300, 200)})
    sizes["ünterwegs 路/straße"] = (56, 40)
    for name, size in sizes.items():
        label, colours = (Image.open(out / f"{name}_{suffix}.png") for suffix in ("label", "color"))
        assert label.size == colours.size == size and label.mode == "L" and colours.mode == "RGB", name
        assert np.asarray(label).max() < 9
        assert Image.open(out / f"{name}_overlay.png").size[1] >= size[1]
    assert len(list(out.rglob("*.png"))) == 3 * len(sizes)
    assert not list(out.rglob("*.part"))


def test_unreadable_files_are_named_and_the_exit_code_is_1(done):
    _, process = done
    assert process.returncode == 1 and "Traceback" not in process.stderr
    for name in ("cut.jpg", "empty.png", "page.png"):
        assert f"{name} cannot be read" in process.stderr, process.stderr
    assert "3 of 14 files could not be read" in process.stderr and "11 of 14 files done" in process.stdout
    assert "2 other files" in process.stdout


def test_the_same_pixels_give_the_same_labels_whatever_the_mode(done, folder):
    """An alpha channel is dropped, a 16-bit grey is the grey, and a turned image is looked at upright."""
    out, _ = done
    labels = {name: np.asarray(Image.open(out / f"{name}_label.png")) for name in ("plain", "alpha", "grey", "deep")}
    np.testing.assert_array_equal(labels["plain"], labels["alpha"])
    np.testing.assert_array_equal(labels["grey"], labels["deep"])
    np.testing.assert_array_equal(np.asarray(Image.open(out / "ünterwegs 路" / "straße_label.png")), labels["plain"])


def test_modes_become_eight_bit_bgr(folder):
    rgb = scene()
    np.testing.assert_array_equal(media.read_upright(folder / "plain.png"), rgb[:, :, ::-1])
    np.testing.assert_array_equal(media.read_upright(folder / "alpha.png"), rgb[:, :, ::-1])
    deep = media.read_upright(folder / "deep.png")
    np.testing.assert_array_equal(deep, np.repeat(rgb[:, :, 1:2], 3, axis=2))
    upright = media.read_upright(folder / "phone.jpg")
    assert np.abs(upright.astype(int) - np.rot90(rgb, -1)[:, :, ::-1]).mean() < 12  # JPEG


@pytest.mark.slow
def test_a_strip_of_17_by_4000(weights, tmp_path):
    Image.fromarray(scene(17, 4000)).save(tmp_path / "strip.png")
    Image.fromarray(scene(4000, 17)).save(tmp_path / "tower.png")
    for options in ((), ("--input-size", "65,97", "--flip")):
        process = predict(
            "--restore-from", weights, "--input", tmp_path / "strip.png", tmp_path / "tower.png", "--save-dir",
            tmp_path / "out", *options,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        assert Image.open(tmp_path / "out" / "strip_label.png").size == (4000, 17)
        assert Image.open(tmp_path / "out" / "tower_label.png").size == (17, 4000)


def test_probabilities_of_named_classes(weights, folder, tmp_path):
    process = predict(
        "--restore-from", weights, "--input", folder / "plain.png", "--save-dir", tmp_path, "--probability"
    )
    assert process.returncode == 0, process.stderr
    from datasets.scenes.dataset import NAMES

    levels = np.stack([np.asarray(Image.open(tmp_path / f"plain_probability_{name}.png")) for name in NAMES])
    assert levels.shape == (9, 40, 56) and np.abs(levels.astype(int).sum(0) - 255).max() <= 5
    label = np.asarray(Image.open(tmp_path / "plain_label.png"))
    best = np.take_along_axis(levels, label[None].astype(int), 0)[0]
    assert (best == levels.max(0)).all()
    process = predict(
        "--restore-from", weights, "--input", folder / "plain.png", "--save-dir", tmp_path, "--probability", "dragon"
    )
    assert process.returncode == 1 and "'dragon' is not a class here; choose from road" in process.stderr


def test_a_video_frame_by_frame(weights, tmp_path):
    path = str(tmp_path / "drive.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (56, 40))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write videos")
    for k in range(7):
        writer.write(scene(seed=k))
    writer.release()
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    process = predict("--restore-from", weights, "--input", tmp_path, "--save-dir", tmp_path / "out")
    assert process.returncode == 1 and "broken.mp4 cannot be read as a video" in process.stderr, process.stderr
    assert "Traceback" not in process.stderr
    result = cv2.VideoCapture(str(tmp_path / "out" / "drive_overlay.mp4"))
    frames = 0
    while True:
        good, frame = result.read()
        if not good:
            break
        frames += 1
        assert frame.shape == (40, 56, 3)
    assert frames == 7 and result.get(cv2.CAP_PROP_FPS) == 10.0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["drive_overlay.mp4"]


def test_names_that_would_collide_keep_their_ending(tmp_path):
    for name in ("a.png", "a.jpg", "b.png"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    shutil.copy(tmp_path / "a.png", tmp_path / "c" / "a.png")
    files, others = media.find([str(tmp_path), str(tmp_path / "a.png")])
    names = [name for _, name in files]
    assert len(set(names)) == len(names) == 5 and {"b", "c/a", "a_jpg", "a_png"} < set(names) and not others


def test_what_is_written_is_not_read_again(tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("a.png", "out/a_label.png"):
        (tmp_path / name).touch()
    files, _ = media.find([str(tmp_path)], without=str(tmp_path / "out"))
    assert [name for _, name in files] == ["a"]


def test_mistakes_are_answered_in_one_line(weights, folder, tmp_path):
    for arguments, words in (
        (["--input", tmp_path, "--save-dir", tmp_path / "out"], "holds no image or video"),
        (["--input", folder, "--save-dir", folder], "is an input folder, too"),
        (["--input", tmp_path / "gone.png", "--save-dir", tmp_path / "out"], "gone.png does not exist"),
        (["--input", folder, "--save-dir", tmp_path, "--recurrence", "1"], "--recurrence 1 contradicts"),
        (["--input", folder, "--save-dir", tmp_path, "--whole", "--input-size", "65"], "leave one out"),
    ):
        process = predict("--restore-from", weights, *arguments)
        assert process.returncode == 1 and words in process.stderr, process.stderr
        assert "Traceback" not in process.stderr


def test_images_of_results():
    label = np.zeros((20, 30), np.uint8)
    label[:, 15:] = 1
    image = np.full((20, 30, 3), 100, np.uint8)
    mixed = overlay(image, label, [(200, 0, 0), (0, 200, 0)], opacity=0.5)
    assert mixed[5, 5].tolist() == [150, 50, 50] and mixed[5, 20].tolist() == [50, 150, 50]
    assert mixed[5, 15].tolist() == [25, 75, 25]  # the line where classes meet
    shown = with_legend(mixed, label, ["left", "right"], [(200, 0, 0), (0, 200, 0)])
    assert shown.size[0] > 30 and shown.size[1] >= 2 * 22
    for classes in (3, 60):
        counts = np.eye(classes, classes + 1, dtype=np.int64) * 10
        matrix = confusion_figure(counts, [f"class {k}" for k in range(classes)])
        colours = np.asarray(matrix).reshape(-1, 3)
        assert (colours == (31, 99, 178)).all(1).sum() > 10 * classes  # a full blue cell per class
