"""scripts/convert_weights.py, as a user runs it."""

import hashlib

import numpy as np
import pytest
from support.small_weights import SMALL, backbone, random_network, same, save_official

from utils.weights import checkpoint
from utils.weights.formats import pytorch


@pytest.fixture(scope="module")
def network():
    return random_network()


@pytest.fixture(scope="module")
def official(network, tmp_path_factory):
    return save_official(tmp_path_factory.mktemp("official"), network[1])


def convert(run_command, *arguments):
    return run_command("python", "scripts/convert_weights.py", *arguments)


def test_there_and_back_is_bit_equal(official, network, tmp_path, run_command):
    done = convert(run_command, official, tmp_path / "a.npz")
    assert done.returncode == 0, done.stderr
    count = len(network[1])
    for line in (
        "official, as ccnet_r18",
        f"{count} of {count} matched",
        "unwrapped: model; prefix removed: module.",
        "(in-place ABN: |weight| + 1e-5):",
        "layer1.{0..1}.bn1.weight, layer1.{0..1}.bn2.weight",
        "note: recurrence is not in the file: using 2",
    ):
        assert line in done.stdout, done.stdout
    _, meta = checkpoint.load(tmp_path / "a.npz")
    assert meta["provenance"]["sha256"] == hashlib.sha256(official.read_bytes()).hexdigest()
    assert {key: meta[key] for key in SMALL} == SMALL and "remarks" not in meta
    done = convert(run_command, tmp_path / "a.npz", tmp_path / "c.npz", "--source", "plain")
    assert done.returncode == 0 and "--source plain has no effect" in done.stdout
    done = convert(run_command, tmp_path / "a.npz", tmp_path / "b.pth", "--to", "pytorch")
    assert done.returncode == 0 and "changed" not in done.stdout, done.stderr
    back = pytorch.load(tmp_path / "b.pth")["model"]
    for key, array in network[1].items():
        assert back[key].tobytes() == array.tobytes() and back[key].shape == array.shape, key


def test_nothing_is_written_when_arrays_are_missing(network, tmp_path, run_command):
    pytorch.save(tmp_path / "mit.pth", backbone(network[1]))
    done = convert(run_command, tmp_path / "mit.pth", tmp_path / "a.npz", "--num-classes", "9")
    assert done.returncode == 1 and "missing, 32:" in done.stdout and not (tmp_path / "a.npz").exists()
    assert done.stderr.startswith("convert_weights.py: nothing written: it is a backbone; --allow-missing writes it")
    assert len(done.stderr.splitlines()) == 1
    done = convert(run_command, tmp_path / "mit.pth", tmp_path / "a.npz", "--allow-missing")
    assert done.returncode == 0 and checkpoint.load(tmp_path / "a.npz")[1]["num_classes"] is None
    done = convert(run_command, tmp_path / "a.npz", tmp_path / "b.pth")
    assert done.returncode == 0, done.stderr
    same(pytorch.load(tmp_path / "b.pth"), backbone(network[1]))
    wrong = {**network[1], "conv2.weight": np.zeros((64, 64, 1, 1), np.float32)}
    pytorch.save(tmp_path / "wrong.pth", wrong)
    done = convert(run_command, tmp_path / "wrong.pth", tmp_path / "c.npz")
    assert done.returncode == 1 and "conv2.weight (64, 64, 1, 1) for (64, 64, 3, 3)" in done.stdout
    done = convert(run_command, tmp_path / "wrong.pth", tmp_path / "c.npz", "--allow-missing")
    assert done.returncode == 1 and "of a wrong shape" in done.stderr and not (tmp_path / "c.npz").exists()


def test_mistakes_are_reported_in_one_line(official, tmp_path, run_command):
    for arguments, words in (
        ((tmp_path / "gone.pth", tmp_path / "a.npz"), "no checkpoint"),
        ((official, tmp_path / "a.h5"), "ends in none of .npz .safetensors .pth"),
        ((official, tmp_path / "a.npz", "--source", "mmseg"), "keys are those of official"),
        ((official, tmp_path / "none" / "a.npz"), "No such file or directory"),
        ((official, tmp_path / "a.npz", "--van-size", "van_tiny"), "--van-size van_tiny: "),
        ((official, tmp_path / "a.npz", "--num-classes", "19"), "has 9; leave it out"),
    ):
        done = convert(run_command, *arguments)
        assert done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
