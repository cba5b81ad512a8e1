"""Packed folders: the same samples as the dataset, refused if they do not fit on the disk."""

import sys

import numpy as np
import pytest
from PIL import Image
from support.scene_roots import SEED, SIZE

from datasets import build_dataset, training_data
from datasets.reading.image_io import DataError
from datasets.scenes import folders


def pack(script, root, out, *more):
    return script("python", "scripts/data/pack.py", "--data-dir", root, "--out", out, "--workers", "1", *more)


def test_a_packed_folder_is_the_dataset(script, tmp_path):
    root, out = folders.write_lip(tmp_path / "set", 3, SIZE, SEED), tmp_path / "packed"
    done = pack(script, root, out, "--dry-run")
    assert done.returncode == 0 and "needs 0.00 GB" in done.stdout and not out.exists(), done.output
    done = pack(script, root, out)
    assert done.returncode == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == ["pack.json", "train.u8", "val.u8"]
    for split in ("train", "val"):
        a, b = build_dataset("lip", split, root), build_dataset(split=split, data_dir=out)
        assert a.dataset_name == b.dataset_name == "lip" and (a.names, a.palette, a.flip_pairs) == (
            b.names,
            b.palette,
            b.flip_pairs,
        )
        assert a.total_len == b.total_len
        for k in range(3):
            assert a.sample_name(k) == b.sample_name(k) and all((x == y).all() for x, y in zip(a.read(k), b.read(k)))
    rules = dict(random_mirror=True, random_scale=True, batch_size=2, seed=3, num_workers=1)
    streams = [training_data("auto", "train", (40, 40), data_dir=place, **rules).forever() for place in (root, out)]
    for first, second, _ in zip(*streams, range(4)):
        assert all((x == y).all() for x, y in zip(first, second))
    done = pack(script, root, out)
    assert done.stdout.count("(exists already)") == 2 and "decode" not in done.stderr


def test_interrupted_packing_is_continued(script, tmp_path):
    root, out = folders.write_folder(tmp_path / "set", 4, SIZE, SEED), tmp_path / "packed"
    image = sorted((root / "images/train").iterdir())[2]
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    done = pack(script, root, out, "--split", "train")
    assert done.returncode == 1 and image.name in done.stderr and not (out / "pack.json").exists(), done.output
    with pytest.raises(ValueError, match="no pack.json"):
        build_dataset("packed", "train", out)
    image.write_bytes(whole)
    done = pack(script, root, out, "--split", "train")
    assert done.returncode == 0 and "continues, 3 of 4 are written" in done.stdout, done.output
    a, b = build_dataset("folder", "train", root), build_dataset("packed", "train", out)
    assert all((x == y).all() for k in range(4) for x, y in zip(a.read(k), b.read(k)))


def test_packing_again_after_a_file_was_written_anew(script, tmp_path):
    root, out = folders.write_folder(tmp_path / "set", 2, SIZE, SEED), tmp_path / "packed"
    assert pack(script, root, out).returncode == 0
    label = sorted((root / "labels/train").iterdir())[1]
    Image.fromarray(np.full(SIZE, 3, np.uint8)).save(label)
    done = pack(script, root, out)
    assert done.returncode == 0 and done.stdout.count("(exists already)") == 1, done.output
    assert (build_dataset("packed", "train", out).read(1)[1] == 3).all()


def test_packing_keeps_what_grey_labels_mean(script, tmp_path):
    root, out = tmp_path / "set", tmp_path / "packed"
    mask = np.zeros(SIZE, np.uint8)
    mask[9:30, 20:50] = 255
    for part in ("images", "labels"):
        (root / part / "train").mkdir(parents=True)
        Image.fromarray(mask).save(root / part / "train" / "a.png")
    (root / "classes.txt").write_text("background\nperson\n")
    done = pack(script, root, out)
    assert done.returncode == 0 and "255 is read as class 1" in done.stderr, done.output
    assert "split 'val' of a folder" in done.stdout and "is empty" in done.stdout  # and train is packed
    data = build_dataset(data_dir=out, num_classes=2, ignore_label=255, grey_labels="binary")
    assert data.grey_labels == "binary" and (data.read(0)[1] == mask // 255).all()
    done = pack(script, root, out, "--split", "val")
    assert done.returncode == 1 and "train (1), all (1); choose one with --split train" in done.stderr


def test_an_image_that_is_rotated_to_fit_its_label_is_packed_rotated(script, tmp_path):
    root, out = folders.write_folder(tmp_path / "set", 2, SIZE, SEED), tmp_path / "packed"
    path = sorted((root / "images" / "train").iterdir())[0]
    upright, exif = Image.open(path).convert("RGB"), Image.Exif()
    exif[274] = 6
    path.unlink()
    upright.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), exif=exif, quality=95)
    assert pack(script, root, out).returncode == 0
    a, b = build_dataset("folder", "train", root).read(0), build_dataset(data_dir=out).read(0)
    assert a[0].shape[:2] == SIZE and all((x == y).all() for x, y in zip(a, b))


def test_packed_cityscapes_reports_missing_instance_files(script, tmp_path):
    root, out = folders.write_cityscapes(tmp_path / "set", 1, SIZE, SEED), tmp_path / "packed"
    done = pack(script, root, out, "--split", "val", "test")
    assert done.returncode == 0 and "for iIoU, evaluate from the original folder" in done.stdout, done.output
    data = {split: build_dataset(split=split, data_dir=out) for split in ("val", "test")}
    assert data["val"].has_labels and data["test"].dataset_name == "cityscapes"


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"splits": {}}'])
def test_a_damaged_pack_json_is_named(script, tmp_path, content):
    (tmp_path / "pack.json").write_text(content)
    with pytest.raises(DataError, match="pack.json is damaged .*pack the dataset again"):
        build_dataset(data_dir=tmp_path)


def test_packing_is_refused_where_it_does_not_fit(monkeypatch, tmp_path):
    from scripts.data import pack as pack_dataset

    root = folders.write_folder(tmp_path / "set", 2, SIZE, SEED)
    monkeypatch.setattr(sys, "argv", ["x", "--data-dir", str(root), "--out", str(tmp_path / "out"), "--workers", "0"])
    monkeypatch.setattr(pack_dataset.runtime, "start", lambda device: None)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 20000}))
    with pytest.raises(ValueError, match="needs 0.00 GB and only 0.00 GB are free; choose another --out"):
        pack_dataset.main()
    assert not (tmp_path / "out").exists()


def test_a_packed_folder_refuses_what_it_does_not_hold(script, tmp_path):
    root, out = folders.write_folder(tmp_path / "set", 2, SIZE, SEED), tmp_path / "packed"
    assert pack(script, root, out).returncode == 0
    for options, words in (
        (dict(split="test"), "unknown split 'test' .* choose from train, val"),
        (dict(num_classes=19), "packed with --num-classes 9, not 19"),
        (dict(ignore_label=0), "packed with --ignore-label 255, not 0"),
        (dict(data_list="x.txt"), "--data-list does not work on a packed folder"),
        (dict(on_bad_label="ignore"), "--on-bad-label ignore comes too late"),
        (dict(resize_labels=True), "--resize-labels comes too late"),
        (dict(cache="ram"), "--cache ram has no use with a packed folder"),
    ):
        with pytest.raises(ValueError, match=words):
            build_dataset("packed", data_dir=out, **options)
    with open(out / "train.u8", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match="train.u8 is missing or shorter"):
        build_dataset("packed", "train", out)


def test_the_benchmark_prints_its_table(run_command):
    command = ["python", "scripts/benchmark/data.py", "--size", "64,128", "--crop", "49,49", "--count", "2"]
    done = run_command(*command, "--rounds", "1")  # in a separate process, as it pins itself to one core
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 6 and "official order" in rows[1] and "| 1.00 |" in rows[1] and "packed" in rows[5]
