"""--amp bfloat16 on the CPU through the real command lines: training, evaluation, prediction."""

import json

import cv2
import numpy as np
import pytest

from models.layers import conv
from utils.training.logger import read_log
from utils.weights import checkpoint

pytestmark = pytest.mark.skipif(bool(conv.why_no_bfloat16()), reason="oneDNN has no bfloat16 on this processor")
TRAIN = "--device cpu --model ccnet_r18 --dataset scenes --scene-size 64,128 --input-size 64,96 --batch-size 4".split()
TRAIN += "--optimizer adamw --learning-rate 1e-3 --weight-decay 1e-2 --random-mirror --num-steps 200".split()


def call(run_command, *command):
    done = run_command("python", *command)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bfloat16")


@pytest.mark.slow
def test_trained_weights_score_the_same(run_command, run_folder):
    """mean IoU within 0.2 points of float32, at least 99.5 % equal labels; the checkpoint is one of float32."""
    call(run_command, "train.py", *TRAIN, "--amp", "bfloat16", "--snapshot-dir", run_folder)
    file = run_folder / "CS_scenes_200.npz"
    arrays, _ = checkpoint.load(file)
    assert all(value.dtype == np.float32 for value in arrays.values())
    scores, labels = [], []
    for name, options in (("a", ()), ("b", ("--amp", "bfloat16"))):
        command = ["evaluate.py", "--device", "cpu", "--restore-from", file, "--save-predictions"]
        output = call(run_command, *command, "--save-dir", run_folder / name, *options)
        assert ("BatchNorms folded, bfloat16" in output) == (name == "b")
        scores.append(json.loads((run_folder / name / "result.json").read_text())["miou"])
        files = sorted((run_folder / name / "predictions").glob("*.png"))
        labels.append(np.stack([cv2.imread(str(path)) for path in files]))
    assert abs(scores[0] - scores[1]) < 2e-3 and scores[0] > 0.3
    assert (labels[0] == labels[1]).all(-1).mean() >= 0.995

    photo = run_folder / "photo.png"
    cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 255, (57, 73, 3)).astype(np.uint8))
    command = ["scripts/predict.py", "--device", "cpu", "--restore-from", file, "--amp", "bfloat16"]
    output = call(run_command, *command, "--input", photo, "--save-dir", run_folder / "out")
    assert "BatchNorms folded, bfloat16" in output and (run_folder / "out" / "photo_label.png").is_file()


@pytest.mark.parametrize("network", ["ccnet_r18", "van"])
def test_every_loss_is_near_that_of_float32(run_command, tmp_path, network):
    """In the first step, whose weights are the same."""
    flags = ["--model", network, "--batch-size", "2", "--num-steps", "2", "--accumulate", "2", "--device", "cpu"]
    flags += "--dataset scenes --scene-size 64,96 --input-size 64,96 --ccl --dice 0.5 --ohem --ohem-keep 2000".split()
    flags += ["--van-size", "van_tiny"] if network == "van" else []
    first = []
    for name, options in (("float32", ()), ("bfloat16", ("--amp", "bfloat16"))):
        output = call(run_command, "train.py", *flags, *options, "--snapshot-dir", tmp_path / name)
        assert "computed in float32" not in output
        rows = read_log(tmp_path / name / "log.csv")
        first.append(np.array([rows[loss][0] for loss in ("main", "aux", "ccl", "dice", "loss")]))
    assert (first[0] > 0).all() and (first[0] != first[1]).any()
    np.testing.assert_allclose(first[1], first[0], rtol=0.02)


def test_float16_is_for_a_gpu(run_command, tmp_path):
    command = ["evaluate.py", "--device", "cpu", "--restore-from", tmp_path / "none.npz", "--amp"]
    done = run_command("python", *command)
    expected = "evaluate.py: --amp float16 needs a GPU; the CPU has bfloat16. Fix: --amp bfloat16, or no --amp"
    assert done.returncode == 1 and done.stderr.strip() == expected
