#!/usr/bin/env python3
"""VOC trainaug: SBD's masks (cls/*.mat) as SegmentationClassAug/*.png, VOC's own over them, and the list of 10582.

python scripts/data/prepare_voc_aug.py --voc /data/VOCdevkit/VOC2012 --sbd /data/benchmark_RELEASE/dataset

The list is (SBD train + SBD val + VOC train) - VOC val: no picture to be validated on is trained on. Reads .mat files
by itself. Goes on where it was stopped; writes whole files.
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

USUAL = {"all": 10582, "added": 9118}
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--voc", required=True, help="VOC2012, or the folder that holds it")
    parser.add_argument("--sbd", required=True, help="the folder with cls/, train.txt and val.txt of SBD")
    parser.add_argument("--any-count", action="store_true", help="accept a list that is not of 10582 pictures")
    shared.add_conversion(parser)
    args = parser.parse_args()
    runtime.start("cpu")

    from PIL import Image

    from datasets.voc import VOC
    from utils.jobs import convert, cores, write_whole

    root, sbd = VOC.find_root(args.voc), find_sbd(Path(args.sbd))
    lists = root / "ImageSets" / "Segmentation"
    train, val = names(lists / "train.txt"), names(lists / "val.txt")
    added = (names(sbd / "train.txt") | names(sbd / "val.txt")) - val
    both = sorted(added | train)
    if not args.any_count and (len(both), len(added - train)) != (USUAL["all"], USUAL["added"]):
        raise ValueError(
            f"the list would have {len(both)} pictures, {len(added - train)} of them added, not {USUAL['all']} and "
            f"{USUAL['added']}: are train.txt and val.txt those of VOC 2012 and of SBD? --any-count goes on"
        )
    lost = [name for name in both if not (root / "JPEGImages" / f"{name}.jpg").is_file()]
    if lost:
        raise ValueError(f"{len(lost)} pictures are not in {root / 'JPEGImages'}: {', '.join(lost[:3])}")

    def write_mask(source, target):
        if source.suffix == ".mat":
            values = read_gtcls(source)
        else:
            values = np.asarray(Image.open(source))  # a palette picture: the indices
        if not set(np.unique(values).tolist()) <= {*range(21), 255}:
            raise ValueError(f"{source} has values outside 0..20 and 255")
        Image.fromarray(values.astype(np.uint8)).save(target, "png")

    folder = root / "SegmentationClassAug"
    own = {name: root / "SegmentationClass" / f"{name}.png" for name in train | val}  # finer than SBD's
    jobs = [(own.get(name, sbd / "cls" / f"{name}.mat"), folder / f"{name}.png") for name in sorted({*both, *val})]
    convert(write_mask, jobs, cores() if args.workers is None else args.workers, "masks", args.force, args.dry_run)
    if not args.dry_run:
        text = "".join(f"{name}\n" for name in both)
        write_whole(str(lists / "trainaug.txt"), lambda part: Path(part).write_text(text))
    print(f"trainaug: {len(both)} pictures in {lists / 'trainaug.txt'}; train with --split trainaug")


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
    """GTcls.Segmentation of an SBD file: (H, W) uint8. MATLAB 5 format, as far as these files need it."""
    try:
        raw = path.read_bytes()
        if raw[:10] == b"MATLAB 7.3" or raw[126:128] != b"IM":
            raise ValueError("not a little-endian MATLAB 5 file")
        at = 128
        while at < len(raw):
            kind, data, at = element(raw, at)
            if kind == 15:  # compressed
                kind, data, _ = element(zlib.decompress(data), 0)
            name, content = matrix(data)
            if name == "GTcls":
                _, values = matrix(content["Segmentation"])
                return values.astype(np.uint8)
        raise ValueError("no GTcls in it")
    except (ValueError, KeyError, IndexError, TypeError, struct.error, zlib.error) as error:
        raise ValueError(f"{path} is not a mask of SBD ({type(error).__name__}: {error}); copy it again") from None


def element(raw, at):
    """-> (type, bytes, where the next one begins)."""
    kind, size = struct.unpack_from("<II", raw, at)
    if kind >> 16:  # a small one: four bytes of data in the tag itself
        return kind & 0xFFFF, raw[at + 4 : at + 4 + (kind >> 16)], at + 8
    if at + 8 + size > len(raw):
        raise ValueError(f"an element of {size} bytes is cut off")
    end = at + 8 + size
    return kind, raw[at + 8 : end], end if kind == 15 else -(-end // 8) * 8


def matrix(data):
    """-> name, and an array, or for a struct {field: its undecoded matrix}."""
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
    kind, values, _ = element(data, at)
    return name.decode(), np.frombuffer(values, f"<{STORED[kind]}").reshape(shape, order="F")


if __name__ == "__main__":
    runtime.run(main, "prepare_voc_aug.py")
