"""The network of clips from the weights of the one for images to predictions on a video and on a folder of frames, each
command with the flags that it needs and no others."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support import rule_weights
from walks.places import ROOT_MAY, python, walk

from datasets.scenes import folders
from utils import runtime
from utils.weights import any_file, checkpoint

MPIRUN = Path(runtime.read_record().get("mpicc") or "none").with_name("mpirun")
TRAIN = "--model ccnet_r18 --data-dir data --input-size 33,49 --batch-size 2 --device cpu".split()
TRAIN += "--random-mirror --random-scale --color-jitter --cat-max-ratio 0.75 --save-every-minutes 0".split()
CLIPS = "--frames 3 --frame-stride 2".split()
LINE = "protocol: whole images, clips of 3 frames, stride 2; align_corners yes; labels: camvid, 11 classes, 255 ignored"


def train(place, *flags, **options):
    return walk(place, python("train.py", *TRAIN, *flags), **options).output


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data/, images/ (the weights of the network for images) and run/, two steps with clips."""
    folder = tmp_path_factory.mktemp("video")
    folders.write_camvid(folder / "data", 5, (64, 96))
    train(folder, "--num-steps", "1", "--snapshot-dir", "images")
    start = ["--restore-from", "images/CS_scenes_1.npz", *CLIPS, "--num-steps", "2", "--eval-every", "2"]
    output = train(folder, *start, "--snapshot-dir", "run")
    assert f"{LINE} (validation follows it, checkpoints record it)" in output
    assert "--frames 3: images/CS_scenes_1.npz was trained with 1" in output
    return folder


def meta_of(path):
    return checkpoint.load(path)[1]


def test_the_checkpoint_records_the_clips_and_its_weights_are_those_of_the_network_for_images(place):
    meta = meta_of(place / "run/CS_scenes_2.npz")
    assert meta["model_options"]["frames"] == 3
    assert (meta["protocol"]["frames"], meta["protocol"]["frame_stride"]) == (3, 2)
    arrays, images = (checkpoint.load(place / name)[0] for name in ("run/CS_scenes_2.npz", "images/CS_scenes_1.npz"))
    assert {key: value.shape for key, value in arrays.items()} == {key: value.shape for key, value in images.items()}
    assert "frames" not in meta_of(place / "images/CS_scenes_1.npz")["protocol"]


def test_a_run_resumes_with_its_clips_and_refuses_others(place):
    output = train(place, "--resume", "run/CS_scenes_2.npz", "--num-steps", "3", "--snapshot-dir", "more")
    assert LINE in output and "step 3/3" in output
    assert meta_of(place / "more/CS_scenes_3.npz")["protocol"]["frame_stride"] == 2
    resume = ["--resume", "run/CS_scenes_2.npz", "--frames", "5", "--num-steps", "3", "--snapshot-dir", "other"]
    assert "is of a run with --frames 3, this one has 5: it cannot be resumed" in train(place, *resume, code=1)


def test_evaluation_and_prediction_use_the_recorded_clips(place):
    with open(place / "run/validation.csv") as file:
        (row,) = csv.DictReader(file)
    call = python("evaluate.py", "--restore-from", "run/CS_scenes_2.npz", "--device", "cpu", "--save-dir", "scores")
    done = walk(place, call)
    assert f"{LINE} (recorded in the checkpoint)" in done.stdout
    result = json.loads((place / "scores/result.json").read_text())
    assert result["miou"] == pytest.approx(float(row["miou"]), abs=2e-6) and result["images"] == 5

    arrays, meta = checkpoint.load(place / "run/CS_scenes_2.npz")  # its gamma is almost 0; with these it is 0.5
    any_file.write(place / "rule.npz", rule_weights.ccnet({key: value.shape for key, value in arrays.items()}), meta)
    file = ["--restore-from", "rule.npz", "--device", "cpu"]
    walk(place, python("evaluate.py", *file, "--save-dir", "scores", "--save-predictions"))
    video = cv2.VideoWriter(str(place / "drive.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (96, 64))
    for path in sorted((place / "data/701_StillsRaw_full").glob("0016E5*")):
        video.write(cv2.imread(str(path)))
    video.release()
    inputs = ["data/701_StillsRaw_full", "drive.mp4"]
    done = walk(place, python("scripts/predict.py", *file, "--input", *inputs, "--save-dir", "out"))
    assert LINE in done.stdout and "16 of 16 files done" in done.stdout and "neighbours" not in done.output
    labels = {}
    for path in sorted((place / "scores/predictions").glob("*.png")):  # the folder has the clips of the loader
        labels[path.stem] = np.asarray(Image.open(place / f"out/{path.stem}_label.png"))
        assert (labels[path.stem] == np.asarray(Image.open(path))).mean() > 0.999
    assert len(labels) == 5 and len(np.unique(labels["0016E5_07963"])) > 2
    capture, count = cv2.VideoCapture(str(place / "out/drive_overlay.mp4")), 0
    while capture.read()[0]:
        count += 1
    assert count == 5

    alone = ["--input", "data/701_StillsRaw_full/0016E5_07963.png", "--save-dir", "alone"]
    output = walk(place, python("scripts/predict.py", *file, *alone)).output
    assert "1 of 1 images have no neighbours in a sequence of their folder: each is repeated" in output
    frame = np.asarray(Image.open(place / "alone/0016E5_07963_label.png"))
    assert (frame != labels["0016E5_07963"]).any()


def test_windows_scales_flip_and_flags_of_the_clips(place):
    call = python("evaluate.py", "--restore-from", "run/CS_scenes_2.npz", "--device", "cpu", "--eval-images", "2")
    flags = "--input-size 33,49 --scales 0.75,1 --flip --frames 5 --frame-stride 1 --save-dir windows".split()
    output = walk(place, [*call, *flags]).output
    assert "--frames 5: run/CS_scenes_2.npz was trained with 3" in output
    assert "clips of 5 frames, stride 1;" in output and "by flags: window, flip, frames, frame stride)" in output
    output = walk(place, [*call, "--frames", "1", "--save-dir", "single"]).output
    assert "whole images; align_corners" in output and "changed by flags: frames, frame stride)" in output


def test_what_has_no_clips_is_refused(place):
    folders.write_folder(place / "folder", 2, (64, 96))
    file = ["--restore-from", "run/CS_scenes_2.npz"]
    call = python("evaluate.py", *file, "--data-dir", "folder", "--device", "cpu", "--num-classes", "11")
    output = walk(place, call, code=1).output
    assert "clips of 3 frames need a dataset of sequences, camvid, and this is folder, of single images" in output
    image = "data/701_StillsRaw_full/0016E5_07959.png"
    output = walk(place, python("scripts/visualize_attention.py", *file, "--input", image), code=1).output
    assert "run/CS_scenes_2.npz takes clips of 3 frames, whose attention also runs over time" in output
    output = walk(place, python("scripts/export_onnx.py", *file, "--out", "net.onnx"), code=1).output
    assert "this network takes clips of 3 frames, and ONNX export is for single images" in output
    assert "expected an odd number of at least 1" in train(place, "--frames", "4", code=2)
    output = train(place, "--frame-stride", "2", "--snapshot-dir", "none", code=1)
    assert "--frame-stride 2 is of clips: add --frames, for example --frames 5, or leave it out" in output
    tiny = ["tests/support/tiny.py", *TRAIN[2:], "--model", "tiny", "--frames", "3", "--snapshot-dir", "none"]
    output = walk(place, python(*tiny), code=1).output
    assert "--frames 3: this network takes single images. Fix: another --model, or --frames 1" in output


@pytest.mark.skipif(not MPIRUN.is_file(), reason="no Open MPI on this machine")
@pytest.mark.parametrize("network", [["--model", "ccnet_r18"], ["--model", "van", "--van-size", "van_tiny"]])
def test_two_ranks_and_gradient_accumulation_take_the_step_of_one_process(place, tmp_path, network):
    """In pieces of one clip or two, BatchNorm sees other batches, so both runs have pieces of two."""
    flags = [*network, *CLIPS, "--batch-size", "4", "--accumulate", "2", "--num-steps", "1", "--drop-path", "0.5"]
    flags = [*flags[: None if "van" in network else -2], "--restore-from", ""]
    one = [*TRAIN, *flags, "--snapshot-dir", "one"]
    walk(place, python("train.py", *one, "--overwrite"))
    many = [MPIRUN, "--oversubscribe", "-np", "2", *python("train.py", *one[:-1], "many", "--overwrite")]
    assert "2 MPI ranks" in walk(place, many, **ROOT_MAY).output
    first, second = (checkpoint.load(place / name / "CS_scenes_1.npz")[0] for name in ("one", "many"))
    for key in first:
        assert np.linalg.norm(second[key] - first[key]) <= 1e-3 * np.linalg.norm(first[key]) + 1e-6, key
