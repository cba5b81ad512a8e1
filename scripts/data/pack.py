#!/usr/bin/env python3
"""Decode a dataset once into a packed folder that trains several times faster: python train.py --data-dir OUT.

python scripts/data/pack.py --data-dir /data/cityscapes --out /fast/cityscapes_packed --split train val

Prints the required disk space first and stops if it is not free. An interrupted run is continued by the same command.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scripts.data import arguments  # noqa: E402
from utils import runtime  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_dataset(parser)
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--split", nargs="+", help="default: train and val, if they exist")
    parser.add_argument("--data-list", help="pack the pairs of this list, under the name of the one --split")
    text = "values that are not a class: stop, or treat them as void (default: %(default)s)"
    parser.add_argument("--on-bad-label", choices=("error", "ignore"), default="error", help=text)
    parser.add_argument("--resize-labels", action="store_true", help="resize labels to their images, where they differ")
    parser.add_argument("--dry-run", action="store_true", help="print what would be written, and stop")
    return parser.parse_args()


def main():
    args = parse_args()
    runtime.start("cpu")
    from datasets import build_dataset

    if args.data_list and len(args.split or ()) != 1:
        raise ValueError("--data-list is one split: give --split one name for it")
    splits, out = open_splits(args, build_dataset), Path(args.out)
    plans, need = {}, 0
    for split, data in splits.items():
        if not hasattr(data, "pairs"):
            raise ValueError(f"{data.title} is not read from image files; there is nothing to pack")
        plans[split] = plan(data, split, args.workers)
        total = plans[split]["bytes"]
        missing = total - (out / plans[split]["file"]).stat().st_size if is_done(out, split, plans[split]) else total
        need += max(missing, 0)
        print(
            f"{split}: {data.total_len} samples, {total / 1e9:.2f} GB" + (" (exists already)" if missing <= 0 else "")
        )
    folder = next(place for place in (out, *out.resolve().parents) if place.exists())
    free = shutil.disk_usage(folder).free
    print(f"needs {need / 1e9:.2f} GB; {free / 1e9:.2f} GB are free in {folder}")
    if need > 0.98 * free:
        raise ValueError(
            f"{args.out} needs {need / 1e9:.2f} GB and only {free / 1e9:.2f} GB are free; choose another --out"
        )
    if args.dry_run:
        return
    out.mkdir(parents=True, exist_ok=True)
    for split, data in splits.items():
        add_split(data, plans[split], out, split, args.workers)
    if any(data.dataset_name == "cityscapes" for data in splits.values()):
        print("instance files are not packed: for iIoU, evaluate from the original folder")
    print(f"packed: {out}; train with --data-dir {out}")


def open_splits(args, build_dataset):
    """{split: dataset} of the requested splits, by default of train and val, if they exist."""
    from datasets.reading.image_io import NoSplit

    keys = ("data_dir", "data_list", "num_classes", "ignore_label", "on_bad_label", "resize_labels")
    keys += ("channels", "value_range")
    options, splits, errors = {key: vars(args)[key] for key in keys}, {}, []
    for split in args.split or ("train", "val"):
        try:
            splits[split] = build_dataset(args.dataset, split, **options)
        except NoSplit as error:
            if args.split:
                raise
            errors.append(error)
    if not splits:
        raise errors[0]
    for error in errors:
        print(error)
    return splits


def plan(data, split, workers):
    """The place of each sample: {"file", "samples": [[name, height, width, offset], ...], "bytes", "has_labels",
    "source": a hash of the settings and of the state of all files}."""
    from scripts.data.jobs import run

    # the size of the label counts, as an image may be rotated by its EXIF orientation to fit it
    files = [(image if label is None or data.resize_labels else label,) for image, label in data.pairs]
    sizes, errors = run(size_of, files, workers, f"{split}: sizes")
    if errors:
        raise ValueError(f"{len(errors)} files cannot be opened; the first: {errors[0][1]}")
    samples, offset = [], 0
    for index, (height, width) in enumerate(sizes):
        samples.append([data.sample_name(index), height, width, offset])
        offset += -(-height * width * (data.channels + 1) // 64) * 64
    facts = {"file": f"{split}.u8", "samples": samples, "bytes": offset, "has_labels": bool(data.has_labels)}
    marks = [fingerprint(pair) for pair in data.pairs]
    return {**facts, "source": digest([settings_of(data), *(mark.hex() for mark in marks)])}


def settings_of(data):
    """A hash of everything that decides what is packed, except the content of the files."""
    colours = data.colours and [data.colours.palette, data.colours.for_grey]
    rules = [data.on_bad_label, data.resize_labels, data.table.tolist(), data.names, colours]
    rules += [data.channels, data.value_range] if data.channels != 3 else []
    return digest([[[str(part) for part in pair] for pair in data.pairs], *rules])


def digest(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def fingerprint(pair):
    """8 bytes, never all 0, that change when a file of the pair is written again."""
    states = [os.stat(path) for path in pair if path is not None]
    text = repr([(state.st_size, state.st_mtime_ns) for state in states])
    return b"\1" + hashlib.sha256(text.encode()).digest()[:7]


def size_of(path):
    from PIL import Image

    from datasets.reading import image_io

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, Image.DecompressionBombError) as error:
        raise image_io.broken(image_io.read_bytes(path), path, error) from None


def is_done(out, split, wanted):
    try:
        record = json.loads((out / "pack.json").read_text())["splits"][split]
        return record == json.loads(json.dumps(wanted)) and (out / record["file"]).stat().st_size == record["bytes"]
    except (OSError, KeyError, ValueError):
        return False


def add_split(data, wanted, out, split, workers):
    """Write the samples of a split, unless they are complete, and its record in pack.json."""
    from datasets.packed import OPTIONAL, RECORDED
    from utils.files import whole_file

    record = json.loads((out / "pack.json").read_text()) if (out / "pack.json").exists() else {"splits": {}}
    keys = {**RECORDED, **OPTIONAL}
    facts = {key: getattr(data, attribute) for key, attribute in keys.items() if hasattr(data, attribute)}
    changed = [key for key, value in facts.items() if key in record and json.loads(json.dumps(value)) != record[key]]
    if changed:
        raise ValueError(f"{out} was packed with other {', '.join(changed)}; choose another --out or remove it")
    if not is_done(out, split, wanted):
        write_samples(data, wanted, out, split, workers)
    record.update(facts, splits={**record["splits"], split: wanted})
    with whole_file(out / "pack.json", "w") as file:
        json.dump(record, file)


def write_samples(data, wanted, out, split, workers):
    """Into <split>.u8.part, in any order; <split>.done holds the fingerprints of the samples that are written."""
    from scripts.data.jobs import run

    part, done, note = (out / f"{split}.{end}" for end in ("u8.part", "done", "plan"))
    settings = digest([settings_of(data), wanted["samples"]])
    if not (part.exists() and done.exists() and note.exists() and note.read_text() == settings):
        with open(part, "wb") as file:
            file.truncate(wanted["bytes"])
        done.write_bytes(bytes(8 * len(data.pairs)))
        note.write_text(settings)
    state = done.read_bytes()
    marks = [fingerprint(pair) for pair in data.pairs]
    jobs = [(index,) for index, mark in enumerate(marks) if state[8 * index : 8 * index + 8] != mark]
    if len(jobs) < len(marks):
        print(f"{split}: continues, {len(marks) - len(jobs)} of {len(marks)} are written")

    def write_one(index):
        _, height, width, offset = wanted["samples"][index]
        image, label = data.read(index)
        if image.shape[:2] != (height, width):
            raise ValueError(f"{data.pairs[index][0]} decodes to {image.shape[:2]}, its header has {(height, width)}")
        for path, at, content in ((part, offset, image.tobytes() + label.tobytes()), (done, 8 * index, marks[index])):
            handle = os.open(path, os.O_WRONLY)
            try:
                if os.pwrite(handle, content, at) != len(content):
                    raise OSError(f"{path}: only a part could be written to the disk")
            finally:
                os.close(handle)

    _, errors = run(write_one, jobs, workers, f"{split}: decode and write")
    if errors:
        raise ValueError(f"{len(errors)} samples cannot be packed; the first: {errors[0][1]}")
    os.replace(part, out / wanted["file"])
    done.unlink()
    note.unlink()


if __name__ == "__main__":
    runtime.run(main, "pack.py")
