"""scripts/predict.py: confidence, and images that are read and written by rows."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from scripts.test_predict import META, predict, scene, weights  # noqa: F401 (a fixture)

from models import build_model
from utils.drawing.heat import heat_table
from utils.evaluation import large
from utils.weights import checkpoint

WINDOWS = ("--input-size", "49,65", "--flip", "--batch-size", "3")


@pytest.fixture(scope="module")
def done(weights, tmp_path_factory):  # noqa: F811
    """The same images whole and by rows: 150x131 pixels, more than one window in both directions. The minimum is the
    median of the confidence."""
    root = tmp_path_factory.mktemp("rows")
    image = Image.fromarray(scene(150, 131))
    image.save(root / "a.png")
    image.save(root / "map.tif", compression="tiff_lzw", tiffinfo={278: 16, 33550: (2.0, 2.0, 0.0), 42113: "255"})
    image.save(root / "photo.jpg")
    options = ["--restore-from", weights, *WINDOWS, "--confidence"]
    process = predict(*options, "--input", root / "a.png", "--save-dir", root.parent / "first")
    assert process.returncode == 0, process.stderr
    minimum = f"{np.median(read(root.parent / 'first/a_confidence.png')) / 65535:.5f}"
    options += ["--input", root, "--min-confidence", minimum]
    for way in ("never", "always"):
        process = predict(*options, "--save-dir", root.parent / way, "--by-rows", way)
        assert process.returncode == 0, process.stdout + process.stderr
    return root.parent, process, float(minimum)


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_the_results_by_rows_are_those_of_the_whole_image(done):
    root, process, _ = done
    assert "a.png is read by rows, in windows of 49x65" in process.stdout
    assert "photo.jpg is read whole: only PNG and TIFF can be read by rows" in process.stdout
    for name in ("a", "map", "photo"):
        for end in ("label", "color", "confidence", "confidence_heat"):
            pair = [read(root / way / f"{name}_{end}.png").astype(int) for way in ("never", "always")]
            rounding = {"confidence": 1, "confidence_heat": 8}.get(end, 0)  # a level, a step of the table of colours
            assert np.abs(np.subtract(*pair)).max() <= rounding, (name, end)
        whole, rows = (read(root / way / f"{name}_overlay.png") for way in ("never", "always"))
        np.testing.assert_array_equal(whole[:150, :131], rows[:150, :131])
    assert not list(root.rglob("*.part"))


def test_confidence_is_the_largest_probability_and_below_the_minimum_is_void(done):
    root, _, minimum = done
    level, label = read(root / "never/a_confidence.png"), read(root / "never/a_label.png")
    assert level.dtype == np.uint16 and level.min() >= 65535 // 9 and level.shape == (150, 131)
    sure, near = level >= minimum * 65535, np.abs(level - minimum * 65535) <= 1  # written levels are rounded
    assert 0.02 < sure.mean() < 0.98  # both occur
    np.testing.assert_array_equal((label != 255)[~near], sure[~near])
    sure = label != 255
    assert label[sure].max() < 9
    heat = np.asarray(Image.open(root / "never/a_confidence_heat.png"))
    expected = heat_table()[np.rint(level / 257.0).astype(int)]
    assert np.abs(heat.astype(int) - expected).max() <= 8  # one step of the table, from rounding twice
    overlay = np.asarray(Image.open(root / "never/a_overlay.png"))[:150, :131]
    inner = ~cv2.dilate(sure.astype(np.uint8), np.ones((5, 5))).astype(bool)
    if inner.any():
        np.testing.assert_array_equal(overlay[inner], scene(150, 131)[inner])


def test_a_georeferenced_tiff_gets_a_label_map_with_its_tags(done):
    root, *_ = done
    for way in ("never", "always"):
        with Image.open(root / way / "map_label.tif") as image:
            assert image.tag_v2[33550] == (2.0, 2.0, 0.0) and image.tag_v2[42113] == "255"
            np.testing.assert_array_equal(np.asarray(image), read(root / way / "map_label.png"))
        assert not (root / way / "a_label.tif").exists()


def test_a_video_takes_a_minimum(weights, tmp_path):  # noqa: F811
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(2):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    out = tmp_path / "out"
    process = predict(
        "--restore-from", weights, "--input", tmp_path / "v.avi", "--save-dir", out, "--min-confidence", "1"
    )
    assert process.returncode == 0, process.stderr
    good, frame = cv2.VideoCapture(str(out / "v_overlay.mp4")).read()
    assert good and np.abs(frame.astype(int) - 90).max() < 12  # every pixel is void: the frame as it was


def test_an_image_that_needs_more_memory_than_there_is(tmp_path, monkeypatch, capsys):
    """PNG and TIFF are read by rows; a JPEG is named with the memory that it needs."""
    for name in ("a.png", "b.jpg"):
        Image.fromarray(scene(100, 100)).save(tmp_path / name)
    files = [(str(tmp_path / name), name) for name in ("a.png", "b.jpg", "gone.png")]
    monkeypatch.setattr(large, "available", lambda: 500_000)
    whole, by_rows, (message,) = large.choose(files, "auto")
    assert (whole, by_rows) == (files[2:], files[:1]) and message in capsys.readouterr().err
    assert "b.jpg: 100x100 (width x height) needs 0.0 GB of memory" in message and "cut it or scale it" in message
    assert large.choose(files, "auto", "--scales need the whole image")[1] == []
    monkeypatch.setattr(large, "available", lambda: 10**9)
    assert large.choose(files, "auto") == (files, [], [])


@pytest.mark.slow
def test_the_memory_of_a_large_image_is_that_of_a_band(tmp_path):
    """6000x6000: 108 MB of pixels, 2.2 GB when read whole; the process and its windows need less than 1 GB. With the
    shallow network, because 300 windows take minutes with a ResNet."""
    checkpoint.save(tmp_path / "net.npz", build_model("ccnet_shallow", 9, 2), {**META, "model": "ccnet_shallow"})
    image = Image.fromarray(np.kron(scene(60, 60), np.ones((100, 100, 1), np.uint8)))
    image.save(tmp_path / "big.png", compress_level=1)
    code = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:])\n"
    code += "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    options = {"--device": "cpu", "--restore-from": tmp_path / "net.npz", "--by-rows": "always"}
    options.update({"--input": tmp_path / "big.png", "--save-dir": tmp_path / "out", "--input-size": "513,513"})
    words = [str(word) for pair in options.items() for word in pair]
    command = [sys.executable, "-c", code, sys.executable, "scripts/predict.py", *words]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    assert int(process.stdout.split("PEAK")[1]) < 1_000_000  # kilobytes
    assert read(tmp_path / "out/big_label.png").shape == (6000, 6000)
