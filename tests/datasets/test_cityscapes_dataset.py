"""Cityscapes: label ids, splits, coarse labels, and the official pipeline from files to the network."""

import numpy as np
from PIL import Image
from support.scene_roots import COUNT, SEED, SIZE

from datasets import build_dataset, dataset_class, training_data
from datasets.scenes import folders
from scripts.benchmark import official_recipe


def test_cityscapes_maps_all_ids():
    from datasets import cityscapes

    table = {value: number for value, number in cityscapes.VALUES.items() if number is not None}
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert table == {label: number for number, label in enumerate(ids)} and len(cityscapes.VALUES) == 34


def test_cityscapes_is_found_by_the_variable_of_its_official_scripts(roots, monkeypatch):
    monkeypatch.setenv("CITYSCAPES_DATASET", str(roots["cityscapes"]))
    assert build_dataset("cityscapes", "val").total_len == COUNT


def test_the_official_pipeline_from_files_to_the_network(tmp_path):
    """`--augment official` is bit-equal to the published loader; the default has equal labels and nearly equal
    images."""
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


def test_cityscapes_joins_splits_and_test_has_no_labels(roots, tmp_path):
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
    for path in sorted((root / "gtFine").glob("train/*/*_labelIds.png")):  # as csCreateTrainIdLabelImgs writes them
        ids = np.asarray(Image.open(path))
        table = np.full(256, 255, np.uint8)
        table[list(dataset_class("cityscapes").ids)] = range(19)
        Image.fromarray(table[ids]).save(str(path).replace("labelIds", "labelTrainIds"))
        path.unlink()
    data = build_dataset("cityscapes", "train", root)
    assert "labelTrainIds" in data.pairs[0][1].name
    np.testing.assert_array_equal(data.read(0)[1], want)
