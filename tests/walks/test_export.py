"""From training to label maps without Jittor: train.py, export_onnx.py, predict_onnx.py, compared with predict.py."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_an_exported_network_predicts_the_same(run_command, tmp_path):
    def call(script, *flags):
        done = run_command("python", ROOT / script, *flags, cwd=tmp_path)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
        return done.stdout

    call(
        "train.py", "--device", "cpu", "--model", "ccnet_r18", "--dataset", "scenes", "--input-size", "48,64",
        "--batch-size", "2", "--num-steps", "8", "--optimizer", "adamw", "--learning-rate", "1e-3", "--snapshot-dir",
        "run",
    )  # fmt: skip
    call("scripts/data/make_scenes.py", "--layout", "voc", "--out", "data", "--count", "1", "--size", "75,100")
    images = tmp_path / "images" / "below"
    images.mkdir(parents=True)
    for number, path in enumerate(sorted((tmp_path / "data").rglob("*.jpg"))):
        shutil.copy(path, images.parent / "first.jpg" if number == 0 else images)
    count = len(list(images.parent.rglob("*.jpg")))
    assert count >= 2

    checkpoint = "run/CS_scenes_8.npz"
    output = call("scripts/export_onnx.py", "--restore-from", checkpoint, "--out", "net.onnx", "--check")
    assert "net.onnx: image N x 3 x H x W" in output
    call("scripts/predict.py", "--device", "cpu", "--restore-from", checkpoint, "--input", "images", "--save-dir", "a")
    shutil.copy(ROOT / "scripts" / "predict_onnx.py", tmp_path / "product.py")
    done = run_command(
        "python", "product.py", "--model", "net.onnx", "--input", "images", "--save-dir", "b", cwd=tmp_path
    )
    assert done.returncode == 0 and f"{count} of {count} files done" in done.stdout, done.stdout + done.stderr

    first, second = ({str(path.relative_to(tmp_path / out)) for path in (tmp_path / out).rglob("*")} for out in "ab")
    assert first == second and len(first) == 3 * count + 1
    for name in (name for name in first if name.endswith(".png")):
        a, b = (cv2.imread(str(tmp_path / out / name), cv2.IMREAD_UNCHANGED) for out in "ab")
        a, b = a[:75, :100], b[:75, :100]  # the overlay without its legend on the right, which has another font
        assert a.dtype == b.dtype and a.shape == b.shape
        assert (a == b).reshape(75, 100, -1).all(-1).mean() >= (0.99 if "overlay" in name else 0.999), name
        if "label" in name:
            assert len(np.unique(a)) > 1
