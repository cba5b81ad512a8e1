#!/usr/bin/env python3
"""Look at every file of a data set before training on it: counts, pairs, sizes, label values, duplicates, a contact
sheet.

python scripts/verify_dataset.py --data-dir /data/cityscapes --out runs/verify

Decodes everything, prints what it found, and writes report.json and sheet.png (picture, overlay, label). Exit code 1 if
anything would stop a training run; what is only odd is a warning.
"""

import argparse
import sys
from collections import Counter
from itertools import zip_longest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets import CHOICES  # noqa: E402
from utils import options, runtime  # noqa: E402

USUAL = ("train", "val", "test")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True, help="the data set, as train.py takes it")
    parser.add_argument("--dataset", choices=CHOICES, default="auto", metavar="NAME", help="default: from --data-dir")
    parser.add_argument("--split", nargs="+", help="default: train, val and test, as far as they exist")
    parser.add_argument("--data-list", help="verify the pairs of this list")
    parser.add_argument("--num-classes", type=options.positive)
    parser.add_argument("--ignore-label", type=int)
    parser.add_argument("--out", default="runs/verify", help="folder for report and sheet (default: %(default)s)")
    parser.add_argument("--rows", type=options.positive, default=8, help="of the contact sheet (default: %(default)s)")
    parser.add_argument("--workers", type=options.whole, help="processes (default: the cores)")
    return parser.parse_args()


def main():
    args = parse_args()
    runtime.start("cpu")
    import numpy as np

    from datasets import build_dataset, detect
    from utils.jobs import cores, run
    from utils.logger import write_json

    name = detect(args.data_dir) if args.dataset == "auto" else args.dataset
    source = dict(num_classes=args.num_classes, ignore_label=args.ignore_label, data_list=args.data_list)
    workers = cores() if args.workers is None else args.workers
    report = {"data_dir": args.data_dir, "dataset": name, "splits": {}, "errors": [], "warnings": []}
    errors, warnings = report["errors"], report["warnings"]
    rows, seen, data = [], {}, None
    for split in args.split or USUAL:
        try:
            data = build_dataset(name, split, args.data_dir, **source)
        except ValueError as error:
            if args.split or "is empty" not in str(error) and "unknown split" not in str(error):
                errors.append(str(error))
            continue
        jobs = [(index,) for index in range(data.total_len)]
        found, failed = run(lambda index, data=data: look(data, index), jobs, workers, split)
        errors += [error for _, error in failed]
        found = [(data.sample_name(k), result) for k, result in enumerate(found) if result]
        expected = getattr(data, "expected", {}).get(split)
        if expected not in (None, data.total_len):
            warnings.append(f"{split} has {data.total_len} pictures, the full {data.title} {expected}")
        for other, result in found:
            for kind, text in result["notices"]:
                warnings.append(f"{kind}: {text}")
            first = seen.setdefault(result["md5"], (split, other))
            if first != (split, other):
                warnings.append(f"{split}/{other} is the same picture as {first[0]}/{first[1]}")
        counts = sum((result["counts"] for _, result in found), np.zeros(256, np.int64))
        report["splits"][split] = summary(data, found, counts, len(failed))
        print(text_of(data, split, report["splits"][split]))
        rows.append(pictures(data, args.rows))
        void = sum(result["counts"].sum() == result["counts"][data.ignore_label] for _, result in found)
        if void and getattr(data, "has_labels", True):
            warnings.append(f"{split}: {void} labels are void as a whole")
    if data is None and not errors:
        errors.append(f"{args.data_dir} has none of the splits {', '.join(args.split or USUAL)}")

    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", report)
    if rows:
        mixed = [row for group in zip_longest(*rows) for row in group if row][: args.rows]  # of all splits
        draw(mixed, data).save(out / "sheet.png")
    for title, lines in (("warning", warnings), ("error", errors)):
        for line in lines[:20]:
            print(f"{title}: {line}")
        if len(lines) > 20:
            print(f"{title}: {len(lines) - 20} more, see report.json")
    files = [str(out / "report.json")] + ([str(out / "sheet.png")] if rows else [])
    print(f"{len(errors)} errors, {len(warnings)} warnings; {', '.join(files)}")
    if errors:
        sys.exit(1)


def look(data, index):
    """Decode one pair: size, pixels of each value, a fingerprint of the picture, what was odd."""
    import hashlib

    import numpy as np

    from datasets import image_io

    image, label = data.read(index)
    notices = image_io.NOTICES[:]
    image_io.NOTICES.clear()
    grey = bool((image[:, :, 0] == image[:, :, 1]).all() and (image[:, :, 0] == image[:, :, 2]).all())
    return {
        "size": label.shape,
        "counts": np.bincount(label.ravel(), minlength=256),
        "md5": hashlib.md5(np.ascontiguousarray(image)).hexdigest(),
        "notices": notices,
        "grey": grey,
    }


def summary(data, found, counts, failed):
    classes, total = len(data.names), max(int(counts.sum()), 1)
    sizes = Counter("x".join(map(str, result["size"])) for _, result in found)
    with_class = [sum(bool(result["counts"][k]) for _, result in found) for k in range(classes)]
    return {
        "samples": data.total_len,
        "decoded": len(found),
        "failed": failed,
        "sizes": dict(sizes.most_common(20)),
        "grey_pictures": sum(result["grey"] for _, result in found),
        "ignored_share": int(counts[data.ignore_label]) / total,
        "classes": {
            name: {"share": int(counts[k]) / total, "pictures": with_class[k]} for k, name in enumerate(data.names)
        },
    }


def text_of(data, split, facts):
    """One split as a table."""
    sizes = ", ".join(f"{size} ({count})" for size, count in list(facts["sizes"].items())[:4])
    lines = [
        f"{data.title} {split}: {facts['samples']} samples, {facts['failed']} failed; height x width {sizes}",
        f"  {100 * facts['ignored_share']:.2f}% of the pixels are void ({data.ignore_label})",
    ]
    width = max(map(len, facts["classes"]))
    for name, each in facts["classes"].items():
        lines.append(f"  {name:{width}}  {100 * each['share']:6.2f}%  in {each['pictures']} pictures")
    absent = [name for name, each in facts["classes"].items() if not each["pictures"]]
    if absent and len(absent) < len(facts["classes"]):
        more = f" and {len(absent) - 12} more" if len(absent) > 12 else ""
        lines.append(f"  never: {', '.join(absent[:12])}{more}")
    return "\n".join(lines)


def pictures(data, count):
    """(picture, label) BGR of `count` samples, evenly spread; those that do not decode are left out."""
    found = []
    for index in range(0, data.total_len, max(data.total_len // count, 1)):
        try:
            found.append(data.read(index))
        except ValueError:
            continue
    return found[:count]


def draw(rows, data):
    """The contact sheet: picture, overlay, label, on tiles of one size; the legend has the classes that are seen."""
    import cv2
    import numpy as np

    from utils.visualize import colourise, contact_sheet

    height, shapes = 240, [label.shape[1] / label.shape[0] for _, label in rows]
    width = int(height * min(max(sorted(shapes)[len(shapes) // 2], 0.5), 2.0))
    tiles, present = [], set()
    for image, label in rows:
        present |= set(np.unique(label).tolist())
        colour = colourise(label, data.palette)  # RGB
        picture = image[:, :, ::-1]
        known = ((label != data.ignore_label) & colour.any(-1))[:, :, None]  # black is no tint
        overlay = np.where(known, (picture.astype(int) + colour) // 2, picture).astype(np.uint8)
        factor = min(height / label.shape[0], width / label.shape[1])
        size = (max(round(label.shape[1] * factor), 1), max(round(label.shape[0] * factor), 1))
        tile = []
        for part, how in ((picture, cv2.INTER_AREA), (overlay, cv2.INTER_AREA), (colour, cv2.INTER_NEAREST)):
            canvas = np.full((height, width, 3), 255, np.uint8)
            canvas[: size[1], : size[0]] = cv2.resize(np.ascontiguousarray(part), size, interpolation=how)
            tile.append(canvas)
        tiles.append(tile)
    shown = [k for k in range(len(data.names)) if k in present]
    names, palette = [data.names[k] for k in shown], [data.palette[k] for k in shown]
    return contact_sheet(tiles, ("picture", "overlay", "label"), names, palette)


if __name__ == "__main__":
    runtime.run(main, "verify_dataset.py")
