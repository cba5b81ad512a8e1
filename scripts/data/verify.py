#!/usr/bin/env python3
"""Look at every file of a dataset before training on it: counts, pairs, sizes, label values, duplicates, a sheet.

python scripts/data/verify.py --data-dir /data/cityscapes --out runs/verify

Decodes everything, prints what it found, and writes report.json and sheet.png (picture, overlay, label). Exit code 1 if
anything would stop a training run; what is only odd is a warning.
"""

import argparse
import re
import sys
from collections import Counter
from itertools import zip_longest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from datasets import CHOICES  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

USUAL = ("train", "val", "test")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True, help="the data set, as train.py takes it")
    parser.add_argument("--dataset", choices=CHOICES, default="auto", metavar="NAME", help="default: from --data-dir")
    parser.add_argument("--split", nargs="+", help="default: train, val and test, as far as they exist")
    parser.add_argument("--data-list", help="verify the pairs of this list")
    parser.add_argument("--num-classes", type=shared.positive)
    parser.add_argument("--ignore-label", type=int)
    parser.add_argument("--out", default="runs/verify", help="folder for report and sheet (default: %(default)s)")
    parser.add_argument("--rows", type=shared.positive, default=8, help="of the contact sheet (default: %(default)s)")
    parser.add_argument("--workers", type=shared.whole, help="processes (default: the cores)")
    return parser.parse_args()


def main():
    args = parse_args()
    runtime.start("cpu")

    from datasets import build_dataset, detect
    from datasets.reading.image_io import NoSplit
    from utils.jobs import cores

    name = detect(args.data_dir) if args.dataset == "auto" else args.dataset
    source = dict(num_classes=args.num_classes, ignore_label=args.ignore_label, data_list=args.data_list)
    workers = cores() if args.workers is None else args.workers
    report = {"data_dir": args.data_dir, "dataset": name, "splits": {}, "errors": [], "warnings": []}
    errors, warnings = report["errors"], report["warnings"]
    rows, seen, data, lacking, used = [], {}, None, [], []
    for split in args.split or USUAL:
        try:
            data = build_dataset(name, split, args.data_dir, **source)
        except NoSplit as error:
            (errors if args.split else lacking).append(str(error))
            continue
        except ValueError as error:
            if str(error) not in errors:  # what concerns all splits is said once
                errors.append(str(error))
            continue
        check(data, split, workers, report, seen)
        rows.append(pictures(data, args.rows))
        used += getattr(data, "pairs", [])
    if data is None and not errors:
        errors.append(lacking[0])
    if data is not None and name == "folder" and not args.data_list:
        warnings += labels_without_image(used)
    mixed = [row for group in zip_longest(*rows) for row in group if row][: args.rows]  # of all splits
    finish(report, draw(mixed, data) if mixed else None, Path(args.out))


def check(data, split, workers, report, seen):
    """Decode a whole split; -> into the report, and as a table on the terminal. `seen`: images of earlier splits."""
    import numpy as np

    from utils.jobs import run

    warnings = report["warnings"]
    jobs = [(index,) for index in range(data.total_len)]
    found, failed = run(lambda index: look(data, index), jobs, workers, split)
    report["errors"] += [error for _, error in failed]
    found = [(data.sample_name(k), result) for k, result in enumerate(found) if result]
    expected = getattr(data, "expected", {}).get(split)
    if expected not in (None, data.total_len):
        warnings.append(f"{split} has {data.total_len} images, the full {data.title} {expected}")
    for name, result in found:
        for kind, text in result["notices"]:
            warnings.append(f"{kind}: {text}")
        first = seen.setdefault(result["md5"], (split, name))
        if first != (split, name):
            warnings.append(f"{split}/{name} is the same image as {first[0]}/{first[1]}")
    counts = sum((result["counts"] for _, result in found), np.zeros(256, np.int64))
    facts = report["splits"][split] = summary(data, found, counts, len(failed))
    print(text_of(data, split, facts))
    warnings += absent_classes(data, split, facts)
    void = sum(result["counts"].sum() == result["counts"][data.ignore_label] for _, result in found)
    if void and getattr(data, "has_labels", True):
        warnings.append(f"{split}: {void} labels are void as a whole")


def finish(report, sheet, out):
    """Write report and sheet, print warnings and errors; exit code 1 if there are errors."""
    from utils.training.logger import write_json

    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", report)
    files = [str(out / "report.json")]
    if sheet:
        sheet.save(out / "sheet.png")
        files.append(str(out / "sheet.png"))
    for title in ("warning", "error"):
        groups = alike(report[f"{title}s"])
        for first, more in groups[:20]:
            print(f"{title}: {first}" + (f" (and {more} more like it, see report.json)" if more else ""))
        if len(groups) > 20:
            print(f"{title}: {len(groups) - 20} more, see report.json")
    print(f"{len(report['errors'])} errors, {len(report['warnings'])} warnings; {', '.join(files)}")
    if report["errors"]:
        sys.exit(1)


def alike(lines):
    """Lines that differ only in words with a digit or a slash, as one: [(the first of them, how many more)]."""
    groups = {}
    for line in lines:
        groups.setdefault(re.sub(r"\S*[/\d]\S*", "", line), []).append(line)
    return [(same[0], len(same) - 1) for same in groups.values()]


def absent_classes(data, split, facts):
    """A warning if a class never occurs where it should be learnt; of two classes, also where it should be scored."""
    absent = [name for name, each in facts["classes"].items() if not each["pictures"]]
    matters = split not in ("val", "test") or len(data.names) == 2
    if not absent or not matters or not facts["decoded"] or not getattr(data, "has_labels", True):
        return []
    names = ", ".join(map(repr, absent[:12])) + (f" and {len(absent) - 12} more" if len(absent) > 12 else "")
    text = f"{split}: {len(absent)} of {len(data.names)} classes never occur in the labels: {names}"
    if len(data.names) == 2 and facts["ignored_share"]:
        text += (
            f"; {100 * facts['ignored_share']:.2f}% of the pixels are void: if 255 is a class in the label files, "
            'leave out --ignore-label, or say so in classes.json: "values": {"0": 0, "255": 1}'
        )
    return [text]


def labels_without_image(used):
    """A warning if label files lie beside those of the images that belong to no image of any split."""
    from datasets.reading import pairs

    known = {label for _, label in used}
    folders = {label.parent for label in known if label is not None}
    found = sorted({folder / name for folder in folders for name in pairs.list_files(folder)})
    lost = [str(path) for path in found if path not in known and path.parent in folders]
    return [f"{len(lost)} label files belong to no image: {', '.join(lost[:3])}"] if lost else []


def look(data, index):
    """Decode one pair: size, pixels of each value, a fingerprint of the picture, what was odd."""
    import hashlib

    import numpy as np

    from datasets.reading import image_io

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
    sizes = ", ".join(f"{size} ({count})" for size, count in list(facts["sizes"].items())[:4]) or "unknown"
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

    from utils.drawing.figures import colourise, contact_sheet

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
    runtime.run(main, "verify.py")
