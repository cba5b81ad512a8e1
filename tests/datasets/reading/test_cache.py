"""The cache in memory: the same samples, refused if it does not fit."""

import pytest
from support.scene_roots import SEED, SIZE

from datasets import build_dataset, training_data
from datasets.reading import cache
from datasets.reading.image_io import DataError
from datasets.scenes import folders


def test_the_ram_cache_changes_nothing_and_decodes_once(tmp_path, capfd):
    root = folders.write_folder(tmp_path, 4, SIZE, SEED)
    rules = dict(random_mirror=True, random_scale=True, batch_size=4, seed=3)
    plain = training_data("folder", "train", (40, 40), data_dir=root, **rules).forever()
    cached = training_data("folder", "train", (40, 40), data_dir=root, cache="ram", num_workers=2, **rules)
    assert "4 decoded samples need 0.00 GB" in capfd.readouterr().err
    stream = cached.forever()
    for number, (a, b) in enumerate(zip(plain, stream)):
        assert all((x == y).all() for x, y in zip(a, b))
        if number == 3:  # all are in memory, which the workers share: the files are not needed any more
            break
    files = [path for path in root.glob("**/*.png")]
    for path in files:
        path.unlink()
    assert next(cached.forever()).images.shape == (4, 40, 40, 3)
    assert cached.cache.shapes.all()


def test_the_ram_cache_is_refused_where_it_does_not_fit(tmp_path, monkeypatch):
    root = folders.write_folder(tmp_path, 4, SIZE, SEED)
    monkeypatch.setattr(cache, "free_memory", lambda: 70000)  # 4 x 48 x 96 x 4 = 73728
    with pytest.raises(DataError, match=r"--cache ram: 4 decoded samples need .*scripts/data/pack.py"):
        build_dataset("folder", "train", root, cache="ram")
    monkeypatch.setattr(cache, "free_memory", lambda: 100000)
    build_dataset("folder", "train", root, cache="ram")
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2")
    with pytest.raises(DataError, match="on each of 2 ranks"):
        build_dataset("folder", "train", root, cache="ram")
