#!/usr/bin/env python3
"""Write drawn street scenes in the layout of Cityscapes, ADE20K, VOC ...: small data to try a loader or a tool.

python scripts/data/make_scenes.py --layout cityscapes --out data/tiny --count 4 --size 256,512
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

LAYOUTS = ("cityscapes", "ade20k", "voc", "camvid", "segnet", "lip", "coco_stuff", "folder")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layout", required=True, choices=LAYOUTS, help="the dataset whose layout is written")
    parser.add_argument("--out", required=True, help="folder to write into")
    parser.add_argument("--count", type=shared.positive, default=3, help="scenes in each split (default: %(default)s)")
    parser.add_argument(
        "--size", type=shared.size, default=(128, 256), metavar="H,W", help="of an image (default: 128,256)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the drawn scenes (default: %(default)s)")
    args = parser.parse_args()
    runtime.start("cpu")

    from datasets.scenes import folders

    root = folders.LAYOUTS[args.layout](args.out, args.count, args.size, args.seed)
    print(f"{args.count} scenes in each split: {root}")


if __name__ == "__main__":
    main()
