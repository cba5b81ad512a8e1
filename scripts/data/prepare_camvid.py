#!/usr/bin/env python3
"""CamVid as images/<split>/ and labels/<split>/ with class numbers (255 void), from the original's colours or SegNet's.

python scripts/data/prepare_camvid.py --data-dir /data/CamVid --out /data/camvid11 --size 360,480

The splits are SegNet's. Goes on where it was stopped; writes whole files.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True, help="CamVid in any of its layouts")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--size", type=shared.size, metavar="H,W", help="resize, such as 360,480 (default: as it is)")
    shared.add_conversion(parser)
    args = parser.parse_args()
    runtime.start("cpu")

    import cv2
    from PIL import Image

    from datasets import build_dataset
    from datasets.reading import image_io
    from utils.jobs import convert, cores

    def resized(picture, how):
        return cv2.resize(picture, args.size[::-1], interpolation=how) if args.size else picture

    def write_image(source, target):
        image = resized(image_io.read_image(source), cv2.INTER_AREA)
        Image.fromarray(image[:, :, ::-1]).save(target, "png")

    def write_label(source, target):
        Image.fromarray(resized(data.read_label(source), cv2.INTER_NEAREST)).save(target, "png")

    images, labels, out = [], [], Path(args.out)
    for split in ("train", "val", "test"):
        try:
            data = build_dataset("camvid", split, args.data_dir)
        except ValueError as error:
            if "is empty" in str(error):
                print(f"{split}: no pictures")
                continue
            raise
        if data.root.resolve() == out.resolve():
            raise ValueError(f"--out {out} is where the data lies; name another folder")
        for image, label in data.pairs:
            name = image.stem
            images.append((image, out / "images" / split / f"{name}.png"))
            labels.append((label, out / "labels" / split / f"{name}.png"))
    workers = cores() if args.workers is None else args.workers
    convert(write_image, images, workers, "pictures", args.force, args.dry_run)
    convert(write_label, labels, workers, "labels", args.force, args.dry_run)


if __name__ == "__main__":
    runtime.run(main, "prepare_camvid.py")
