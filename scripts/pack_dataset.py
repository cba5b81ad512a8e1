#!/usr/bin/env python3
"""Decode a data set once into a packed folder that trains several times faster: python train.py --data-dir OUT.

python scripts/pack_dataset.py --data-dir /data/cityscapes --out /fast/cityscapes_packed --split train val

Says first how much room it needs and stops where that is not free. Started again, it goes on where it was stopped.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets import CHOICES  # noqa: E402
from utils import options, runtime  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True, help="the data set, as train.py takes it")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument(
        "--dataset", choices=CHOICES, default="auto", metavar="NAME", help="default: told by --data-dir"
    )
    parser.add_argument("--split", nargs="+", default=["train", "val"], help="default: train val")
    parser.add_argument("--data-list", help="pack the pairs of this list, under the name of the one --split")
    parser.add_argument("--num-classes", type=options.positive)
    parser.add_argument("--ignore-label", type=int)
    parser.add_argument("--on-bad-label", choices=("error", "ignore"), default="error")
    parser.add_argument("--resize-labels", action="store_true")
    parser.add_argument("--workers", type=options.whole, help="processes (default: the cores)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and stop")
    return parser.parse_args()


def main():
    args = parse_args()
    runtime.start("cpu")
    from datasets import build_dataset
    from datasets.packed import CARRIED
    from utils.jobs import cores, write_whole

    if args.data_list and len(args.split) != 1:
        raise ValueError("--data-list is one split: give --split one name for it")
    keys = ("data_dir", "data_list", "num_classes", "ignore_label", "on_bad_label", "resize_labels")
    chosen = {key: vars(args)[key] for key in keys}
    sets = {split: build_dataset(args.dataset, split, **chosen) for split in args.split}
    workers, out = cores() if args.workers is None else args.workers, Path(args.out)
    plans, need = {}, 0
    for split, data in sets.items():
        if not hasattr(data, "pairs"):
            raise ValueError(f"{data.title} is not read from picture files; there is nothing to pack")
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
        if not is_done(out, split, plans[split]):
            write_split(data, plans[split], out, split, workers)
        record = json.loads((out / "pack.json").read_text()) if (out / "pack.json").exists() else {"splits": {}}
        facts = {key: getattr(data, key) for key in CARRIED}
        changed = [key for key, value in facts.items() if key in record and as_lists(value) != record[key]]
        if changed:
            raise ValueError(f"{out} was packed with other {', '.join(changed)}; take another --out or remove it")
        record.update(facts, splits={**record["splits"], split: plans[split]})
        write_whole(str(out / "pack.json"), lambda part, record=record: Path(part).write_text(json.dumps(record)))
    print(f"packed: {out}; train with --data-dir {out}")


def plan(data, split, workers):
    """Where each sample goes: {"file", "samples": [[name, height, width, offset], ...], "bytes", "source"}."""
    from utils.jobs import run

    sizes, errors = run(size_of, [pair[:1] for pair in data.pairs], workers, f"{split}: sizes")
    if errors:
        raise ValueError(f"{len(errors)} pictures cannot be opened; the first: {errors[0][1]}")
    samples, offset = [], 0
    for index, (height, width) in enumerate(sizes):
        samples.append([data.sample_name(index), height, width, offset])
        offset += -(-height * width * 4 // 64) * 64
    text = json.dumps([[str(part) for part in pair] for pair in data.pairs] + [data.ignore_label, len(data.names)])
    source = hashlib.sha256(text.encode()).hexdigest()
    return {"file": f"{split}.u8", "samples": samples, "bytes": offset, "source": source}


def size_of(image):
    from PIL import Image

    try:
        with Image.open(image) as picture:
            return picture.height, picture.width
    except OSError as error:
        raise ValueError(f"{image}: {error}") from None


def is_done(out, split, wanted):
    try:
        record = json.loads((out / "pack.json").read_text())["splits"][split]
        return record == json.loads(json.dumps(wanted)) and (out / record["file"]).stat().st_size == record["bytes"]
    except (OSError, KeyError, ValueError):
        return False


def write_split(data, wanted, out, split, workers):
    """Into <split>.u8.part, sample by sample in any order; <split>.done remembers which are written."""
    from utils.jobs import run

    part, done, note = (out / f"{split}.{end}" for end in ("u8.part", "done", "plan"))
    if not (part.exists() and done.exists() and note.exists() and note.read_text() == wanted["source"]):
        with open(part, "wb") as file:
            file.truncate(wanted["bytes"])
        done.write_bytes(bytes(len(wanted["samples"])))
        note.write_text(wanted["source"])
    state = done.read_bytes()
    jobs = [(index,) for index in range(len(state)) if not state[index]]
    if len(jobs) < len(state):
        print(f"{split}: goes on, {len(state) - len(jobs)} of {len(state)} are written")

    def write_one(index):
        _, height, width, offset = wanted["samples"][index]
        image, label = data.read(index)
        if image.shape[:2] != (height, width):
            raise ValueError(f"{data.pairs[index][0]} decodes to {image.shape[:2]}, its header says {(height, width)}")
        for path, at, content in ((part, offset, image.tobytes() + label.tobytes()), (done, index, b"\1")):
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
    runtime.run(main, "pack_dataset.py")
