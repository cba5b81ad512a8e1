"""The scripts that prepare data, run with the command of their docstring, each on a small copy of its dataset."""

import re
import shlex

import numpy as np
import pytest
from PIL import Image
from support.sbd import write_sbd
from walks.places import ROOT

from datasets import build_dataset
from datasets.scenes import folders

SIZE = (48, 96)


def printed(name, folder):
    """The command in the docstring of a script, with /data/ and data/ in `folder`."""
    docstring = (ROOT / "scripts" / "data" / f"{name}.py").read_text().split('"""')[1]
    (line,) = re.findall(rf"^ *python (scripts/data/{name}\.py .*)$", docstring, re.MULTILINE)
    return [re.sub(r"^/?(data|fast)/", f"{folder}/", word) for word in shlex.split(line)]


@pytest.fixture
def walk(run_command, tmp_path):
    def call(name, *more):
        script, *arguments = printed(name, tmp_path)
        done = run_command("python", ROOT / script, *arguments, *more, cwd=tmp_path)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
        return done.stdout

    return call


def test_make_scenes_then_prepare_cityscapes_verify_and_pack(walk, tmp_path):
    walk("make_scenes", "--count", "1")
    root = tmp_path / "tiny"
    assert build_dataset("cityscapes", "train", root).read(0)[1].shape == (256, 512)
    root.rename(tmp_path / "cityscapes")
    root = tmp_path / "cityscapes"
    want = build_dataset("cityscapes", "val", root).read(0)[1]
    walk("prepare_cityscapes")
    (path,) = root.glob("gtFine/val/*/*_labelTrainIds.png")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), want)
    assert "0 errors" in walk("verify")
    assert "train with --data-dir" in walk("pack")
    np.testing.assert_array_equal(build_dataset(split="val", data_dir=tmp_path / "cityscapes_packed").read(0)[1], want)


def test_prepare_camvid(walk, tmp_path):
    folders.LAYOUTS["camvid"](tmp_path / "CamVid", 1, (72, 96), 4)
    walk("prepare_camvid")
    data = build_dataset(split="train", data_dir=tmp_path / "camvid11")
    assert data.dataset_name == "camvid" and data.read(0)[1].shape == (360, 480)


def test_prepare_coco_stuff(walk, tmp_path):
    root = folders.LAYOUTS["coco_stuff"](tmp_path / "coco", 2, SIZE, 4)
    want = build_dataset("coco_stuff", "val", root).read(0)[1]
    walk("prepare_coco_stuff")
    data = build_dataset("coco_stuff", "val", root)
    assert data.pairs[0][1].name.endswith("_labelTrainIds.png") and (data.read(0)[1] == want).all()


def test_prepare_voc_aug(walk, tmp_path):
    root = folders.LAYOUTS["voc"](tmp_path, 3, SIZE, 4)
    masks = write_sbd(tmp_path / "benchmark_RELEASE" / "dataset", root)
    walk("prepare_voc_aug", "--any-count")  # five images, not 10582
    data = build_dataset("voc", "trainaug", root)
    assert data.total_len == 5 and (data.read(3)[1] == masks["2008_000100"]).all()
