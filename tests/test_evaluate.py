"""evaluate.py as its users call it, on drawn scenes and an untrained network."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import build_model
from utils import runtime
from utils.evaluation.confusion import iou
from utils.weights import checkpoint, network

MPIRUN = Path(runtime.read_record().get("mpicc") or "none").with_name("mpirun")
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
META = {"model": "ccnet_r18", "num_classes": 9, "recurrence": 2, "ignore_label": 255, "step": 1, "dataset": "scenes"}
META["normalisation"] = {"channels": "bgr", "mean": [104.0, 117.0, 123.0], "std": [1.0, 1.0, 1.0]}
NAMES = ["road", "pavement", "building", "sky", "tree", "car", "person", "sign", "pole"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import jittor as jt

    jt.set_global_seed(7)
    path = tmp_path_factory.mktemp("evaluate")
    checkpoint.save(path / "net.npz", build_model("ccnet_r18", 9, 2), META)
    return path


@pytest.fixture
def evaluate(folder, run_command):
    def call(out, *flags, ranks=0, images=7):
        command = ["python", "evaluate.py", "--device", "cpu", "--restore-from", folder / "net.npz", "--scene-size"]
        command += ["48,96", "--max-images", images, "--save-dir", folder / out, *flags]
        if ranks:
            command = [MPIRUN, "--oversubscribe", "-np", ranks, *command]
        return run_command(*command, env=AS_ROOT, timeout=400)

    return call


def confusion(out):
    rows = list(csv.reader(open(out / "confusion.csv")))
    return np.array([[int(x) for x in row[1:]] for row in rows[1:]])


def test_tables_and_images_agree_with_each_other(evaluate, folder):
    done = evaluate("all", "--save-predictions", "--boundary", "--examples", "2")
    assert done.returncode == 0, done.stderr
    out = folder / "all"
    result, counts = json.loads((out / "result.json").read_text()), confusion(out)
    for name, value in zip(NAMES, iou(counts)):
        assert result["iou"][name] == pytest.approx(value, nan_ok=True, abs=1e-15) or np.isnan(value)
    assert counts.sum() == sum(result["pixels"].values()) and counts.shape == (9, 10)
    assert result["settings"]["how"]["tile"] is None and 0 <= result["boundary_miou"] <= 1
    official = json.loads((out / "result.txt").read_text())
    np.testing.assert_allclose(official["IU_array"], np.nan_to_num(iou(counts)))
    assert official["meanIU"] == pytest.approx(np.mean(official["IU_array"])) == result["miou_absent_as_zero"]

    rows = list(csv.DictReader(open(out / "per_image.csv")))
    scores = [float(row["miou"]) for row in rows]
    assert len(rows) == 7 and scores == sorted(scores, reverse=True)
    assert sum(int(row["pixels"]) for row in rows) == counts.sum()
    predictions = sorted((out / "predictions").iterdir())
    assert [p.stem for p in predictions] == sorted(row["name"] for row in rows)
    from datasets.scenes.dataset import Scenes

    first = Image.open(predictions[0])
    label = Scenes("val", 48, 96).read(0)[1]
    right = (np.asarray(first) == label)[label != 255].mean()
    assert first.mode == "P" and right == pytest.approx(
        float(next(row["pixel_accuracy"] for row in rows if row["name"] == predictions[0].stem)), abs=1e-5
    )
    assert sorted(p.name for p in (out / "examples").iterdir()) == [
        "best_1.png", "best_2.png", "worst_1.png", "worst_2.png",
    ]  # fmt: skip
    assert Image.open(out / "examples" / "best_1.png").size == (4 * 96, 48)
    assert Image.open(out / "confusion.png").size[0] > 9 * 34
    assert "\nprotocol: whole images; align_corners yes; labels: " in done.stdout
    assert (
        "9 classes, 255 ignored (none is recorded)\n" in done.stdout and "R = 2" in done.stdout and "7/7" in done.stderr
    )


def test_scale_one_and_whole_are_what_happens_anyway(evaluate, folder):
    for out, flags in (("plain", ()), ("one", ("--scales", "1", "--whole", "--num-workers", "0"))):
        done = evaluate(out, *flags)
        assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(confusion(folder / "plain"), confusion(folder / "one"))


def test_windows_scales_and_mirror_together(evaluate, folder):
    done = evaluate(
        "views", "--input-size", "33,49", "--scales", "0.75,1.25", "--flip", "--average", "probabilities", images=2
    )
    assert done.returncode == 0, done.stderr
    assert "protocol: sliding 33x49, overlap 1/3, mirrored; align_corners yes; " in done.stdout
    assert (
        "(none is recorded, changed by flags: window, flip)\nscales 0.75 1.25, probabilities averaged\n" in done.stdout
    )
    protocol = json.loads((folder / "views" / "result.json").read_text())["settings"]["protocol"]
    assert protocol["window"] == [33, 49] and protocol["flip"] and protocol["labels"]["classes"] == 9
    assert confusion(folder / "views").sum() > 0.9 * 2 * 48 * 96


@pytest.mark.slow
@pytest.mark.skipif(not MPIRUN.is_file(), reason="no Open MPI on this machine")
def test_one_two_and_three_ranks_give_the_same_to_the_last_pixel(evaluate, folder):
    texts = {}
    for ranks in (1, 2, 3):
        out = f"ranks{ranks}"
        done = evaluate(out, "--save-predictions", "--boundary", ranks=ranks)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("mean IoU 0.") == 1
        files = sorted(str(p.relative_to(folder / out)) for p in (folder / out).rglob("*.png"))
        texts[ranks] = [(folder / out / name).read_text() for name in ("confusion.csv", "per_image.csv")] + files
    assert texts[1] == texts[2] == texts[3]
    assert len(texts[1]) == 2 + 7 + 6 + 2  # predictions, examples, sheet and matrix


def test_flags_that_make_no_sense_are_answered_in_one_line(evaluate, run_command):
    for flags, code, words in (
        (["--whole", "--input-size", "65"], 1, "leave one out"),
        (["--whole", "False"], 1, "needs the size of the sliding windows: add --input-size"),
        (["--whole", "maybe"], 2, "'maybe' is neither yes nor no"),
        (["--overlap", "0.5"], 1, "--overlap 0.5 is of sliding windows: add --input-size"),
        (["--overlap", "1"], 2, "a number from 0 to below 1"),
        (["--long-side", "99"], 1, "limits --short-side: add it"),
        (["--long-side", "99", "--short-side", "0"], 1, "which is 0: leave one of them out"),
        (["--average", "logits"], 1, "nothing to average: add --input-size, --scales or --flip"),
        (["--pad-multiple", "32", "--input-size", "65"], 1, "slides windows of one size"),
        (["--scales", "0,1"], 2, "expected factors from 0.1 to 8"),
        (["--scales", "1,1.0"], 2, "has the same scale twice"),
        (["--scales", "1;2"], 2, "with commas"),
        (["--min-miou", "70"], 2, "expected a number from 0 to 1"),
        (["--batch-size", "0"], 2, "at least 1"),
        (["--num-workers", "-1"], 2, "at least 0"),
        (["--recurrence", "x"], 2, "at least 0"),
        (["--export", "kitti"], 2, "cityscapes"),
        (["--input-size", "0,3"], 2, "is not a size"),
    ):
        done = evaluate("never", *flags)
        assert done.returncode == code and words in done.stderr, (flags, done.stderr[-400:])
        assert "Traceback" not in done.stderr


def test_what_only_the_checkpoint_or_the_data_can_refute_is_answered_likewise(evaluate, folder):
    for flags, words in (
        (["--export", "cityscapes"], "--export cityscapes is for another dataset than this one, scenes"),
        (["--num-classes", "19"], "--num-classes 19 contradicts"),
        (["--split", "nowhere"], "unknown split 'nowhere'"),
    ):
        done = evaluate("never", *flags)
        assert done.returncode == 1 and words in done.stderr, (flags, done.stderr[-400:])
        assert "Traceback" not in done.stderr
    assert not (folder / "never" / "result.json").exists()


def test_released_files_take_what_they_do_not_record_from_the_flags(monkeypatch, tmp_path):
    """Without a file: any_file.take returns a small network."""
    model = build_model("ccnet_r18", 9, 2)
    arrays = {key: value.numpy() for key, value in model.state_dict().items()}
    meta = {**META, "provenance": {"source": "official"}, "model_options": {}, "remarks": ["a remark"]}
    monkeypatch.setattr(network.any_file, "take", lambda path, source: (path, arrays, meta))
    asked = dict(model=None, num_classes=None, recurrence=1, van_size=None)
    built = {}

    def build(name, num_classes, recurrence, **options):
        built.update(name=name, recurrence=recurrence)
        return build_model(name, num_classes, recurrence, **options)

    loaded, told = network.load_network(str(tmp_path / "CS_scenes.pth"), build, asked)
    assert built == {"name": "ccnet_r18", "recurrence": 1} and told["recurrence"] == 1
    assert not loaded.is_training()
    np.testing.assert_array_equal(loaded.conv1.weight.numpy(), arrays["conv1.weight"])
    folded = []
    network.load_network(str(tmp_path / "CS_scenes.pth"), build, asked, fold=folded.append)
    assert len(folded) == 1
    meta["num_classes"] = None
    with pytest.raises(ValueError, match="is a backbone without a classifier"):
        network.load_network("resnet101-imagenet.pth", build, asked)


def test_the_official_commands_parse():
    """As printed in the READMEs of the official and the pure PyTorch repositories, but for data flags."""
    import evaluate

    parse = evaluate.parse_args
    args = parse("--restore-from CS_scenes_60000.pth --gpu 0 --recurrence 2 --batch-size 4 --num-classes 19".split())
    assert args.gpu == "0" and args.recurrence == 2 and args.batch_size == 4 and not args.whole
    args = parse("--input-size 769,769 --restore-from x.pth --gpu 0,1 --num-workers 8 --ignore-label 255".split())
    assert args.input_size == (769, 769) and args.num_workers == 8 and args.ignore_label == 255
    args = parse("--whole Ture --Output out --restore-from x.pth --input-size 512".split())
    assert args.whole and args.save_dir == "out" and args.input_size == (512, 512)
    assert (
        parse(["--restore-from", "x", "--whole"]).whole and parse("--restore-from x --whole 0".split()).whole is False
    )
