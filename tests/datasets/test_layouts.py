"""Every data set from generated scenes on disk: found by its folders, counted and read as its authors mean it."""

import numpy as np
import pytest
from PIL import Image
from support.scene_roots import COUNT, SEED, SIZE

from datasets import build_dataset, dataset_class, detect, training_data
from datasets.reading.image_io import DataError
from datasets.scenes import folders
from datasets.scenes.dataset import IGNORE, NAMES, draw_scene
from scripts.benchmark import official_recipe

# layout -> data set, splits with their first scene, scene class -> class of the data set (None: ignored)
BACKGROUND = dict.fromkeys(NAMES, 0)
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
def test_a_layout_loads_by_its_folder_alone(roots, layout):
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
def test_one_level_of_nesting_either_way(roots, layout):
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


def test_cityscapes_maps_all_ids():
    from datasets import cityscapes

    table = {value: number for value, number in cityscapes.VALUES.items() if number is not None}
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert table == {label: number for number, label in enumerate(ids)} and len(cityscapes.VALUES) == 34


def test_cityscapes_is_found_by_the_variable_of_its_own_scripts(roots, monkeypatch):
    monkeypatch.setenv("CITYSCAPES_DATASET", str(roots["cityscapes"]))
    assert build_dataset("cityscapes", "val").total_len == COUNT


def test_the_official_pipeline_from_files_to_the_network(tmp_path):
    """`--augment official` is bit-equal to the published loader; the default has its labels, and nearly its
    pictures."""
    from datasets.normalise import normalise_batch

    root, crop = folders.write_cityscapes(tmp_path, 3, (256, 512), SEED, splits=("train",)), (193, 193)
    rules = dict(random_scale=True, random_mirror=True, data_dir=root, batch_size=4, seed=11)
    official = training_data("cityscapes", "train", crop, "official", num_workers=2, **rules)
    fast = training_data("cityscapes", "train", crop, **rules)
    position, off = 0, []
    for a, b, _ in zip(official.forever(), fast.forever(), range(8)):
        x, y = (normalise_batch(batch.images, boxes=batch.boxes).numpy() for batch in (a, b))
        for k, index in enumerate(a.indices):
            rng = np.random.default_rng([11, position // 3, int(index)])  # seed, epoch, sample
            image, label = official_recipe.augment(*official_recipe.load(*official.pairs[index]), crop, rng)
            np.testing.assert_array_equal(x[k], image)
            np.testing.assert_array_equal(a.labels[k], label)
            np.testing.assert_array_equal(b.labels[k], label)
            off.append(np.abs(y[k] - image).mean())
            position += 1
    assert len(off) == 32 and max(off) < 0.02  # grey levels


def test_cityscapes_unites_splits_and_knows_that_test_has_no_labels(roots, tmp_path):
    assert build_dataset("cityscapes", "trainval", roots["cityscapes"]).total_len == 2 * COUNT
    data = build_dataset("cityscapes", "test", roots["cityscapes"])
    image, label = data.read(0)
    assert image.shape == (*SIZE, 3) and (label == 255).all() and data.pairs[0][1] is None


def test_cityscapes_coarse_and_train_ids(tmp_path):
    root = folders.write_cityscapes(tmp_path, 2, SIZE, SEED, splits=("train",))
    (root / "leftImg8bit" / "train_extra").mkdir()
    for path in sorted((root / "gtFine").glob("train/*/*_labelIds.png")):
        city = path.parent.name
        coarse = root / "gtCoarse" / "train_extra" / city / path.name.replace("gtFine", "gtCoarse")
        coarse.parent.mkdir(parents=True, exist_ok=True)
        coarse.write_bytes(path.read_bytes())
    (root / "leftImg8bit" / "train_extra" / city).symlink_to(root / "leftImg8bit" / "train" / city)
    assert build_dataset("cityscapes", "train_extra", root).total_len == 2
    assert build_dataset("cityscapes", "train+", root).total_len == 4
    want = build_dataset("cityscapes", "train", root).read(0)[1]
    for path in sorted((root / "gtFine").glob("train/*/*_labelIds.png")):  # as csCreateTrainIdLabelImgs leaves them
        ids = np.asarray(Image.open(path))
        table = np.full(256, 255, np.uint8)
        table[list(dataset_class("cityscapes").ids)] = range(19)
        Image.fromarray(table[ids]).save(str(path).replace("labelIds", "labelTrainIds"))
        path.unlink()
    data = build_dataset("cityscapes", "train", root)
    assert "labelTrainIds" in data.pairs[0][1].name
    np.testing.assert_array_equal(data.read(0)[1], want)


def test_ade20k_with_150_and_151_classes(roots):
    small = build_dataset("ade20k", "val", roots["ade20k"])
    large = build_dataset("ade20k", "val", roots["ade20k"], num_classes=151, ignore_label=0)
    assert (len(small.names), len(large.names)) == (150, 151) and large.names[1:] == small.names
    a, b = small.read(1)[1], large.read(1)[1]
    np.testing.assert_array_equal(np.where(a == 255, 0, a + 1), b)
    data = training_data("ade20k", "val", (80, 120), data_dir=roots["ade20k"], num_classes=151, ignore_label=0)
    labels = next(data.forever()).labels
    assert labels.max() < 151 and (labels[:, 60:] == 0).all()  # the padding is ignored, too
    with pytest.raises(ValueError, match="150 or 151 classes, not 19"):
        build_dataset("ade20k", "val", roots["ade20k"], num_classes=19)


def test_the_full_ade20k_is_named_as_such(tmp_path):
    (tmp_path / "images" / "ADE" / "training").mkdir(parents=True)
    with pytest.raises(ValueError, match="is the full ADE20K .*ADEChallengeData2016"):
        build_dataset("ade20k", "train", tmp_path)
    with pytest.raises(ValueError, match="is the full ADE20K"):
        detect(tmp_path)


def test_voc_reads_palette_labels_and_their_border(roots):
    data = build_dataset("voc", "train", roots["voc"])
    values = np.concatenate([data.read(index)[1].ravel() for index in range(COUNT)])
    assert set(np.unique(values)) == {0, 7, 15, 255}
    for index in range(COUNT):
        np.testing.assert_array_equal(data.read(index)[1], np.asarray(Image.open(data.pairs[index][1])))
    assert build_dataset("voc", "trainval", roots["voc"]).total_len == 2 * COUNT


def test_voc_trainaug_needs_its_folder_and_says_how_to_make_it(roots):
    (roots["voc"] / "ImageSets/Segmentation/trainaug.txt").write_text("2007_000000\n2007_000001\n")
    with pytest.raises(DataError, match="no SegmentationClassAug; make it with scripts/data/prepare_voc_aug.py"):
        build_dataset("voc", "trainaug", roots["voc"])
    assert build_dataset("voc", "train", roots["voc"]).total_len == COUNT


def test_camvid_in_32_colours(roots):
    data = build_dataset("camvid", "val", roots["camvid"], num_classes=32)
    assert len(data.names) == 32 and data.names[17] == "Road" and data.palette[17] == (128, 64, 128)
    label, scene = data.read(0)[1], draw_scene(SEED, COUNT, *SIZE)[1]
    assert (label[scene == NAMES.index("road")] == 17).all() and (label[scene == IGNORE] == 255).all()
    with pytest.raises(ValueError, match="labels of 11 classes; 32 need the original"):
        build_dataset("camvid", "val", roots["segnet"], num_classes=32)
    with pytest.raises(ValueError, match="11 or 32 classes, not 19"):
        build_dataset("camvid", "val", roots["camvid"], num_classes=19)


def test_camvid_clips_stay_within_a_stretch_of_their_sequence(tmp_path):
    from datasets import camvid

    for number in (930, 960, 990, 1020, 3000, 3030):  # a gap
        stem = f"0006R0_f{number:05d}"
        value = np.full((4, 6), number % 7, np.uint8)
        folders.write(tmp_path / "train" / f"{stem}.png", Image.fromarray(np.repeat(value[:, :, None], 3, 2)))
        folders.write(tmp_path / "trainannot" / f"{stem}.png", Image.fromarray(value))
    data = build_dataset("camvid", "train", tmp_path, frames=3)
    assert [data.clip(k) for k in range(6)] == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3], [4, 4, 5], [4, 5, 5]]
    image, label = data.read(1)
    assert image.shape == (3, 4, 6, 3) and label.shape == (3, 4, 6)
    assert [int(frame[0, 0]) for frame in label] == [930 % 7, 960 % 7, 990 % 7] == [int(f[0, 0, 0]) for f in image]
    data = build_dataset("camvid", "train", tmp_path, frames=3, stride=2)
    assert data.clip(2) == [0, 2, 3]
    batch = next(training_data("camvid", "train", (4, 4), data_dir=tmp_path, frames=3, batch_size=2).forever())
    assert batch.images.shape == (2, 3, 4, 4, 3) and batch.labels.shape == (2, 3, 4, 4)
    assert camvid.usual_split("0001TP_008520") == "train" and camvid.usual_split("0001TP_008550") == "test"
    assert camvid.usual_split("0016E5_07957") == "train" and camvid.usual_split("0016E5_08159") == "val"


def test_lip_swaps_left_and_right_when_mirrored(roots):
    data = training_data("lip", "train", SIZE, random_mirror=True, data_dir=roots["lip"], batch_size=COUNT, seed=1)
    plain = build_dataset("lip", "train", roots["lip"])
    swapped, seen = np.arange(256), set()
    swapped[[14, 15, 16, 17, 18, 19]] = 15, 14, 17, 16, 19, 18
    for batch, _ in zip(data.forever(), range(6)):
        for index, label in zip(batch.indices, batch.labels):
            original = plain.read(index)[1]
            mirrored = not (label == original).all()
            seen.add(mirrored)
            if mirrored:
                np.testing.assert_array_equal(label, swapped[original[:, ::-1]])
    assert seen == {True, False}


def test_lip_as_its_zips_unpack(roots, tmp_path):
    (tmp_path / "TrainVal_images").mkdir()
    (tmp_path / "TrainVal_parsing_annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / "TrainVal_images" / f"{split}_images").symlink_to(roots["lip"] / f"{split}_images")
        (tmp_path / "TrainVal_parsing_annotations" / f"{split}_segmentations").symlink_to(
            roots["lip"] / f"{split}_segmentations"
        )
    assert detect(tmp_path) == "lip" and build_dataset(split="val", data_dir=tmp_path).total_len == COUNT


def test_coco_in_the_folders_of_the_stuffthingmaps(roots, tmp_path):
    (tmp_path / "stuffthingmaps").symlink_to(roots["coco_stuff"] / "annotations")
    (tmp_path / "images").symlink_to(roots["coco_stuff"] / "images")
    a, b = (build_dataset("coco_stuff", "val", folder) for folder in (tmp_path, roots["coco_stuff"]))
    assert (a.read(0)[1] == b.read(0)[1]).all()
