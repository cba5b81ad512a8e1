#!/usr/bin/env python3
"""Optional for Cityscapes: write *_labelTrainIds.png beside *_labelIds.png, for other projects.

python scripts/data/prepare_cityscapes.py --data-dir /data/cityscapes

This project reads the label ids directly and needs no preparation. Files are written atomically; an interrupted run is
continued by the same command.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True, help="the folder that holds gtFine/ and leftImg8bit/")
    shared.add_conversion(parser)
    args = parser.parse_args()
    runtime.start("cpu")

    import cv2
    from PIL import Image

    from datasets import cityscapes
    from datasets.files import value_table
    from datasets.reading import label_io
    from scripts.data.jobs import convert

    root = cityscapes.Cityscapes.find_root(args.data_dir)
    table = value_table(cityscapes.VALUES, 255)

    def write(source, file):
        values = label_io.read_label(source)
        if values.max(initial=0) > 33 and not set(values[values > 33].tolist()) <= {255}:
            raise ValueError(f"{source} has values up to {values.max()}; the highest label id is 33")
        Image.fromarray(cv2.LUT(values.astype("uint8"), table)).save(file, "png")

    sources = sorted(path for folder in ("gtFine", "gtCoarse") for path in (root / folder).glob("*/*/*_labelIds.png"))
    if not sources:
        raise ValueError(f"{root} has no *_labelIds.png below gtFine/ or gtCoarse/")
    jobs = [(path, path.with_name(path.name.replace("_labelIds", "_labelTrainIds"))) for path in sources]
    convert(write, jobs, args.workers, "train ids", args.force, args.dry_run)


if __name__ == "__main__":
    runtime.run(main, "prepare_cityscapes.py")
