"""Damaged annotation files of every format: convert_labels.py writes a valid dataset, or ends with one line."""

import shutil

import numpy as np
import pytest
from support import label_exports as made

WORDS = [b"-", b"NaN", b"1e99", b"null", b"[", b"{}", b'"', b"9" * 30, b"\xff", b"<a/>", b"\0", b"[[1,2]]", b'"x"', b""]


def write(root, form):
    made.write_example(root, form)
    mask = made.centres(made.CAR)
    if form == "labelme":
        shapes = [made.labelme_mask("b", np.ones((5, 6), bool), 3, 4)]
        shapes += [made.labelme_shape("c", [(5, 5), (9, 9)], form_name) for form_name in ("circle", "rectangle")]
        made.write_labelme(root / "a.json", shapes, "images/a.jpg")
    if form == "coco":
        sizes, counts = {"size": list(made.SIZE)}, made.coco_counts(mask)
        parts = [(0, 1, [made.ring(made.CAR)], {}), (1, 1, {**sizes, "counts": counts}, {})]
        parts.append((2, 2, {**sizes, "counts": made.coco_string(counts)}, {"iscrowd": 1}))
        names = {0: "a.jpg", 1: "b.jpg", 2: "c.jpg"}
        made.write_coco(root / "annotations.json", names, parts, {1: "car", 2: "dog"})


def damaged(data, rng):
    """One of four sorts of damage; values after a colon or an equals sign are replaced most often."""
    data, at = bytearray(data), int(rng.integers(len(data)))
    word = WORDS[rng.integers(len(WORDS))]
    way = rng.integers(6)
    if way == 0:
        return data[:at]
    if way == 1:
        data[at] = rng.integers(256)
    elif way == 2:
        data[at:at] = word
    else:
        start = max(data.find(b": ", at), data.find(b"=", at)) + 2
        end = min((end for end in (data.find(mark, start) for mark in (b",", b'"', b"}")) if end > 0), default=start)
        data[start:end] = word
    return data


@pytest.mark.parametrize("form", ["labelme", "coco", "cvat", "cvat_masks", "binary"])
def test_no_damage_ends_in_a_traceback(script, tmp_path, rng, form):
    write(tmp_path / "good", form)
    files = [path for path in sorted((tmp_path / "good").rglob("*.*")) if path.suffix != ".jpg"]
    codes = set()
    for number in range(40):
        root, out = tmp_path / f"in{number}", tmp_path / f"out{number}"
        shutil.copytree(tmp_path / "good", root)
        path = root / files[rng.integers(len(files))].relative_to(tmp_path / "good")
        path.write_bytes(damaged(path.read_bytes(), rng))
        flags = ["--workers", "0", *(["--on-bad-annotation", "skip"] if number % 2 else [])]
        done = script("python", "scripts/data/convert_labels.py", root, out, *flags)
        codes.add(done.returncode)
        assert done.returncode in (0, 1) and (out / "classes.txt").exists() == (done.returncode == 0), path
        if done.returncode:
            assert "convert_labels.py: " in done.stderr, path.read_bytes()
        else:
            assert all(label.shape == made.SIZE for label in made.labels(out).values()), path.read_bytes()
    assert codes == {0, 1}
