#!/usr/bin/env python3
"""Decode a data set once into a packed folder that trains several times faster: python train.py --data-dir OUT.

python scripts/data/pack.py --data-dir /data/cityscapes --out /fast/cityscapes_packed --split train val

Says first how much room it needs and stops where that is not free. Started again, it goes on where it was stopped.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from datasets import CHOICES  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True, help="the data set, as train.py takes it")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument(
        "--dataset", choices=CHOICES, default="auto", metavar="NAME", help="default: detected from --data-dir"
    )
    parser.add_argument("--split", nargs="+", help="default: train and val, as far as they exist")
    parser.add_argument("--data-list", help="pack the pairs of this list, under the name of the one --split")
    parser.add_argument("--num-classes", type=shared.positive)
    parser.add_argument("--ignore-label", type=int)
    parser.add_argument("--on-bad-label", choices=("error", "ignore"), default="error")
    parser.add_argument("--resize-labels", action="store_true")
    parser.add_argument("--workers", type=shared.whole, help="processes (default: the cores)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and stop")
    return parser.parse_args()


def main():
    args = parse_args()
    runtime.start("cpu")
    from datasets import build_dataset
    from datasets.packed import CARRIED, OPTIONAL
    from utils.jobs import cores, write_whole

    if args.data_list and len(args.split or ()) != 1:
        raise ValueError("--data-list is one split: give --split one name for it")
    sets = open_splits(args, build_dataset)
    workers, out = cores() if args.workers is None else args.workers, Path(args.out)
    plans, need = {}, 0
    for split, data in sets.items():
        if not hasattr(data, "pairs"):
            raise ValueError(f"{data.title} is not read from image files; there is nothing to pack")
        plans[split] = plan(data, split, workers)
        total = plans[split]["bytes"]
        missing = total - (out / plans[split]["file"]).stat().st_size if is_done(out, split, plans[split]) else total
        need += max(missing, 0)
        print(f"{split}: {data.total_len} samples, {total / 1e9:.2f} GB" + (" (there already)" if missing <= 0 else ""))
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
    for split, data in sets.items():
        record = json.loads((out / "pack.json").read_text()) if (out / "pack.json").exists() else {"splits": {}}
        facts = {key: getattr(data, key) for key in (*CARRIED, *OPTIONAL) if hasattr(data, key)}
        changed = [key for key, value in facts.items() if key in record and as_lists(value) != record[key]]
        if changed:
            raise ValueError(f"{out} was packed with other {', '.join(changed)}; take another --out or remove it")
        if not is_done(out, split, plans[split]):
            write_split(data, plans[split], out, split, workers)
        record.update(facts, splits={**record["splits"], split: plans[split]})
        write_whole(str(out / "pack.json"), lambda part, record=record: Path(part).write_text(json.dumps(record)))
    if any(data.kind == "cityscapes" for data in sets.values()):
        print("instance files are not packed: for iIoU, evaluate from the original folder")
    print(f"packed: {out}; train with --data-dir {out}")


def open_splits(args, build_dataset):
    """{split: dataset} of the splits asked for, else of train and val as far as they exist."""
    from datasets.reading.image_io import NoSplit

    keys = ("data_dir", "data_list", "num_classes", "ignore_label", "on_bad_label", "resize_labels")
    chosen, sets, lacking = {key: vars(args)[key] for key in keys}, {}, []
    for split in args.split or ("train", "val"):
        try:
            sets[split] = build_dataset(args.dataset, split, **chosen)
        except NoSplit as error:
            if args.split:
                raise
            lacking.append(error)
    if not sets:
        raise lacking[0]
    for error in lacking:
        print(error)
    return sets


def plan(data, split, workers):
    """Where each sample goes: {"file", "samples": [[name, height, width, offset], ...], "bytes", "has_labels",
    "source": a hash of the settings and of the state of all files}."""
    from utils.jobs import run

    # a label has the size that counts, as an image may be turned by its EXIF orientation to fit it
    files = [(image if label is None or data.resize_labels else label,) for image, label in data.pairs]
    sizes, errors = run(size_of, files, workers, f"{split}: sizes")
    if errors:
        raise ValueError(f"{len(errors)} files cannot be opened; the first: {errors[0][1]}")
    samples, offset = [], 0
    for index, (height, width) in enumerate(sizes):
        samples.append([data.sample_name(index), height, width, offset])
        offset += -(-height * width * 4 // 64) * 64
    facts = {"file": f"{split}.u8", "samples": samples, "bytes": offset, "has_labels": bool(data.has_labels)}
    marks = [fingerprint(pair) for pair in data.pairs]
    return {**facts, "source": digest([settings_of(data), *(mark.hex() for mark in marks)])}


def settings_of(data):
    """A hash of everything but the files that decides what is packed."""
    colours = data.colours and [data.colours.palette, data.colours.for_grey]
    rules = [data.on_bad_label, data.resize_labels, data.table.tolist(), data.names, colours]
    return digest([[[str(part) for part in pair] for pair in data.pairs], *rules])


def digest(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def fingerprint(pair):
    """8 bytes, never 0, that change when a file of the pair is written again."""
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


def write_split(data, wanted, out, split, workers):
    """Into <split>.u8.part, sample by sample in any order; <split>.done has the fingerprints of those written."""
    from utils.jobs import run

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
        print(f"{split}: goes on, {len(marks) - len(jobs)} of {len(marks)} are written")

    def write_one(index):
        _, height, width, offset = wanted["samples"][index]
        image, label = data.read(index)
        if image.shape[:2] != (height, width):
            raise ValueError(f"{data.pairs[index][0]} decodes to {image.shape[:2]}, its header says {(height, width)}")
        for path, at, content in ((part, offset, image.tobytes() + label.tobytes()), (done, 8 * index, marks[index])):
            handle = os.open(path, os.O_WRONLY)
            try:
                if os.pwrite(handle, content, at) != len(content):
                    raise OSError(f"{path}: the disk took only a part")
            finally:
                os.close(handle)

    _, errors = run(write_one, jobs, workers, f"{split}: decode and write")
    if errors:
        raise ValueError(f"{len(errors)} samples cannot be packed; the first: {errors[0][1]}")
    os.replace(part, out / wanted["file"])
    done.unlink()
    note.unlink()


def as_lists(value):
    return json.loads(json.dumps(value))


if __name__ == "__main__":
    runtime.run(main, "pack.py")
