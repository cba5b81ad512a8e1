#!/usr/bin/env python3
"""Optional for COCO-Stuff: write <id>_labelTrainIds.png (0..170) beside <id>.png (category ids minus 1).

python scripts/data/prepare_coco_stuff.py --data-dir /data/coco

This project reads the original files directly; other projects need these. Files are written atomically; an interrupted
run is continued by the same command.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True, help="the folder that holds images/ and annotations/")
    shared.add_conversion(parser)
    args = parser.parse_args()
    runtime.start("cpu")

    from PIL import Image

    from datasets import build_dataset
    from datasets.reading.image_io import NoSplit
    from scripts.data.jobs import convert

    jobs = []
    for split in ("train", "val"):
        try:
            data = build_dataset("coco_stuff", split, args.data_dir)
        except NoSplit:
            continue
        folder = data.root / data.folders(data.root, split)[1]
        sources = [path for path in folder.glob("*.png") if path.name[0] != "." and "_label" not in path.name]
        jobs += [(path, path.with_name(f"{path.stem}_labelTrainIds.png")) for path in sorted(sources)]
    if not jobs:
        raise ValueError(f"{args.data_dir} has no label files to convert")

    def write(source, file):
        Image.fromarray(data.read_label(source)).save(file, "png")

    convert(write, jobs, args.workers, "train ids", args.force, args.dry_run)


if __name__ == "__main__":
    runtime.run(main, "prepare_coco_stuff.py")
