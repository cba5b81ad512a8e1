"""Write a folder dataset: images/<split>/, labels/<split>/, classes.txt, and convert.json, the record of this script.

Every file is written atomically. An output exists only if it belongs to the annotations, image and settings of this
run: others that an earlier run wrote are deleted first. So an interrupted run goes on with the same command, and
classes.txt, which a dataset needs, is written last.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.reading import label_io
from datasets.reading.headers import too_large
from datasets.reading.image_io import DataError
from scripts.data.jobs import run
from scripts.data.labels import classes as class_files
from scripts.data.labels.export import RECORD, UNLABELLED, Canvas
from scripts.data.labels.images import content, frame
from utils.files import whole_file


class Item(NamedTuple):
    sample: object
    image: Path
    label: Path
    mark: str  # a hash of everything that the two files depend on


def check_place(source, out):
    """Refuse a folder of other files."""
    if out.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise DataError(f"{out} is the folder of the export: choose another folder")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; give a folder to write to")
    if out.is_dir() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise DataError(
            f"{out} holds files that this script did not write (no {RECORD}): choose an empty or new folder"
        )


def items_of(samples, names, out, settings):
    """`settings`: text that changes when anything but the files changes."""
    items = []
    for sample, name in zip(samples, names):
        ending = sample.ending if callable(sample.image) else Path(sample.image).suffix.lower()
        image = out / "images" / sample.split / f"{name}{ending}"
        label = out / "labels" / sample.split / f"{name}.png"
        paths = [*sample.sources, *([] if callable(sample.image) else [sample.image])]
        states = [(str(path), os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in paths]
        mark = hashlib.sha256(repr([settings, sample.name, states]).encode(errors="backslashreplace")).hexdigest()
        items.append(Item(sample, image, label, mark[:16]))
    return items


def prepare(items, out, force):
    """Delete outputs that are not up to date, and write the record. -> the items that are to be written."""
    out.mkdir(parents=True, exist_ok=True)
    old = read_record(out)
    marks = {str(item.label.relative_to(out)): [str(item.image.relative_to(out)), item.mark] for item in items}
    stale = [(label, *entry) for label, entry in old.items() if force or marks.get(label) != entry]
    missing = [item for item in items if force or not is_done(item, old.get(str(item.label.relative_to(out))))]
    if missing or stale:
        for name in class_files.FILES:
            (out / name).unlink(missing_ok=True)
    for path in out.rglob("*.part"):  # of a run that was killed
        path.unlink()
    for label, image, _ in stale:
        for path in (out / image, out / label):
            path.unlink(missing_ok=True)
    with whole_file(out / RECORD, "w") as file:
        json.dump({"files": marks}, file, indent=0)
    return missing, len(stale)


def read_record(out):
    path = out / RECORD
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text())["files"])
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is damaged; delete {out} and convert again") from None


def is_done(item, recorded):
    return recorded is not None and recorded[1] == item.mark and item.label.exists() and item.image.exists()


def convert(items, missing, classes, options):
    """Write what is missing, and count all. -> (counts (N, 256) of pixels, problems, notices).

    `options`: on_bad, link, workers."""
    todo = {item.label for item in missing}

    def one(index):
        item = items[index]
        if item.label in todo:
            try:
                return write_pair(item, classes, options)
            except DataError as error:
                if options["on_bad"] == "error":
                    raise
                return np.zeros(256, int), [str(error)], Counter()
        return np.bincount(label_io.stored_values(item.label).ravel(), minlength=256), [], Counter()

    jobs = [(index,) for index in range(len(items))]
    results, errors = run(one, jobs, options["workers"], "convert")
    if errors:
        first = "; ".join(text for _, text in errors[:3])
        more = "" if options["on_bad"] == "skip" else " (--on-bad-annotation skip leaves broken annotations out)"
        raise DataError(f"{len(errors)} of {len(items)} images failed, the others are written: {first}{more}")
    counts = np.array([result[0] for result in results])
    notices = sum((result[2] for result in results), Counter())
    return counts, [text for result in results for text in result[1]], notices


def write_pair(item, classes, options):
    size, orient, notice = frame(item.sample)
    if fault := too_large(*size):
        raise DataError(f"{item.sample.where}: {fault}")
    canvas = Canvas(size, classes.values, options["on_bad"])
    item.sample.paint(canvas)
    canvas.notices.update([notice] if notice else [])
    label = orient(np.where(canvas.label == UNLABELLED, np.uint8(classes.fill), canvas.label))
    for path in (item.image, item.label):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_image(item, options["link"])
    with whole_file(item.label) as file:
        Image.fromarray(label).save(file, "png")
    return np.bincount(label.ravel(), minlength=256), canvas.problems, canvas.notices


def write_image(item, link):
    """A copy, or with `link` a symbolic link; imageData is always written."""
    if link and not callable(item.sample.image):
        part = item.image.with_name(f"{item.image.name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        part.symlink_to(Path(item.sample.image).resolve())
        os.replace(part, item.image)
        return
    with whole_file(item.image) as file:
        if callable(item.sample.image):
            file.write(content(item.sample.image))
        else:
            with open(item.sample.image, "rb") as source:
                shutil.copyfileobj(source, file)


def write_classes(out, classes, has_void):
    """classes.txt; and classes.json where two classes and void could be taken for binary masks."""
    if has_void and len(classes.names) == 2:
        with whole_file(out / "classes.json", "w", encoding="utf-8") as file:
            file.write(class_files.json_of(classes))
    else:
        (out / "classes.json").unlink(missing_ok=True)
    with whole_file(out / "classes.txt", "w", encoding="utf-8") as file:
        file.write(class_files.text_of(classes))


def table(items, counts, classes):
    """Classes, images and pixels of each, and their share, as text."""
    rows = [(name, counts[:, k]) for k, name in enumerate(classes.names)] + [("(void)", counts[:, 255])]
    total, width = max(int(counts.sum()), 1), max(len("class"), *(len(name) for name, _ in rows))
    lines = [f"  {'class':{width}}  images          pixels    share"]
    for name, column in rows:
        pixels = int(column.sum())
        lines.append(f"  {name:{width}}  {int((column > 0).sum()):6}  {pixels:14,}  {100 * pixels / total:6.2f}%")
    written = [item.sample for item, count in zip(items, counts) if count.any()]
    splits, bare = Counter(sample.split for sample in written), sum(not sample.annotated for sample in written)
    text = ", ".join(f"{splits[name]} {name}" for name in ("train", "val", "test") if splits[name])
    return f"{len(written)} images ({text}), {bare} of them without annotations\n" + "\n".join(lines)


def absent(counts, classes):
    """Lines about classes that have no pixel."""
    names = [name for k, name in enumerate(classes.names) if not counts[:, k].any()]
    lines = [f"no pixel of {len(names)} of {len(classes.names)} classes: {', '.join(names[:12])}"] if names else []
    if names and names[0] == "background":
        lines.append("everything is annotated: --unlabelled void leaves the class background out")
    return lines
