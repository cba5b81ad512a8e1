"""scripts/predict_onnx.py: it needs no Jittor and gives the same as predict.py."""

import ast
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import jittor as jt
import numpy as np
import pytest
from support import rule_weights

from datasets import normalise
from models import build_model
from models.layers.fold import fold
from models.tables import IMAGENET_RGB
from utils import media
from utils.drawing import figures
from utils.evaluation import inference
from utils.weights import checkpoint

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "predict_onnx.py"
PALETTE = [[0, 0, 0], [200, 30, 40], [10, 220, 90], [250, 250, 10], [1, 2, 3]]
NAMES = ["background", "cat", "dög", "路", "sofa"]


@pytest.fixture(scope="module")
def predict_onnx():
    spec = importlib.util.spec_from_file_location("predict_onnx", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model():
    model = build_model("ccnet_r18", 5, 2)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    checkpoint.load_weights(model, rule_weights.ccnet(shapes))
    model.eval()
    fold(model, packing=False)
    return model


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """{name: an ONNX file} with the metadata that predict_onnx.py reads."""
    from models.export import to_onnx

    folder, result = tmp_path_factory.mktemp("onnx"), {}
    variants = {"any": {}, "fixed": {"size": (48, 64)}, "pairs": {"size": (48, 64), "batch": 2}}
    variants["labels"] = {"size": (48, 64), "output": "labels"}
    for name, options in variants.items():
        size = options.get("size")
        expects = {"size": size, "batch": options.get("batch", 1) if size else None}
        expects["padding"] = list(IMAGENET_RGB["mean"])
        facts = {"names": NAMES, "palette": PALETTE, "input": expects, "output": options.get("output", "logits")}
        network = to_onnx(model, IMAGENET_RGB, metadata=facts, **options)
        result[name] = folder / f"{name}.onnx"
        result[name].write_bytes(network.SerializeToString())
    return result


def scene(height, width, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def test_it_imports_only_numpy_opencv_and_onnxruntime():
    tree, names = ast.parse(SCRIPT.read_text()), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert names <= {"argparse", "json", "math", "os", "sys", "pathlib", "cv2", "numpy", "onnxruntime"}


@pytest.mark.parametrize("size", [(61, 80), (20, 33), (48, 64), (1, 1), (130, 20)])
@pytest.mark.parametrize("variant", ["any", "fixed", "pairs"])
def test_labels_are_those_of_predict(predict_onnx, model, files, variant, size):
    """Whole images, or windows if the size is fixed; small images are padded."""
    image = scene(*size)
    run, facts, runtime = predict_onnx.load(files[variant])
    assert runtime.startswith("onnxruntime")
    expected = inference.predict(
        model, [normalise.normalise(image, IMAGENET_RGB)], tile=None if variant == "any" else (48, 64)
    )[0]
    label = predict_onnx.segment(run, facts, image)
    assert label.shape == size and label.dtype == np.uint8
    assert (label == expected).mean() >= 0.999


def test_with_labels_as_output_windows_vote_where_they_overlap(predict_onnx, files):
    run, facts, _ = predict_onnx.load(files["labels"])
    label = predict_onnx.segment(run, facts, scene(61, 80))
    corner = run(np.float32(scene(61, 80)[None, :48, :64, ::-1].transpose(0, 3, 1, 2)))[0]
    assert np.array_equal(label[:13, :16], corner[:13, :16])  # covered by one window only


def test_without_onnxruntime_opencv_runs_a_fixed_size(predict_onnx, files, monkeypatch):
    image = scene(61, 80)
    run, facts, _ = predict_onnx.load(files["fixed"])
    expected = predict_onnx.segment(run, facts, image)
    monkeypatch.setattr(predict_onnx, "ort", None)
    run, facts, runtime = predict_onnx.load(files["fixed"])
    assert runtime.startswith("OpenCV") and (predict_onnx.segment(run, facts, image) == expected).mean() >= 0.999
    with pytest.raises(ValueError, match="pip install onnxruntime"):
        predict_onnx.load(files["any"])
    with pytest.raises(ValueError, match="pip install onnxruntime"):
        predict_onnx.load(files["fixed"], "onnxruntime")


def test_opencv_needs_a_fixed_size_and_the_message_explains_it(predict_onnx, files):
    with pytest.raises(ValueError, match="exported with --size H,W"):
        predict_onnx.load(files["any"], "opencv")


def test_an_opencv_with_wrong_results_is_refused(predict_onnx, files, monkeypatch):
    monkeypatch.setattr(cv2, "__version__", "4.8.1")
    with pytest.raises(ValueError, match=r"from 4.9 on \(this is 4.8.1\)"):
        predict_onnx.load(files["fixed"], "opencv")


def test_another_or_a_damaged_file_is_an_error(predict_onnx, files, tmp_path):
    (tmp_path / "other.onnx").write_bytes(b"\x08\x0a" * 100)
    with pytest.raises(ValueError, match="other.onnx was not written by export_onnx.py"):
        predict_onnx.load(tmp_path / "other.onnx")
    with pytest.raises(OSError):
        predict_onnx.load(tmp_path / "none.onnx")
    data = files["fixed"].read_bytes()
    for runtime in ("onnxruntime", "opencv"):
        for name, changed in (("short", data[: len(data) // 2]), ("changed", data.replace(b"Conv", b"Knot"))):
            (tmp_path / name).write_bytes(changed)
            with pytest.raises(ValueError, match="damaged"):
                predict_onnx.load(tmp_path / name, runtime)


def test_the_overlay_is_that_of_predict_with_a_legend(predict_onnx, files):
    _, facts, _ = predict_onnx.load(files["any"])
    assert facts["names"] == NAMES
    image, label = scene(61, 80), (np.arange(61 * 80).reshape(61, 80) // 977).astype(np.uint8)
    panel = predict_onnx.overlay(image, label, facts)
    palette = [tuple(colour) for colour in PALETTE]
    expected = figures.overlay(image[:, :, ::-1], label, palette)
    np.testing.assert_array_equal(panel[:61, :80, ::-1], expected)
    for row, k in enumerate([0, 1, 2, 3, 4]):  # the largest class first
        assert tuple(panel[15 + 22 * row, 98, ::-1]) == palette[k]
    assert panel.shape[0] == figures.with_legend(expected, label, NAMES, palette).size[1]


def test_names_are_those_of_predict(predict_onnx, tmp_path):
    for name in ("a.png", "a.jpg", "b.PNG", "below/a.png", ".hidden.png", "notes.txt", "out/b_label.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    out = tmp_path / "in" / "out"
    for inputs in ([tmp_path / "in"], [tmp_path / "in" / "b.PNG", tmp_path / "in" / "below"]):
        expected, _ = media.find(list(map(str, inputs)), without=str(out))
        images = predict_onnx.find_images(inputs, out)
        assert sorted((str(path), name) for path, name in images) == sorted(expected)


def test_a_copy_works_anywhere_and_names_files_it_cannot_read(files, tmp_path):
    shutil.copy(SCRIPT, tmp_path / "segment.py")
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "good.png"), scene(40, 56))
    (tmp_path / "in" / "empty.png").touch()
    (tmp_path / "in" / "page.jpg").write_text("<html>not found</html>")
    command = [sys.executable, "segment.py", "--model", str(files["any"]), "--input", "in", "--save-dir", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "empty.png cannot be read" in done.stderr and "2 of 3 files could not be read" in done.stderr
    assert "1 of 3 files done" in done.stdout
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["good_color.png", "good_label.png", "good_overlay.png"]
    label = cv2.imread(str(tmp_path / "out" / "good_label.png"), cv2.IMREAD_UNCHANGED)
    colour = cv2.imread(str(tmp_path / "out" / "good_color.png"))
    np.testing.assert_array_equal(colour[:, :, ::-1], np.uint8(PALETTE)[label])
    assert label.shape == (40, 56)


def test_a_photograph_is_rotated_by_its_exif_orientation(files, tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    Image.fromarray(scene(40, 56)).save(tmp_path / "phone.jpg", exif=exif)
    command = [sys.executable, str(SCRIPT), "--model", str(files["any"]), "--input", str(tmp_path / "phone.jpg")]
    done = subprocess.run([*command, "--save-dir", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(tmp_path / "out" / "phone_label.png"), cv2.IMREAD_UNCHANGED).shape == (56, 40)


def test_the_model_of_these_tests_uses_several_classes(model):
    label = inference.predict(model, [normalise.normalise(scene(61, 80), IMAGENET_RGB)])[0]
    assert len(np.unique(label)) > 1 and not jt.flags.use_cuda
