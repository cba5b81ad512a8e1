#!/usr/bin/env python3
"""Convert labels of annotation tools to a folder dataset that training and evaluation read.

python scripts/data/convert_labels.py exports/labelme data/mine

SRC is an export of CVAT (images 1.1 or segmentation mask 1.1), COCO JSON, labelme JSON, label images in colours, or one
binary mask for each class; its format is detected. DST gets images/, labels/ and classes.txt. Prints the classes with
their images, pixels and shares. Files are written atomically; an interrupted run is continued by the same command.
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scripts.data.labels.formats import FORMATS  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

RULES = """\
where annotations overlap:
  CVAT     higher z_order covers lower; with the same z_order, later covers earlier
  COCO     the annotation with fewer pixels covers that with more; crowds lie below all others
  labelme  later covers earlier
  binary   the class that is later in the order of the classes covers the earlier one

pixels of a shape:
  CVAT and COCO: those whose centre lies inside (even-odd rule); labelme: as its own tools draw it, with the outline
"""


def share(text):
    return shared.parsed(text, float, lambda value: 0 <= value < 1, "a number from 0 to below 1, for example 0.1")


def parse_args():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=RULES, formatter_class=form)
    add = parser.add_argument
    add("source", metavar="SRC", type=Path, help="folder of the export, or its XML or JSON file")
    add("out", metavar="DST", type=Path, help="folder to write")
    text = f"{', '.join(FORMATS)} (default: detected from SRC)"
    add("--format", choices=tuple(FORMATS), metavar="NAME", help=text)
    add("--images", metavar="DIR", help="folder of the images (default: SRC)")
    text = "names of the classes in this order, one on each line, as in classes.txt (default: those of the export)"
    add("--classes", metavar="FILE", type=Path, help=text)
    text = "lines 'name R G B' or 'name:r,g,b::' for label images in colours (default: labelmap.txt, else PASCAL VOC)"
    add("--colors", metavar="FILE", help=text)
    text = "what is not annotated: the class background, or void, which is not trained (default: %(default)s)"
    add("--unlabelled", choices=("background", "void"), default="background", help=text)
    text = "crowds of COCO (iscrowd): void, their class, or leave them out (default: %(default)s)"
    add("--crowd", choices=("void", "class", "skip"), default="void", help=text)
    text = "share of the images for validation, chosen by their names (default: the export's own splits, else 0.1)"
    add("--val", type=share, metavar="X", help=text)
    text = "a broken annotation or missing image: stop, or leave it out and report it (default: %(default)s)"
    add("--on-bad-annotation", choices=("error", "skip"), default="error", help=text)
    add("--link", action="store_true", help="symbolic links to the images (default: copies)")
    shared.add_conversion(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    runtime.start("cpu")
    from datasets.reading.image_io import DataError
    from scripts.data.labels import classes, formats, names, splits, write
    from scripts.data.labels.export import Options, without_repeats

    name, files = formats.choose(args.source, args.format)
    write.check_place(args.source, args.out)
    module, options = (
        formats.module_of(name),
        Options(args.images, args.out.absolute(), args.colors, args.crowd, args.workers),
    )
    print(f"{args.source}: {module.TITLE}, {len(files)} {'file' if len(files) == 1 else 'files'}")
    export = without_repeats(module.read(args.source, files, options))
    if export.problems and args.on_bad_annotation == "error":
        raise DataError(several(export.problems, "broken entries") + "; --on-bad-annotation skip leaves them out")
    if not export.samples:
        raise DataError(f"{args.source} has no image that can be converted. {several(export.problems, 'problems')}")
    wanted = read_names(args.classes) if args.classes else None
    plan = classes.plan(export.classes, wanted, args.unlabelled)
    samples = splits.assign(export.samples, args.val)
    paths, renamed = names.unique(samples)
    for line in [*export.remarks, *plan.remarks, *renamed]:
        print(f"note: {line}")
    settings = repr([name, plan[:4], args.crowd, args.link, args.on_bad_annotation])
    items = write.items_of(samples, paths, args.out, settings)
    if args.dry_run:
        print(f"{len(items)} images of {len(plan.names)} classes would be converted: {', '.join(plan.names)}")
        return
    missing, stale = write.prepare(items, args.out, args.force)
    print(f"{len(items)} images, {len(items) - len(missing)} exist already, {len(missing)} to write")
    if stale:
        print(f"{stale} outputs of an earlier run are replaced or deleted: annotations, images or settings changed")
    choices = {"on_bad": args.on_bad_annotation, "link": args.link, "workers": args.workers}
    counts, problems, notices = write.convert(items, missing, plan, choices)
    problems = export.problems + problems
    if not counts.any():
        raise DataError(f"{args.source} has no image that can be converted. {several(problems, 'problems')}")
    write.write_classes(args.out, plan, bool(counts[:, 255].any()))
    print(write.table(items, counts, plan))
    for line in [f"{count} {what}" for what, count in notices.items()] + write.absent(counts, plan):
        print(f"note: {line}")
    if problems:
        print(f"left out: {several(problems, 'broken annotations or images')}")
    print(f"converted: {args.out}; next: python scripts/data/verify.py --data-dir {shlex.quote(str(args.out))}")


def read_names(path):
    from datasets.folder import read_classes
    from scripts.data.labels.classes import name_for_file

    return [name_for_file(name) for name in read_classes(path)["names"]]


def several(problems, what, most=3):
    """The number of problems and the first of them."""
    more = f" (and {len(problems) - most} more)" if len(problems) > most else ""
    return f"{len(problems)} {what}: {'; '.join(problems[:most])}{more}"


if __name__ == "__main__":
    runtime.run(main, "convert_labels.py")
