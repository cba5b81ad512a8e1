"""From annotations to a product: draw, labelme JSON, convert, verify, train, evaluate, export to ONNX, predict."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import label_exports as made

ROOT = Path(__file__).resolve().parent.parent.parent

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def annotate(label, names):
    """The outlines of every region of a label map as labelme polygons, holes filled, the large ones first."""
    shapes = []
    for value in np.unique(label).tolist():
        region = (label == value).astype(np.uint8)
        contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for contour in (contour[:, 0].tolist() for contour in contours if len(contour) > 2):
            name = names[value] if value < len(names) else "__ignore__"
            shapes.append((cv2.contourArea(np.array(contour)), made.labelme_shape(name, contour)))
    return [shape for _, shape in sorted(shapes, key=lambda pair: -pair[0])]


def write_export(drawn, folder):
    """labelme's files beside the images of a drawn folder. -> {name: label}"""
    names = [line.split()[0] for line in (drawn / "classes.txt").read_text().splitlines()]
    known = {}
    for path in sorted((drawn / "labels").rglob("*.png")):
        label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        image = cv2.imread(str(drawn / "images" / path.parent.name / path.name))
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{path.stem}.jpg"), image)
        made.write_labelme(folder / f"{path.stem}.json", annotate(label, names), f"{path.stem}.jpg", label.shape)
        known[path.stem] = label, names
    return known


def test_from_annotations_to_predictions_without_jittor(run_command, tmp_path):
    def call(script, *flags, code=0):
        done = run_command("python", ROOT / script, *flags, cwd=tmp_path)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stdout + done.stderr
        return done.stdout + done.stderr

    call("scripts/data/make_scenes.py", "--layout", "folder", "--out", "drawn", "--count", "4", "--size", "64,96")
    known = write_export(tmp_path / "drawn", tmp_path / "annotated")
    refused = call("train.py", "--data-dir", "annotated", "--device", "cpu", "--snapshot-dir", "none", code=1)
    assert "python scripts/data/convert_labels.py annotated NEW_FOLDER" in refused
    output = call("scripts/data/verify.py", "--data-dir", "annotated", "--out", "look", code=1)
    printed = re.search(r"convert it first: python (\S+) annotated (\S+)\n", output)
    call(printed[1], "annotated", "data", "--val", "0.25")
    names = (tmp_path / "data/classes.txt").read_text().splitlines()
    for path in (tmp_path / "data/labels").rglob("*.png"):
        label, drawn_names = known[path.stem]
        wanted = np.full(256, 255)
        wanted[: len(drawn_names)] = [names.index(n) if n in names else 254 for n in drawn_names]
        same = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) == wanted[label]
        assert same.mean() > 0.97, path.name
    assert "0 errors" in call("scripts/data/verify.py", "--data-dir", "data", "--out", "look")

    settings = "--device cpu --model ccnet_r18 --input-size 48,64 --batch-size 2 --num-steps 2".split()
    optimizer = "--optimizer adamw --learning-rate 1e-3 --snapshot-dir run".split()
    call("train.py", "--data-dir", "data", *settings, *optimizer)
    checkpoint = ("--restore-from", "run/CS_scenes_2.npz")
    call("evaluate.py", "--device", "cpu", *checkpoint, "--save-dir", "scores")
    result = json.loads((tmp_path / "scores/result.json").read_text())
    assert result["images"] == 2 and list(result["iou"]) == names
    with open(tmp_path / "scores/confusion.csv") as file:
        scored = sum(float(cell) for row in list(csv.reader(file))[1:] for cell in row[1:])
    labels = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in (tmp_path / "data/labels/val").iterdir()]
    assert scored == sum((label != 255).sum() for label in labels)

    call("scripts/export_onnx.py", *checkpoint, "--out", "net.onnx", "--check")
    images = ("--input", "annotated", "--save-dir")
    call("scripts/predict.py", "--device", "cpu", *checkpoint, *images, "a")
    call("scripts/predict_onnx.py", "--model", "net.onnx", *images, "b")
    pairs = [[cv2.imread(str(tmp_path / out / f"{name}_label.png"), -1) for out in "ab"] for name in known]
    assert len(pairs) == 8 and all(a.shape == b.shape == (64, 96) for a, b in pairs)
    assert np.mean([a == b for a, b in pairs]) >= 0.999
