"""scripts/export_onnx.py and the metadata that it writes."""

import hashlib
import json
import os

import numpy as np
import pytest
from support import rule_weights

from datasets.scenes import dataset
from models import build_model
from utils.weights import any_file

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SCRIPT = "scripts/export_onnx.py"
META = {"model": "ccnet_r18", "num_classes": 9, "recurrence": 3, "ignore_label": 255, "step": 7, "dataset": "scenes"}
META["normalisation"] = {"channels": "bgr", "mean": [104.0, 117.0, 123.0], "std": [57.0, 58.0, 59.0]}


@pytest.fixture(scope="module")
def arrays():
    model = build_model("ccnet_r18", 9, 3)
    return rule_weights.ccnet({key: tuple(value.shape) for key, value in model.state_dict().items()})


@pytest.fixture(scope="module")
def saved(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.npz"
    any_file.write(path, arrays, META)
    return path


def facts_of(path):
    network = onnx.load(path)
    return network, json.loads({pair.key: pair.value for pair in network.metadata_props}["segmentation"])


def test_the_metadata_describe_input_output_and_origin(script, saved, tmp_path):
    out = tmp_path / "new" / "net.onnx"
    done = script("python", SCRIPT, "--restore-from", saved, "--out", out, "--size", "33,41", "--check")
    assert done.returncode == 0, done.output
    assert "image 1 x 3 x 33 x 41, float32, RGB, 0..255 -> logits" in done.stdout and "differ by" in done.stdout
    assert os.listdir(out.parent) == ["net.onnx"]
    network, facts = facts_of(out)
    assert facts["names"] == list(dataset.NAMES) and facts["palette"] == [list(colour) for colour in dataset.PALETTE]
    assert facts["ignore_label"] == 255 and facts["output"] == "logits"
    expects = facts["input"]
    assert (expects["channels"], expects["layout"], expects["range"]) == ("rgb", "NCHW", [0, 255])
    assert (expects["size"], expects["batch"]) == ([33, 41], 1)
    assert expects["padding"] == META["normalisation"]["mean"][::-1]  # RGB
    assert facts["normalisation"] == META["normalisation"]
    origin = facts["provenance"]
    assert origin["file"] == "net.npz" and origin["sha256"] == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert (origin["model"], origin["recurrence"], origin["step"]) == ("ccnet_r18", 3, 7)
    sides = [dim.dim_value for dim in network.graph.input[0].type.tensor_type.shape.dim]
    assert network.graph.input[0].name == "image" and sides == [1, 3, 33, 41]


@pytest.mark.parametrize(
    "flags, output, shape",
    [
        ((), "logits", "N x 3 x H x W"),
        (("--dynamic", "--softmax"), "probabilities", "N x 3 x H x W"),
        (("--size", "34", "--batch-size", "2", "--labels"), "labels", "2 x 3 x 34 x 34"),
        (("--float16",), "logits", "N x 3 x H x W"),
    ],
)
def test_every_variant_agrees_with_the_network(script, saved, tmp_path, flags, output, shape):
    done = script("python", SCRIPT, "--restore-from", saved, "--out", tmp_path / "net.onnx", "--check", *flags)
    assert done.returncode == 0, done.output
    assert f"image {shape}, float32, RGB, 0..255 -> {output}" in done.stdout
    network, facts = facts_of(tmp_path / "net.onnx")
    assert network.graph.output[0].name == facts["output"] == output
    assert facts["provenance"]["float16"] == ("--float16" in flags)


def test_a_pytorch_file_needs_no_conversion_first(script, arrays, tmp_path):
    """19 classes get the names and colours of Cityscapes; --recurrence gives what the file does not contain."""
    arrays = dict(arrays)
    for key in ("head.bottleneck.3", "dsn.3"):
        for part in ("weight", "bias"):
            arrays[f"{key}.{part}"] = np.resize(arrays[f"{key}.{part}"], (19, *arrays[f"{key}.{part}"].shape[1:]))
    any_file.write(tmp_path / "net.pth", arrays, {**META, "num_classes": 19}, source="official")
    done = script(
        "python", SCRIPT, "--restore-from", tmp_path / "net.pth", "--out", tmp_path / "net.onnx", "--recurrence", 1,
        "--check",
    )  # fmt: skip
    assert done.returncode == 0, done.output
    network, facts = facts_of(tmp_path / "net.onnx")
    assert facts["names"][0] == "road" and len(facts["names"]) == 19
    assert sum(node.op_type == "Softmax" for node in network.graph.node) == facts["provenance"]["recurrence"] == 1
    assert facts["provenance"]["weights"]["source"] == "official"


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--out", "net.pb"), "--out net.pb must end in .onnx"),
        (("--out", "FOLDER.onnx"), "is a folder; give a file name"),
        (("--batch-size", "2"), "--batch-size is for a fixed size: add --size H,W"),
        (("--num-classes", "4"), "--num-classes 4 contradicts"),
        (("--dataset", "voc"), "--dataset voc has 21 classes, the checkpoint 9"),
        (("--restore-from", "missing.npz"), "missing.npz"),
    ],
)
def test_wrong_options_end_in_one_line_and_no_file(script, saved, tmp_path, flags, message):
    (tmp_path / "FOLDER.onnx").mkdir()
    flags = [flag.replace("FOLDER", str(tmp_path / "FOLDER")) for flag in flags]
    done = script("python", SCRIPT, "--restore-from", saved, "--out", tmp_path / "net.onnx", *flags)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.output
    assert os.listdir(tmp_path) == ["FOLDER.onnx"]


def test_without_onnx_the_message_names_the_package_to_install(script, saved, tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else find(name, *rest))
    done = script("python", SCRIPT, "--restore-from", saved, "--out", tmp_path / "net.onnx")
    assert done.returncode == 1 and "onnx is not installed: pip install onnx" in done.stderr


def test_check_detects_a_difference_and_nothing_is_written(script, saved, tmp_path, monkeypatch):
    """A wrong weight in the graph: --check compares with the Jittor network."""
    from models.export.graph import Graph

    original = Graph.per_channel
    monkeypatch.setattr(
        Graph,
        "per_channel",
        lambda g, name, array: original(g, name, np.asarray(array) * 1.5 if name.endswith("gamma") else array),
    )
    done = script("python", SCRIPT, "--restore-from", saved, "--out", tmp_path / "net.onnx", "--check")
    assert done.returncode == 1 and "nothing written" in done.stderr and not os.listdir(tmp_path)


def test_check_detects_values_beyond_float16(script, arrays, tmp_path):
    """Pixels that are not divided by the standard deviation make all values 60 times larger."""
    meta = {**META, "normalisation": {**META["normalisation"], "std": [1.0, 1.0, 1.0]}}
    any_file.write(tmp_path / "net.npz", arrays, meta)
    command = ("python", SCRIPT, "--restore-from", tmp_path / "net.npz", "--out", tmp_path / "net.onnx", "--check")
    done = script(*command, "--float16")
    assert done.returncode == 1 and "range of float16 (65504): omit --float16" in done.stderr
    assert os.listdir(tmp_path) == ["net.npz"]


def test_help_imports_neither_jittor_nor_onnx(run_command):
    done = run_command("python", "-X", "importtime", SCRIPT, "--help")
    assert done.returncode == 0 and "--float16" in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not imported & {"jittor", "onnx", "onnxruntime"}


def test_the_benchmark_prints_one_table_of_equal_results(run_command):
    flags = ("--model", "ccnet_r18", "--size", "33,41", "--repeats", "1")
    done = run_command("python", "scripts/benchmark/onnx_runtimes.py", *flags)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert [row[0].split()[0] for row in rows] == ["Jittor", "onnxruntime", "OpenCV"]
    assert all(float(row[1]) > 0 and float(row[2]) > 0 and float(row[4]) < 1e-4 for row in rows)
