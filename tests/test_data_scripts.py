"""The scripts that verify, prepare and pack data, as their users call them."""

import json
import runpy
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import build_dataset, scene_folders, training_data
from datasets.image_io import DataError
from datasets.scenes import draw_scene
from utils import runtime

ROOT = Path(__file__).resolve().parent.parent
SIZE, SEED = (48, 96), 4


@pytest.fixture
def script(monkeypatch, capfd):
    """Run a script as a command would, but in this process, where Jittor is imported already: two seconds less a
    call."""
    monkeypatch.setattr(runtime, "start", lambda device: None)

    def call(python, path, *arguments):
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            runpy.run_path(str(ROOT / path), run_name="__main__")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) or end.code is None else 1
            print(end.code if isinstance(end.code, str) else "", file=sys.stderr)
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(path, code or 0, out, err)

    return call


def say(done):
    return done.stdout + done.stderr


# --- verify


def verify(script, root, out, *more):
    return script("python", "scripts/verify_dataset.py", "--data-dir", root, "--out", out, "--workers", "1", *more)


def test_verify_says_what_is_there(script, tmp_path):
    root = scene_folders.write_cityscapes(tmp_path / "set", 3, SIZE, SEED)
    done = verify(script, root, tmp_path / "out")
    assert done.returncode == 0, say(done)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (
        report["dataset"] == "cityscapes"
        and report["errors"] == []
        and set(report["splits"])
        == {
            "train",
            "val",
            "test",
        }
    )
    train = report["splits"]["train"]
    labels = [build_dataset("cityscapes", "train", root).read(k)[1] for k in range(3)]
    assert train["samples"] == train["decoded"] == 3 and train["sizes"] == {"48x96": 3}
    assert train["classes"]["road"]["share"] == pytest.approx(np.mean([label == 0 for label in labels]))
    assert train["classes"]["car"]["pictures"] == sum((label == 13).any() for label in labels)
    assert train["ignored_share"] == pytest.approx(np.mean([label == 255 for label in labels]))
    assert "train has 3 pictures, the full Cityscapes 2975" in " ".join(report["warnings"])
    assert "Cityscapes train: 3 samples" in done.stdout and "100%" in done.stderr
    width, height = Image.open(tmp_path / "out/sheet.png").size
    assert width > 700 and height > 1000


def test_verify_names_each_fault_and_fails(script, tmp_path):
    root = scene_folders.write_folder(tmp_path / "set", 4, SIZE, SEED)
    images, labels = sorted((root / "images/train").iterdir()), sorted((root / "labels/train").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:500])
    label = np.asarray(Image.open(labels[1])).copy()
    label[0] = 77
    Image.fromarray(label).save(labels[1])
    Image.fromarray(np.full(SIZE, 255, np.uint8)).save(labels[3])
    val = sorted((root / "images/val").iterdir())[0]
    val.write_bytes(images[2].read_bytes())  # the same picture in both splits
    done = verify(script, root, tmp_path / "out")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    report = json.loads((tmp_path / "out/report.json").read_text())
    errors, warnings = report["errors"], " ".join(report["warnings"])
    assert len(errors) == 2 and "truncated or damaged" in errors[0] and "77 (96 pixels)" in errors[1]
    assert "val/scene4 is the same picture as train/scene2" in warnings and "1 labels are void" in warnings
    assert report["splits"]["train"]["failed"] == 2 and "2 errors" in done.stdout


def test_verify_of_nothing(script, tmp_path):
    done = verify(script, tmp_path, tmp_path / "out")
    assert done.returncode == 1 and "layout of no known data set" in done.stderr and "Traceback" not in done.stderr
    root = scene_folders.write_lip(tmp_path / "lip", 1, SIZE)
    for path in (root / "train_segmentations").iterdir():
        path.unlink()
    done = verify(script, root, tmp_path / "out")
    assert done.returncode == 1 and "1 of 1 pictures in" in done.stdout and "have no label" in done.stdout


# --- prepare


def test_prepare_cityscapes(script, tmp_path):
    root = scene_folders.write_cityscapes(tmp_path, 2, SIZE, SEED)
    want = {split: build_dataset("cityscapes", split, root).read(1)[1] for split in ("train", "val")}
    command = ["python", "scripts/prepare_cityscapes.py", "--data-dir", root, "--workers", "2"]
    done = script(*command, "--dry-run")
    assert done.returncode == 0 and not list(root.glob("gtFine/*/*/*TrainIds*")) and "6 to write" in done.stdout
    done = script(*command)
    assert done.returncode == 0, say(done)
    for path in root.glob("gtFine/*/*/*_labelIds.png"):
        path.unlink()
    for split, label in want.items():
        np.testing.assert_array_equal(build_dataset("cityscapes", split, root).read(1)[1], label)


def test_preparation_goes_on_and_leaves_no_half_files(script, tmp_path):
    root = scene_folders.write_coco_stuff(tmp_path, 3, SIZE, SEED)
    want = build_dataset("coco_stuff", "train", root).read(0)[1]
    files = sorted((root / "annotations/train2017").glob("*.png"))
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:100])
    command = ["python", "scripts/prepare_coco_stuff.py", "--data-dir", root, "--workers", "1"]
    done = script(*command)
    assert done.returncode == 1 and files[1].name in done.stderr and "1 of 6 files failed" in done.stderr
    assert len(list(root.glob("annotations/*/*_labelTrainIds.png"))) == 5 and not list(root.glob("**/*.part"))
    files[1].write_bytes(whole)
    done = script(*command)
    assert done.returncode == 0 and "5 are there already, 1 to write" in done.stdout, say(done)
    data = build_dataset("coco_stuff", "train", root)
    assert "labelTrainIds" in data.pairs[0][1].name
    np.testing.assert_array_equal(data.read(0)[1], want)


@pytest.mark.parametrize("layout", ["camvid", "segnet"])
def test_prepare_camvid(script, tmp_path, layout):
    root, out = scene_folders.LAYOUTS[layout](tmp_path / "set", 2, SIZE, SEED), tmp_path / "out"
    done = script("python", "scripts/prepare_camvid.py", "--data-dir", root, "--out", out, "--workers", "1")
    assert done.returncode == 0, say(done)
    for split in ("train", "val", "test"):
        a, b = build_dataset("camvid", split, root), build_dataset(split=split, data_dir=out)
        assert type(a) is type(b) and a.total_len == b.total_len == 2
        assert all((x == y).all() for k in range(2) for x, y in zip(a.read(k), b.read(k)))
    command = ["python", "scripts/prepare_camvid.py", "--data-dir", root, "--out", tmp_path / "small"]
    done = script(*command, "--size", "24,48", "--workers", "1")
    assert done.returncode == 0 and build_dataset(data_dir=tmp_path / "small").read(0)[1].shape == (24, 48)


def mat_file(values, compressed):
    """A .mat file as SBD's: GTcls, a struct with Boundaries (skipped), Segmentation and CategoriesPresent."""

    def element(kind, data):
        return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    def small(kind, data):
        return struct.pack("<HH", kind, len(data)) + data.ljust(4, b"\0")

    def array(name, kind, flag, content, shape):
        head = element(6, struct.pack("<II", flag, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
        return element(14, head + (small(1, name) if 0 < len(name) <= 4 else element(1, name)) + kind + content)

    height, width = values.shape
    fields = [
        array(b"", b"", 1, array(b"", b"", 9, small(2, b"\1"), (1, 1)), (1, 1)),  # a cell
        array(b"", b"", 9, element(2, values.tobytes("F")), (height, width)),
        array(b"", b"", 9, small(2, b"\7"), (1, 1)),
    ]
    names = b"".join(name.ljust(32, b"\0") for name in (b"Boundaries", b"Segmentation", b"CategoriesPresent"))
    struct_ = array(b"GTcls", b"", 2, small(5, struct.pack("<i", 32)) + element(1, names) + b"".join(fields), (1, 1))
    if compressed:
        packed = zlib.compress(struct_)
        struct_ = struct.pack("<II", 15, len(packed)) + packed
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + struct_


@pytest.fixture
def voc_and_sbd(tmp_path):
    """VOC with 3 + 3 pictures, and SBD with two of them and two more of VOC's pictures."""
    root = scene_folders.write_voc(tmp_path / "voc", 3, SIZE, SEED)
    sbd = tmp_path / "benchmark_RELEASE" / "dataset"
    (sbd / "cls").mkdir(parents=True)
    masks = {}
    for index, name in enumerate(("2007_000000", "2007_000003", "2008_000100", "2008_000101")):
        image, label, _ = draw_scene(SEED, 20 + index, 47, 95)
        scene_folders.write(root / "JPEGImages" / f"{name}.jpg", Image.fromarray(image))
        masks[name] = np.where(label == 255, 0, label).astype(np.uint8)
        (sbd / "cls" / f"{name}.mat").write_bytes(mat_file(masks[name], compressed=index % 2))
    (sbd / "train.txt").write_text("2007_000000\n2008_000100\n")
    (sbd / "val.txt").write_text("2007_000003\n2008_000101\n")
    return root, sbd, masks


def test_prepare_voc_aug(script, voc_and_sbd):
    root, sbd, masks = voc_and_sbd
    command = ["python", "scripts/prepare_voc_aug.py", "--voc", root.parent, "--sbd", sbd.parents[1], "--workers", "1"]
    done = script(*command)
    assert done.returncode == 1 and "would have 5 pictures, 2 of them added, not 10582 and 9118" in done.stderr
    assert not (root / "SegmentationClassAug").exists()
    done = script(*command, "--any-count")
    assert done.returncode == 0, say(done)
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
    for name in ("2007_000000", "2007_000001"):  # VOC's own masks, finer and with their border, go before SBD's
        a, b = (np.asarray(Image.open(root / f / f"{name}.png")) for f in ("SegmentationClassAug", "SegmentationClass"))
        np.testing.assert_array_equal(a, b)
    done = script(*command, "--any-count")
    assert "8 are there already, 0 to write" in done.stdout


def test_a_damaged_mat_file_is_named(script, voc_and_sbd):
    root, sbd, _ = voc_and_sbd
    path = sbd / "cls" / "2008_000101.mat"
    for content in (path.read_bytes()[:150], b"MATLAB 7.3 " + b"\0" * 300, b"\0" * 128, b""):
        path.write_bytes(content)
        command = ["python", "scripts/prepare_voc_aug.py", "--voc", root, "--sbd", sbd, "--any-count", "--workers", "0"]
        done = script(*command)
        assert done.returncode == 1 and "2008_000101.mat is not a mask of SBD" in done.stderr, say(done)
        assert "Traceback" not in done.stderr


def test_mat_files_as_scipy_writes_them(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    from scripts.prepare_voc_aug import read_gtcls

    values = np.arange(35, dtype=np.uint8).reshape(5, 7) % 21
    for compressed in (False, True):
        record = {"GTcls": {"Boundaries": [1.5], "Segmentation": values, "CategoriesPresent": [1, 2]}}
        scipy_io.savemat(tmp_path / "a.mat", record, do_compression=compressed)
        np.testing.assert_array_equal(read_gtcls(tmp_path / "a.mat"), values)


# --- caches


def pack(script, root, out, *more):
    return script("python", "scripts/pack_dataset.py", "--data-dir", root, "--out", out, "--workers", "1", *more)


def test_a_packed_folder_is_the_data_set(script, tmp_path):
    root, out = scene_folders.write_lip(tmp_path / "set", 3, SIZE, SEED), tmp_path / "packed"
    done = pack(script, root, out, "--dry-run")
    assert done.returncode == 0 and "needs 0.00 GB" in done.stdout and not out.exists(), say(done)
    done = pack(script, root, out)
    assert done.returncode == 0, say(done)
    assert sorted(path.name for path in out.iterdir()) == ["pack.json", "train.u8", "val.u8"]
    for split in ("train", "val"):
        a, b = build_dataset("lip", split, root), build_dataset(split=split, data_dir=out)
        assert a.kind == b.kind == "lip" and (a.names, a.palette, a.flip_pairs) == (b.names, b.palette, b.flip_pairs)
        assert a.total_len == b.total_len
        for k in range(3):
            assert a.sample_name(k) == b.sample_name(k) and all((x == y).all() for x, y in zip(a.read(k), b.read(k)))
    rules = dict(random_mirror=True, random_scale=True, batch_size=2, seed=3, num_workers=1)
    streams = [training_data("auto", "train", (40, 40), data_dir=place, **rules).forever() for place in (root, out)]
    for first, second, _ in zip(*streams, range(4)):
        assert all((x == y).all() for x, y in zip(first, second))
    done = pack(script, root, out)
    assert done.stdout.count("(there already)") == 2 and "decode" not in done.stderr


def test_packing_goes_on_where_it_stopped(script, tmp_path):
    root, out = scene_folders.write_folder(tmp_path / "set", 4, SIZE, SEED), tmp_path / "packed"
    image = sorted((root / "images/train").iterdir())[2]
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    done = pack(script, root, out, "--split", "train")
    assert done.returncode == 1 and image.name in done.stderr and not (out / "pack.json").exists(), say(done)
    with pytest.raises(ValueError, match="no pack.json"):
        build_dataset("packed", "train", out)
    image.write_bytes(whole)
    done = pack(script, root, out, "--split", "train")
    assert done.returncode == 0 and "goes on, 3 of 4 are written" in done.stdout, say(done)
    a, b = build_dataset("folder", "train", root), build_dataset("packed", "train", out)
    assert all((x == y).all() for k in range(4) for x, y in zip(a.read(k), b.read(k)))


def test_packing_is_refused_where_it_does_not_fit(monkeypatch, tmp_path):
    from scripts import pack_dataset

    root = scene_folders.write_folder(tmp_path / "set", 2, SIZE, SEED)
    monkeypatch.setattr(sys, "argv", ["x", "--data-dir", str(root), "--out", str(tmp_path / "out"), "--workers", "0"])
    monkeypatch.setattr(pack_dataset.runtime, "start", lambda device: None)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 20000}))
    with pytest.raises(ValueError, match="needs 0.00 GB and only 0.00 GB are free; choose another --out"):
        pack_dataset.main()
    assert not (tmp_path / "out").exists()


def test_a_packed_folder_refuses_what_it_does_not_hold(script, tmp_path):
    root, out = scene_folders.write_folder(tmp_path / "set", 2, SIZE, SEED), tmp_path / "packed"
    assert pack(script, root, out).returncode == 0
    for options, words in (
        (dict(split="test"), "unknown split 'test' .* choose from train, val"),
        (dict(num_classes=19), "packed with --num-classes 9, not 19"),
        (dict(ignore_label=0), "packed with --ignore-label 255, not 0"),
        (dict(data_list="x.txt"), "--data-list does not work on a packed folder"),
    ):
        with pytest.raises(ValueError, match=words):
            build_dataset("packed", data_dir=out, **options)
    with open(out / "train.u8", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match="train.u8 is missing or shorter"):
        build_dataset("packed", "train", out)


def test_the_ram_cache_changes_nothing_and_decodes_once(tmp_path, capfd):
    root = scene_folders.write_folder(tmp_path, 4, SIZE, SEED)
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
    from datasets import cache

    root = scene_folders.write_folder(tmp_path, 4, SIZE, SEED)
    monkeypatch.setattr(cache, "free_memory", lambda: 70000)  # 4 x 48 x 96 x 4 = 73728
    with pytest.raises(DataError, match=r"--cache ram: 4 decoded samples need .*scripts/pack_dataset.py"):
        build_dataset("folder", "train", root, cache="ram")
    monkeypatch.setattr(cache, "free_memory", lambda: 100000)
    build_dataset("folder", "train", root, cache="ram")
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2")
    with pytest.raises(DataError, match="on each of 2 ranks"):
        build_dataset("folder", "train", root, cache="ram")


def test_the_benchmark_prints_its_table(run_command):
    command = ["python", "scripts/benchmark_data.py", "--size", "64,128", "--crop", "49,49", "--count", "2"]
    done = run_command(*command, "--rounds", "1")  # a process of its own: it pins itself to one core
    assert done.returncode == 0, say(done)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 6 and "official order" in rows[1] and "| 1.00 |" in rows[1] and "packed" in rows[5]
