#!/usr/bin/env python3
"""Check every file of a dataset before training: counts, pairs, sizes, label values, duplicates, a contact sheet.

python scripts/data/verify.py --data-dir /data/cityscapes --out runs/verify

Decodes everything, prints a summary, and writes report.json and sheet.png (image, overlay, label). Exit code 1 if
there is an error that would stop a training run; anything else that is unusual is a warning. An export of an annotation
tool is recognised: the error is the command that converts it.
"""

import argparse
import re
import sys
from collections import Counter
from itertools import zip_longest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scripts.data import arguments  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

SPLITS = ("train", "val", "test")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_dataset(parser)
    parser.add_argument("--split", nargs="+", help="default: train, val and test, if they exist")
    parser.add_argument("--data-list", help="verify the pairs of this list")
    parser.add_argument("--out", default="runs/verify", help="folder for report and sheet (default: %(default)s)")
    parser.add_argument(
        "--rows", type=shared.positive, default=8, help="rows of the contact sheet (default: %(default)s)"
    )
    return parser.parse_args()


def main():
    args = parse_args()
    runtime.start("cpu")

    from datasets import build_dataset, detect
    from datasets.reading.image_io import NoSplit
    from scripts.data import sheet

    name = known_dataset(args, detect) if args.dataset == "auto" else args.dataset
    options = dict(num_classes=args.num_classes, ignore_label=args.ignore_label, data_list=args.data_list)
    options.update(channels=args.channels, value_range=args.value_range)
    report = {"data_dir": args.data_dir, "dataset": name, "splits": {}, "errors": [], "warnings": []}
    errors, warnings = report["errors"], report["warnings"]
    samples, earlier, data, missing, pairs = [], {}, None, [], []
    for split in args.split or SPLITS:
        try:
            data = build_dataset(name, split, args.data_dir, **options)
        except NoSplit as error:
            (errors if args.split else missing).append(str(error))
            continue
        except ValueError as error:
            if str(error) not in errors:  # an error of all splits is reported once
                errors.append(str(error))
            continue
        check(data, split, args.workers, report, earlier)
        samples.append(sheet.samples(data, args.rows))
        pairs += getattr(data, "pairs", [])
    if data is None and not errors:
        errors.append(missing[0])
    if data is not None and name == "folder" and not args.data_list:
        warnings += labels_without_image(pairs)
    mixed = [pair for group in zip_longest(*samples) for pair in group if pair][: args.rows]  # of all splits
    finish(report, sheet.draw(mixed, data) if mixed else None, Path(args.out))


def known_dataset(args, detect):
    """The name of the dataset in --data-dir; an export of an annotation tool is an error with the command that converts
    it. VOC's folders with a labelmap.txt are such an export, too."""
    from scripts.data.labels import formats

    error, name = None, None
    try:
        name = detect(args.data_dir)
    except ValueError as caught:
        error = caught
    mapped = name == "voc" and (Path(args.data_dir).expanduser() / "labelmap.txt").is_file()
    if mapped or (name in (None, "folder") and args.num_classes is None):
        if command := formats.command(args.data_dir):
            raise ValueError(command)
    if error:
        raise error
    return name


def check(data, split, workers, report, earlier):
    """Decode a whole split; add the results to the report and print a table. `earlier`: {md5: first image with it}."""
    import numpy as np

    from scripts.data.jobs import run

    warnings = report["warnings"]
    jobs = [(index,) for index in range(data.total_len)]
    results, failed = run(lambda index: examine(data, index), jobs, workers, split)
    report["errors"] += [error for _, error in failed]
    results = [(data.sample_name(k), result) for k, result in enumerate(results) if result]
    expected = getattr(data, "expected", {}).get(split)
    if expected not in (None, data.total_len):
        warnings.append(f"{split} has {data.total_len} images, the full {data.title} {expected}")
    for name, result in results:
        warnings += [f"{topic}: {text}" for topic, text in result["notices"]]
        first = earlier.setdefault(result["md5"], (split, name))
        if first != (split, name):
            warnings.append(f"{split}/{name} is the same image as {first[0]}/{first[1]}")
    counts = sum((result["counts"] for _, result in results), np.zeros(256, np.int64))
    facts = report["splits"][split] = summary(data, results, counts, len(failed))
    print(table(data, split, facts))
    warnings += absent_classes(data, split, facts)
    void = sum(result["counts"].sum() == result["counts"][data.ignore_label] for _, result in results)
    if void and getattr(data, "has_labels", True):
        warnings.append(f"{split}: {void} labels are entirely void")


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
        groups = grouped(report[f"{title}s"])
        for first, more in groups[:20]:
            print(f"{title}: {first}" + (f" (and {more} more like it, see report.json)" if more else ""))
        if len(groups) > 20:
            print(f"{title}: {len(groups) - 20} more, see report.json")
    print(f"{len(report['errors'])} errors, {len(report['warnings'])} warnings; {', '.join(files)}")
    if report["errors"]:
        sys.exit(1)


def grouped(lines):
    """Lines that differ only in words with a digit or a slash, as one: [(the first of them, number of the others)]."""
    groups = {}
    for line in lines:
        groups.setdefault(re.sub(r"\S*[/\d]\S*", "", line), []).append(line)
    return [(group[0], len(group) - 1) for group in groups.values()]


def absent_classes(data, split, facts):
    """A warning if a class never occurs in a split for training, or, with two classes, in any split."""
    absent = [name for name, each in facts["classes"].items() if not each["pictures"]]
    matters = split not in ("val", "test") or len(data.names) == 2
    if not absent or not matters or not facts["decoded"] or not getattr(data, "has_labels", True):
        return []
    names = ", ".join(map(repr, absent[:12])) + (f" and {len(absent) - 12} more" if len(absent) > 12 else "")
    text = f"{split}: {len(absent)} of {len(data.names)} classes never occur in the labels: {names}"
    if len(data.names) == 2 and facts["ignored_share"]:
        text += (
            f"; {100 * facts['ignored_share']:.2f}% of the pixels are void: if 255 is a class in the label files, "
            'leave out --ignore-label, or put this in classes.json: "values": {"0": 0, "255": 1}'
        )
    return [text]


def labels_without_image(pairs):
    """A warning if there are label files, beside those in use, that belong to no image of any split."""
    from datasets.reading.pairs import list_files

    used = {label for _, label in pairs}
    folders = {label.parent for label in used if label is not None}
    files = sorted({folder / name for folder in folders for name in list_files(folder)})
    unused = [str(path) for path in files if path not in used and path.parent in folders]
    return [f"{len(unused)} label files belong to no image: {', '.join(unused[:3])}"] if unused else []


def examine(data, index):
    """Decode one pair: size, pixels of each label value, a hash of the image, notices."""
    import hashlib

    import numpy as np

    from datasets.reading import image_io

    image, label = data.read(index)
    notices = image_io.NOTICES[:]
    image_io.NOTICES.clear()
    grey = image.shape[2] == 1 or bool((image[:, :, :1] == image).all())
    return {
        "size": label.shape,
        "counts": np.bincount(label.ravel(), minlength=256),
        "md5": hashlib.md5(np.ascontiguousarray(image)).hexdigest(),
        "notices": notices,
        "grey": grey,
    }


def summary(data, results, counts, failed):
    classes, total = len(data.names), max(int(counts.sum()), 1)
    sizes = Counter("x".join(map(str, result["size"])) for _, result in results)
    with_class = [sum(bool(result["counts"][k]) for _, result in results) for k in range(classes)]
    return {
        "samples": data.total_len,
        "decoded": len(results),
        "failed": failed,
        "sizes": dict(sizes.most_common(20)),
        "grey_pictures": sum(result["grey"] for _, result in results),
        "ignored_share": int(counts[data.ignore_label]) / total,
        "classes": {
            name: {"share": int(counts[k]) / total, "pictures": with_class[k]} for k, name in enumerate(data.names)
        },
    }


def table(data, split, facts):
    """The summary of a split as text."""
    sizes = ", ".join(f"{size} ({count})" for size, count in list(facts["sizes"].items())[:4]) or "unknown"
    lines = [
        f"{data.title} {split}: {facts['samples']} samples, {facts['failed']} failed; height x width {sizes}",
        f"  {100 * facts['ignored_share']:.2f}% of the pixels are void ({data.ignore_label})",
    ]
    width = max(map(len, facts["classes"]))
    for name, each in facts["classes"].items():
        lines.append(f"  {name:{width}}  {100 * each['share']:6.2f}%  in {each['pictures']} images")
    absent = [name for name, each in facts["classes"].items() if not each["pictures"]]
    if absent and len(absent) < len(facts["classes"]):
        more = f" and {len(absent) - 12} more" if len(absent) > 12 else ""
        lines.append(f"  absent: {', '.join(absent[:12])}{more}")
    return "\n".join(lines)


if __name__ == "__main__":
    runtime.run(main, "verify.py")
