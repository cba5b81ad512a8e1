"""The dataset of a run without --data-dir: from the current folder in training, from the checkpoint in evaluation."""

import os

import pytest

from datasets import build_dataset
from datasets.find import locate, record, recorded_place
from datasets.scenes import dataset, folders

NOTHING = {"name": "scenes", "data_dir": None, "scene_size": None}
SCENES = {"dataset": "scenes", "names": list(dataset.NAMES), "options": {"scene_size": [48, 96]}}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.delenv("CITYSCAPES_DATASET", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(layout, root):
    return folders.LAYOUTS[layout](root, 1, (16, 16))


@pytest.mark.parametrize(
    "layout, root",
    [("ade20k", "."), ("ade20k", "data"), ("voc", "."), ("cityscapes", "."), ("lip", "LIP"), ("camvid", "CamVid")],
)
def test_training_finds_the_one_dataset_in_the_current_folder(here, layout, root):
    write(layout, here / root)
    for asked in ("auto", layout):
        place, line = locate(asked)
        assert place["name"] == layout and build_dataset(**{k: v for k, v in place.items() if v}).total_len == 1
        assert line == f"data: {layout} in {place['data_dir']}, found in the current folder"


def test_two_datasets_in_the_current_folder_need_a_choice(here):
    write("ade20k", here)
    write("voc", here)
    with pytest.raises(ValueError, match=r"holds ade20k \(ADEChallengeData2016\) and voc .*choose one with --dataset"):
        locate("auto")
    assert locate("ade")[0]["name"] == "ade20k"
    assert locate("auto", scene_size=(8, 8))[0] == {
        **NOTHING,
        "scene_size": (8, 8),
    }  # --scene-size exists only for scenes
    assert locate("scenes") == (NOTHING, "")


def test_without_a_dataset_scenes_are_drawn_and_a_named_dataset_is_an_error(here):
    write("folder", here / "mine")  # layout "folder" must be named
    assert locate("auto") == (NOTHING, "data: drawn scenes (no --data-dir, and no known dataset in the current folder)")
    with pytest.raises(ValueError, match="--dataset voc needs --data-dir, the folder that holds JPEGImages/"):
        locate("voc")
    assert locate("folder")[0]["data_dir"] == "mine"


def test_the_cityscapes_variable_is_reported(here, monkeypatch):
    root = write("cityscapes", here / "a" / "b")
    monkeypatch.setenv("CITYSCAPES_DATASET", str(root))
    assert locate("cityscape") == (
        {**NOTHING, "name": "cityscapes", "data_dir": str(root)},
        f"data: cityscapes in {root} (CITYSCAPES_DATASET)",
    )


def test_a_checkpoint_finds_its_dataset_from_any_folder_or_asks(here, monkeypatch):
    write("voc", here / "sets")
    meta = {"data": record(locate("auto", "sets")[0]), "dataset": "voc"}
    assert meta["data"] == {"name": "voc", "data_dir": str(here / "sets"), "scene_size": None}
    (here / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    for asked in ("auto", "voc2012"):
        place, line = recorded_place(meta, "a.npz", asked)
        assert place == meta["data"] and line.startswith(f"data: voc in {here / 'sets'}, as a.npz records")
    os.rename(here / "sets", here / "moved")
    with pytest.raises(ValueError, match="a.npz was trained on voc in .*sets, which does not exist: give --data-dir"):
        recorded_place(meta, "a.npz", "auto")
    assert recorded_place(meta, "a.npz", "auto", str(here / "moved")) == (
        {**NOTHING, "name": "voc", "data_dir": str(here / "moved")},
        "",
    )


def test_scenes_are_drawn_at_their_size_and_refused_for_other_classes(here):
    assert recorded_place(SCENES, "a.npz", "auto")[0]["scene_size"] == [48, 96]  # written by an older version
    new = {**SCENES, "data": record({**NOTHING, "scene_size": (32, 64)})}
    assert recorded_place(new, "a.npz", "auto")[0]["scene_size"] == (32, 64)
    assert recorded_place(new, "a.npz", "auto", scene_size=(8, 8))[0]["scene_size"] == (8, 8)
    foreign = {"dataset": "folder", "names": [f"class {k}" for k in range(9)]}
    for asked in (("scenes",), ("auto", None, (48, 96))):
        with pytest.raises(ValueError, match="a.npz was trained on folder; its classes are not those of drawn scenes"):
            recorded_place(foreign, "a.npz", *asked)


def test_a_released_file_records_no_dataset_and_none_is_assumed(here):
    write("cityscapes", here)
    with pytest.raises(ValueError, match="a.pth does not record its dataset: give --data-dir"):
        recorded_place({}, "a.pth", "auto")
    assert recorded_place({}, "a.pth", "cityscapes")[0]["name"] == "cityscapes"  # named, and found in this folder
    assert recorded_place({}, "a.pth", "scenes") == (NOTHING, "")


def test_flags_that_a_dataset_cannot_use_are_refused(here):
    root = write("voc", here)
    for options, words in (
        ({"cache": "ram"}, "--cache ram has no use with drawn scenes"),
        ({"data_dir": root, "scene_size": (8, 8)}, "--scene-size is for drawn scenes, and this is voc"),
        ({"name": "packed", "data_dir": root, "cache": "ram"}, "--cache ram has no use with a packed folder"),
    ):
        with pytest.raises(ValueError, match=words):
            build_dataset(split="train", **options)
