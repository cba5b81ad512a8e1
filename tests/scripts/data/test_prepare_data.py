"""scripts/data/prepare_*.py: converted labels and images, continued runs, damaged files."""

import numpy as np
import pytest
from PIL import Image
from support.sbd import write_sbd
from support.scene_roots import SEED, SIZE

from datasets import build_dataset
from datasets.scenes import folders


def test_prepare_cityscapes(script, tmp_path):
    root = folders.write_cityscapes(tmp_path, 2, SIZE, SEED)
    want = {split: build_dataset("cityscapes", split, root).read(1)[1] for split in ("train", "val")}
    command = ["python", "scripts/data/prepare_cityscapes.py", "--data-dir", root, "--workers", "2"]
    done = script(*command, "--dry-run")
    assert done.returncode == 0 and not list(root.glob("gtFine/*/*/*TrainIds*")) and "6 to write" in done.stdout
    done = script(*command)
    assert done.returncode == 0, done.output
    for path in root.glob("gtFine/*/*/*_labelIds.png"):
        path.unlink()
    for split, label in want.items():
        np.testing.assert_array_equal(build_dataset("cityscapes", split, root).read(1)[1], label)


def test_preparation_is_continued_and_leaves_no_incomplete_files(script, tmp_path):
    root = folders.write_coco_stuff(tmp_path, 3, SIZE, SEED)
    want = build_dataset("coco_stuff", "train", root).read(0)[1]
    files = sorted((root / "annotations/train2017").glob("*.png"))
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:100])
    command = ["python", "scripts/data/prepare_coco_stuff.py", "--data-dir", root, "--workers", "1"]
    done = script(*command)
    assert done.returncode == 1 and files[1].name in done.stderr and "1 of 6 files failed" in done.stderr
    assert len(list(root.glob("annotations/*/*_labelTrainIds.png"))) == 5 and not list(root.glob("**/*.part"))
    files[1].write_bytes(whole)
    done = script(*command)
    assert done.returncode == 0 and "5 exist already, 1 to write" in done.stdout, done.output
    data = build_dataset("coco_stuff", "train", root)
    assert "labelTrainIds" in data.pairs[0][1].name
    np.testing.assert_array_equal(data.read(0)[1], want)


@pytest.mark.parametrize("layout", ["camvid", "segnet"])
def test_prepare_camvid(script, tmp_path, layout):
    root, out = folders.LAYOUTS[layout](tmp_path / "set", 2, SIZE, SEED), tmp_path / "out"
    done = script("python", "scripts/data/prepare_camvid.py", "--data-dir", root, "--out", out, "--workers", "1")
    assert done.returncode == 0, done.output
    for split in ("train", "val", "test"):
        a, b = build_dataset("camvid", split, root), build_dataset(split=split, data_dir=out)
        assert type(a) is type(b) and a.total_len == b.total_len == 2
        assert all((x == y).all() for k in range(2) for x, y in zip(a.read(k), b.read(k)))
    command = ["python", "scripts/data/prepare_camvid.py", "--data-dir", root, "--out", tmp_path / "small"]
    done = script(*command, "--size", "24,48", "--workers", "1")
    assert done.returncode == 0 and build_dataset(data_dir=tmp_path / "small").read(0)[1].shape == (24, 48)


@pytest.fixture
def voc_and_sbd(tmp_path):
    """VOC with 3 + 3 images, and SBD with two of them and two other images of VOC."""
    root = folders.write_voc(tmp_path / "voc", 3, SIZE, SEED)
    sbd = tmp_path / "benchmark_RELEASE" / "dataset"
    return root, sbd, write_sbd(sbd, root)


def test_prepare_voc_aug(script, voc_and_sbd):
    root, sbd, masks = voc_and_sbd
    command = [
        "python",
        "scripts/data/prepare_voc_aug.py",
        "--voc",
        root.parent,
        "--sbd",
        sbd.parents[1],
        "--workers",
        "1",
    ]
    done = script(*command)
    assert done.returncode == 1 and "would have 5 images, 2 of them added, not 10582 and 9118" in done.stderr
    assert not (root / "SegmentationClassAug").exists()
    done = script(*command, "--any-count")
    assert done.returncode == 0, done.output
    data = build_dataset("voc", "trainaug", root)
    assert [data.sample_name(k) for k in range(5)] == [
        "2007_000000",
        "2007_000001",
        "2007_000002",
        "2008_000100",
        "2008_000101",
    ]
    for name in ("2008_000100", "2008_000101"):
        label = np.asarray(Image.open(root / "SegmentationClassAug" / f"{name}.png"))
        np.testing.assert_array_equal(label, masks[name])
    for name in ("2007_000000", "2007_000001"):  # the masks of VOC, finer and with a border, have priority
        a, b = (np.asarray(Image.open(root / f / f"{name}.png")) for f in ("SegmentationClassAug", "SegmentationClass"))
        np.testing.assert_array_equal(a, b)
    done = script(*command, "--any-count")
    assert "8 exist already, 0 to write" in done.stdout


def test_a_damaged_mat_file_is_named(script, voc_and_sbd):
    root, sbd, _ = voc_and_sbd
    path = sbd / "cls" / "2008_000101.mat"
    for content in (path.read_bytes()[:150], b"MATLAB 7.3 " + b"\0" * 300, b"\0" * 128, b""):
        path.write_bytes(content)
        command = [
            "python",
            "scripts/data/prepare_voc_aug.py",
            "--voc",
            root,
            "--sbd",
            sbd,
            "--any-count",
            "--workers",
            "0",
        ]
        done = script(*command)
        assert done.returncode == 1 and "2008_000101.mat is not a mask file of SBD" in done.stderr, done.output
        assert "Traceback" not in done.stderr


def test_mat_files_as_scipy_writes_them(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    from scripts.data.prepare_voc_aug import read_gtcls

    values = np.arange(35, dtype=np.uint8).reshape(5, 7) % 21
    for compressed in (False, True):
        record = {"GTcls": {"Boundaries": [1.5], "Segmentation": values, "CategoriesPresent": [1, 2]}}
        scipy_io.savemat(tmp_path / "a.mat", record, do_compression=compressed)
        np.testing.assert_array_equal(read_gtcls(tmp_path / "a.mat"), values)
