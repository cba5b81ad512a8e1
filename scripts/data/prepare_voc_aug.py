#!/usr/bin/env python3
"""Make VOC trainaug: the masks of SBD (cls/*.mat) and of VOC as SegmentationClassAug/*.png, and the list of 10582.

python scripts/data/prepare_voc_aug.py --voc /data/VOCdevkit/VOC2012 --sbd /data/benchmark_RELEASE/dataset

The list is (SBD train + SBD val + VOC train) - VOC val, so that no validation image is trained on. Images that VOC
labels too get the masks of VOC. Reads .mat files without other packages. Files are written atomically; an interrupted
run is continued by the same command.
"""

import argparse
import struct
import sys
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

EXPECTED = {"all": 10582, "added": 9118}
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--voc", required=True, help="VOC2012, or the folder that holds it")
    parser.add_argument("--sbd", required=True, help="the folder with cls/, train.txt and val.txt of SBD")
    parser.add_argument("--any-count", action="store_true", help="accept a list of another length than 10582")
    shared.add_conversion(parser)
    args = parser.parse_args()
    runtime.start("cpu")

    from PIL import Image

    from datasets.voc import VOC
    from scripts.data.jobs import convert
    from utils.files import whole_file

    root, sbd = VOC.find_root(args.voc), find_sbd(Path(args.sbd))
    lists = root / "ImageSets" / "Segmentation"
    train, val = names(lists / "train.txt"), names(lists / "val.txt")
    added = (names(sbd / "train.txt") | names(sbd / "val.txt")) - val
    both = sorted(added | train)
    if not args.any_count and (len(both), len(added - train)) != (EXPECTED["all"], EXPECTED["added"]):
        raise ValueError(
            f"the list would have {len(both)} images, {len(added - train)} of them added, not {EXPECTED['all']} and "
            f"{EXPECTED['added']}: are train.txt and val.txt those of VOC 2012 and of SBD? --any-count accepts this"
        )
    missing = [name for name in both if not (root / "JPEGImages" / f"{name}.jpg").is_file()]
    if missing:
        raise ValueError(f"{len(missing)} images are not in {root / 'JPEGImages'}: {', '.join(missing[:3])}")

    def write_mask(source, file):
        if source.suffix == ".mat":
            values = read_gtcls(source)
        else:
            values = np.asarray(Image.open(source))  # a palette image: the indices
        if not set(np.unique(values).tolist()) <= {*range(21), 255}:
            raise ValueError(f"{source} has values outside 0..20 and 255")
        Image.fromarray(values.astype(np.uint8)).save(file, "png")

    folder = root / "SegmentationClassAug"
    of_voc = {name: root / "SegmentationClass" / f"{name}.png" for name in train | val}  # finer than those of SBD
    jobs = [(of_voc.get(name, sbd / "cls" / f"{name}.mat"), folder / f"{name}.png") for name in sorted({*both, *val})]
    convert(write_mask, jobs, args.workers, "masks", args.force, args.dry_run)
    if not args.dry_run:
        with whole_file(lists / "trainaug.txt", "w") as file:
            file.writelines(f"{name}\n" for name in both)
    print(f"trainaug: {len(both)} images in {lists / 'trainaug.txt'}; train with --split trainaug")


def find_sbd(folder):
    for place in (folder, folder / "dataset", folder / "benchmark_RELEASE" / "dataset"):
        if (place / "cls").is_dir() and (place / "train.txt").is_file():
            return place
    raise ValueError(f"--sbd {folder} has no cls/ and train.txt; SBD unpacks to benchmark_RELEASE/dataset")


def names(path):
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    return {line.split()[0] for line in path.read_text("utf-8-sig").splitlines() if line.strip()}


def read_gtcls(path):
    """GTcls.Segmentation of an SBD file: (H, W) uint8. Reads the parts of the MATLAB 5 format that these files use."""
    try:
        raw = path.read_bytes()
        if raw[:10] == b"MATLAB 7.3" or raw[126:128] != b"IM":
            raise ValueError("not a little-endian MATLAB 5 file")
        at = 128
        while at < len(raw):
            number, data, at = element(raw, at)
            if number == 15:  # compressed
                _, data, _ = element(zlib.decompress(data), 0)
            name, content = matrix(data)
            if name == "GTcls":
                _, values = matrix(content["Segmentation"])
                return values.astype(np.uint8)
        raise ValueError("it has no GTcls")
    except (ValueError, KeyError, IndexError, TypeError, struct.error, zlib.error) as error:
        raise ValueError(f"{path} is not a mask file of SBD ({type(error).__name__}: {error}); copy it again") from None


def element(raw, at):
    """-> (type number, bytes, offset of the next element)."""
    number, size = struct.unpack_from("<II", raw, at)
    if number >> 16:  # a small element: up to four bytes of data in the tag itself
        return number & 0xFFFF, raw[at + 4 : at + 4 + (number >> 16)], at + 8
    if at + 8 + size > len(raw):
        raise ValueError(f"an element of {size} bytes is truncated")
    end = at + 8 + size
    return number, raw[at + 8 : end], end if number == 15 else -(-end // 8) * 8


def matrix(data):
    """-> (name, array), or for a struct (name, {field: its undecoded matrix})."""
    _, flags, at = element(data, 0)
    _, shape, at = element(data, at)
    _, name, at = element(data, at)
    shape = tuple(np.frombuffer(shape, "<i4"))
    if flags[0] == 2:  # struct
        _, width, at = element(data, at)
        _, fields, at = element(data, at)
        width, content = int(np.frombuffer(width, "<i4")[0]), {}
        for start in range(0, len(fields), width):
            _, value, at = element(data, at)
            content[fields[start : start + width].split(b"\0")[0].decode()] = value
        return name.decode(), content
    number, values, _ = element(data, at)
    return name.decode(), np.frombuffer(values, f"<{STORED[number]}").reshape(shape, order="F")


if __name__ == "__main__":
    runtime.run(main, "prepare_voc_aug.py")
