#!/usr/bin/env python3
"""Write CamVid as images/<split>/ and labels/<split>/ with class numbers (255 void), from any of its layouts.

python scripts/data/prepare_camvid.py --data-dir /data/CamVid --out /data/camvid11 --size 360,480

The splits are those of SegNet. Files are written atomically; an interrupted run is continued by the same command.
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
    parser.add_argument("--size", type=shared.size, metavar="H,W", help="resize, e.g. 360,480 (default: no resizing)")
    shared.add_conversion(parser)
    args = parser.parse_args()
    runtime.start("cpu")

    import cv2
    from PIL import Image

    from datasets import build_dataset
    from datasets.reading import image_io
    from scripts.data.jobs import convert

    def resized(image, interpolation):
        return cv2.resize(image, args.size[::-1], interpolation=interpolation) if args.size else image

    def write_image(source, file):
        image = resized(image_io.read_image(source), cv2.INTER_AREA)
        Image.fromarray(image[:, :, ::-1]).save(file, "png")

    def write_label(source, file):
        Image.fromarray(resized(data.read_label(source), cv2.INTER_NEAREST)).save(file, "png")

    images, labels, out = [], [], Path(args.out)
    for split in ("train", "val", "test"):
        try:
            data = build_dataset("camvid", split, args.data_dir)
        except image_io.NoSplit:
            print(f"{split}: no images")
            continue
        if data.root.resolve() == out.resolve():
            raise ValueError(f"--out {out} is the folder of the dataset; choose another folder")
        for image, label in data.pairs:
            images.append((image, out / "images" / split / f"{image.stem}.png"))
            labels.append((label, out / "labels" / split / f"{image.stem}.png"))
    convert(write_image, images, args.workers, "images", args.force, args.dry_run)
    convert(write_label, labels, args.workers, "labels", args.force, args.dry_run)


if __name__ == "__main__":
    runtime.run(main, "prepare_camvid.py")
