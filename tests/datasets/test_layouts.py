"""Every dataset written from drawn scenes: detected from its folders, counted and read with the right classes."""

import numpy as np
import pytest
from support.scene_roots import COUNT, SEED, SIZE

from datasets import build_dataset, dataset_class, detect
from datasets.scenes.dataset import IGNORE, NAMES, draw_scene

# layout -> (dataset, {split: first scene}, {scene class: class of the dataset, or None if ignored})
EXPECTED = {
    "cityscapes": (
        "cityscapes",
        {"train": 0, "val": COUNT},
        dict(road=0, pavement=1, building=2, sky=10, tree=8, car=13, person=11, sign=7, pole=5, void=None),
    ),
    "ade20k": (
        "ade20k",
        {"train": 0, "val": COUNT},
        dict(road=6, pavement=11, building=1, sky=2, tree=4, car=20, person=12, sign=43, pole=93, void=None),
    ),
    "voc": ("voc", {"train": 0, "val": COUNT}, None),
    "camvid": (
        "camvid",
        {"train": 0, "val": COUNT, "test": 2 * COUNT},
        dict(road=3, pavement=4, building=1, sky=0, tree=5, car=8, person=9, sign=6, pole=2, void=None),
    ),
    "segnet": (
        "camvid",
        {"train": 0, "val": COUNT, "test": 2 * COUNT},
        dict(road=3, pavement=4, building=1, sky=0, tree=5, car=8, person=9, sign=6, pole=2, void=None),
    ),
    "lip": ("lip", {"train": 0, "val": COUNT}, None),
    "coco_stuff": (
        "coco_stuff",
        {"train": 0, "val": COUNT},
        dict(road=137, pavement=128, building=84, sky=145, tree=157, car=2, person=0, sign=11, pole=152, void=None),
    ),
    "folder": ("folder", {"train": 0, "val": COUNT}, {**{n: k for k, n in enumerate(NAMES)}, "void": None}),
}


def expected_label(scene, classes, ignore=255):
    table = np.zeros(256, np.uint8)
    for number, name in enumerate(NAMES):
        table[number] = ignore if classes[name] is None else classes[name]
    table[IGNORE] = ignore if classes["void"] is None else classes["void"]
    return table[scene]


@pytest.mark.parametrize("layout", EXPECTED)
def test_a_layout_is_detected_from_its_folder(roots, layout):
    name, splits, classes = EXPECTED[layout]
    assert detect(roots[layout]) == name
    for split, first in splits.items():
        data = build_dataset(split=split, data_dir=roots[layout])
        assert type(data) is dataset_class(name) and data.total_len == COUNT
        assert len(data.names) == len(data.palette) == len(set(data.names))
        for index in range(COUNT):
            image, label = data.read(index)
            drawn, scene, _ = draw_scene(SEED, first + index, *SIZE)
            limit = 12 if data.pairs[index][0].suffix == ".jpg" else 0
            assert image.shape == drawn.shape and np.abs(image.astype(int) - drawn).mean() <= limit
            if classes:
                np.testing.assert_array_equal(label, expected_label(scene, classes))
            assert set(np.unique(label)) <= {*range(len(data.names)), 255} and (label == 255).any()


@pytest.mark.parametrize("layout", EXPECTED)
def test_the_folder_inside_or_around_the_root_is_accepted(roots, layout):
    name, _, _ = EXPECTED[layout]
    root = build_dataset(name, data_dir=roots[layout]).root
    inner = next(entry for entry in sorted(root.iterdir()) if entry.is_dir())
    outer = root.parent
    assert build_dataset(name, data_dir=inner).root.samefile(root)
    assert build_dataset(name, data_dir=outer).root.samefile(root) and detect(outer) == name


def test_names_and_counts():
    counts = {name: len(dataset_class(name).names) for name in ("cityscapes", "ade20k", "voc", "camvid", "lip")}
    assert counts == {"cityscapes": 19, "ade20k": 150, "voc": 21, "camvid": 11, "lip": 20}
    assert len(dataset_class("coco_stuff").names) == 171
    ade, coco, voc = dataset_class("ade20k"), dataset_class("coco_stuff"), dataset_class("voc")
    assert (ade.names[0], ade.names[44], ade.names[149]) == ("wall", "chest of drawers", "flag")
    assert ade.palette[6] == ade.palette[48] == (140, 140, 140)
    assert (coco.names[0], coco.names[80], coco.names[170]) == ("person", "banner", "wood")
    assert coco.values[181] == 170 and 11 not in coco.values and len(coco.values) == 171
    assert (voc.names[15], voc.palette[15]) == ("person", (192, 128, 128))
