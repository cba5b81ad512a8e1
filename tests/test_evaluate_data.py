"""evaluate.py on datasets as they lie on disk: scores, instances, files that the Cityscapes tool itself accepts."""

import json

import numpy as np
import pytest
from PIL import Image
from support.cityscapes_tool import NAMES, run_official
from support.mpirun import mpi

from datasets.scenes import folders
from models import build_model
from utils.weights import checkpoint

pytest.importorskip("datasets.cityscapes", reason="the datasets are not there yet")
META = {"model": "ccnet_r18", "recurrence": 2, "ignore_label": 255, "step": 1}
META["normalisation"] = {"channels": "bgr", "mean": [104.0, 117.0, 123.0], "std": [1.0, 1.0, 1.0]}
SETS = {"cityscapes": 19, "ade20k": 150, "voc": 21}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    import jittor as jt

    root = tmp_path_factory.mktemp("sets")
    for name, classes in SETS.items():
        folders.LAYOUTS[name](root / name, 3, (64, 96))
        jt.set_global_seed(3)
        model = build_model("ccnet_r18", classes, 2)
        last = model.head.bottleneck[-1].bias
        last.assign(jt.array(np.random.default_rng(0).standard_normal(classes).astype(np.float32) * 0.1))
        checkpoint.save(root / f"{name}.npz", model, {**META, "num_classes": classes})
    return root


@pytest.fixture
def evaluate(root, run_command):
    def call(name, out, *flags):
        command = ["evaluate.py", "--device", "cpu", "--restore-from", root / f"{name}.npz", "--data-dir", root / name]
        done = run_command("python", *command, "--save-dir", root / out, *flags)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return call


def test_cityscapes_scores_are_those_of_the_official_tool_on_our_exported_files(evaluate, root, run_command):
    done = evaluate("cityscapes", "cs", "--export", "cityscapes", "--input-size", "49,65", "--flip")
    assert done.returncode == 0, done.stderr
    ours = json.loads((root / "cs" / "result.json").read_text())
    files = sorted((root / "cs" / "export_cityscapes").iterdir())
    assert [f.name for f in files] == [f"birkenau_{k:06d}_{19 + k:06d}_pred_labelIds.png" for k in (3, 4, 5)]
    assert {"iIoU", "vehicle"} <= set(done.stdout.split())
    pytest.importorskip("cityscapesscripts.helpers.csHelpers", reason="cityscapesscripts is a dev requirement")
    official = run_official(run_command, root / "cityscapes", root / "cs" / "export_cityscapes", root)

    def same(mine, theirs):
        np.testing.assert_allclose(np.nan if mine is None else mine, theirs, rtol=0, atol=1e-12)

    for name in NAMES:
        same(ours["iou"][name], official["classScores"][name])
        same(ours["iiou"].get(name), official["classInstScores"][name])
    for name, value in ours["category_iou"].items():
        same(value, official["categoryScores"][name])
    for name, value in ours["category_iiou"].items():
        same(value, official["categoryInstScores"][name])
    for key, theirs in (
        ("miou", "Classes"),
        ("iiou_mean", "InstClasses"),
        ("category_miou", "Categories"),
        ("category_iiou_mean", "InstCategories"),
    ):
        same(ours[key], official[f"averageScore{theirs}"])


def test_the_test_split_is_exported_but_not_scored(evaluate, root):
    done = evaluate("cityscapes", "test", "--split", "test", "--export", "cityscapes")
    assert done.returncode == 0, done.stderr
    assert "nothing to score" in done.stdout and not (root / "test" / "result.json").exists()
    files = sorted((root / "test" / "export_cityscapes").iterdir())
    assert len(files) == 3
    for path in files:
        image = Image.open(path)
        values = set(np.unique(np.asarray(image)).tolist())
        assert image.mode == "L" and image.size == (96, 64)
        assert values <= {7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33}
    for flags, words in (
        ((), "has no labels to score: add --export or --save-predictions"),
        (("--export", "cityscapes", "--min-miou", "0.5"), "leave out --min-miou"),
        (("--export", "voc"), "--export voc is for another dataset than this one, cityscapes"),
    ):
        done = evaluate("cityscapes", "never", "--split", "test", *flags)
        assert done.returncode == 1 and words in done.stderr, done.stderr


def test_without_instance_files_there_is_no_iiou(evaluate, root):
    lost = next((root / "cityscapes" / "gtFine" / "val").rglob("*_instanceIds.png"))
    lost.rename(lost.with_suffix(".away"))
    try:
        done = evaluate("cityscapes", "plain")
    finally:
        lost.with_suffix(".away").rename(lost)
    result = json.loads((root / "plain" / "result.json").read_text())
    assert "iiou" not in result and "category_iou" in result and "iIoU" not in done.stdout


def test_ade20k_and_voc_files_scored_plainly_give_the_result_of_evaluate(evaluate, root):
    """The exported images against the label files, by each benchmark's own rule."""
    done = evaluate("ade20k", "ade", "--export", "ade20k")
    assert done.returncode == 0, done.stderr
    hit, union = np.zeros(151), np.zeros(151)
    for path in sorted((root / "ade" / "export_ade20k").iterdir()):
        guess = np.asarray(Image.open(path)).astype(int)
        truth = np.asarray(Image.open(root / "ade20k/ADEChallengeData2016/annotations/validation" / path.name))
        assert guess.min() >= 1 and guess.max() <= 150
        for k in range(1, 151):
            t, g = truth == k, (guess == k) & (truth > 0)
            hit[k] += (t & g).sum()
            union[k] += (t | g).sum()
    result = json.loads((root / "ade" / "result.json").read_text())
    assert result["miou"] == pytest.approx(np.mean(hit[union > 0] / union[union > 0]), rel=1e-12)
    assert result["miou_absent_as_zero"] == pytest.approx((hit / np.maximum(union, 1)).sum() / 150, rel=1e-12)

    done = evaluate("voc", "voc_out", "--export", "voc")
    assert done.returncode == 0, done.stderr
    hit, union = np.zeros(21), np.zeros(21)
    for path in sorted((root / "voc_out/results/VOC2012/Segmentation/comp6_val_cls").iterdir()):
        image = Image.open(path)
        guess = np.asarray(image)
        truth = np.asarray(Image.open(root / "voc/VOCdevkit/VOC2012/SegmentationClass" / path.name))
        assert image.mode == "P" and guess.max() <= 20
        for k in range(21):
            t, g = (truth == k), (guess == k) & (truth < 255)
            hit[k] += (t & g).sum()
            union[k] += (t | g).sum()
    result = json.loads((root / "voc_out" / "result.json").read_text())
    assert result["miou"] == pytest.approx(np.mean(hit[union > 0] / union[union > 0]), rel=1e-12)


def test_an_unreadable_image_is_an_error_or_left_out(evaluate, root):
    path = sorted((root / "voc" / "VOCdevkit" / "VOC2012" / "JPEGImages").iterdir())[-1]  # of val
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    try:
        stopped = evaluate("voc", "never")
        done = evaluate("voc", "left", "--on-bad-sample", "skip")
    finally:
        path.write_bytes(data)
    assert stopped.returncode == 1 and path.name in stopped.stderr
    assert done.returncode == 0 and path.name in done.stderr
    result = json.loads((root / "left" / "result.json").read_text())
    assert (result["images"], result["left_out"]) == (2, 1) and "2 images: mean IoU" in done.stdout
    rows = (root / "left" / "per_image.csv").read_text().splitlines()
    assert len(rows) == 4 and rows[-1].startswith(f"{path.stem},,,0,")


def test_what_is_left_out_is_counted_over_all_ranks(root, run_command):
    images = root / "voc" / "VOCdevkit" / "VOC2012" / "JPEGImages"
    broken = sorted(images.iterdir())[3:5]  # of the three of val, one on each of two ranks
    whole = [path.read_bytes() for path in broken]
    command = ["evaluate.py", "--device", "cpu", "--restore-from", root / "voc.npz", "--data-dir", root / "voc"]
    try:
        for path in broken:
            path.write_bytes(b"x" * 50)
        done, _ = mpi(run_command, *command, "--save-dir", root / "ranks", "--on-bad-sample", "skip")
    finally:
        for path, data in zip(broken, whole):
            path.write_bytes(data)
    assert done.returncode not in (0, 124) and "Traceback" not in done.stderr, done.stderr
    assert "2 of 3 samples cannot be read" in done.stderr and "on all ranks together" in done.stderr


def test_another_number_of_classes_is_an_error(run_command, root):
    command = ["evaluate.py", "--device", "cpu", "--restore-from", root / "voc.npz", "--data-dir", root / "cityscapes"]
    done = run_command("python", *command, "--save-dir", root / "never")
    assert done.returncode == 1 and "19 classes, not 21" in done.stderr and "Traceback" not in done.stderr
