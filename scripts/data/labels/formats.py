"""The annotation formats, and which of them is in a file or folder."""

import shlex
from importlib import import_module
from pathlib import Path

FORMATS = {  # value of --format -> module; those of label images in order: the first that fits counts
    "cvat": "cvat",
    "coco": "coco",
    "labelme": "labelme",
    "cvat-masks": "cvat_masks",
    "binary": "binary",
    "colors": "colours",
}
IMAGES = ("cvat-masks", "binary", "colors")


def module_of(name):
    return import_module(f"scripts.data.labels.{FORMATS[name]}")


def described():
    """Lines for messages: name, title, what is looked for."""
    return "\n".join(f"  {name}: {module_of(name).TITLE} ({module_of(name).LOOKS_LIKE})" for name in FORMATS)


def fits(source):
    """{format: its annotation files or folders} of a file or folder."""
    matches = {name: module_of(name).find(source) for name in FORMATS if name not in IMAGES}
    first = next((name for name in IMAGES if module_of(name).find(source)), None)
    if first:
        matches[first] = module_of(first).find(source)
    return {name: files for name, files in matches.items() if files}


def choose(source, name=None):
    """-> (format, its annotation files or folders)."""
    source = Path(source)
    if not source.exists():
        raise ValueError(f"{source} does not exist; give the file or folder of an export")
    if source.suffix.lower() in (".zip", ".gz", ".tar", ".tgz"):
        raise ValueError(f"{source} is an archive; unpack it, and give the folder")
    matches = fits(source) if name is None else {name: module_of(name).find(source)}
    matches = {name: files for name, files in matches.items() if files}
    if not matches:
        entries = [source.name] if source.is_file() else sorted(entry.name for entry in source.iterdir())[:8]
        what = "is not an export that can be converted" if name is None else f"is not of the format {name!r}"
        raise ValueError(f"{source} {what}; it holds {', '.join(entries) or 'nothing'}. Known formats:\n{described()}")
    if len(matches) > 1:
        raise ValueError(f"{source} may be {' or '.join(matches)}: choose one with --format")
    return next(iter(matches.items()))


def command(folder):
    """What to do with a folder that is an export of labels, or is not completely converted; None if it is neither."""
    from scripts.data.labels.export import RECORD

    folder = Path(folder).expanduser()
    if not folder.is_dir() or any((folder / name).is_file() for name in ("classes.txt", "classes.json", "pack.json")):
        return None
    if (folder / RECORD).is_file():
        return f"{folder} is not completely converted: run the same command of scripts/data/convert_labels.py again"
    matches = list(fits(folder))
    if not matches:
        return None
    out = folder.resolve().with_name(folder.resolve().name + "_converted")
    titles = " or ".join(module_of(name).TITLE for name in matches)
    flag = f" --format {matches[0]}" if len(matches) > 1 else ""
    words = shlex.join(["python", "scripts/data/convert_labels.py", str(folder), str(out)])
    return f"{folder} is an export of labels ({titles}); convert it first: {words}{flag}"
