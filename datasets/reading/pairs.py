"""Pair images with labels: by name in two folders, or by the lines of a list file."""

import os
import re
from pathlib import Path

from datasets.reading.image_io import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".ppm", ".pgm", ".gif")
KNOWN_SUFFIXES = re.compile(
    r"(_leftImg8bit|_gt(Fine|Coarse)_label(Train)?Ids|_label(Train)?Ids|_labels?|_mask|_gt|_L)$", re.IGNORECASE
)


def match(image_dir, label_dir, image_end="", label_ends=("",), endings=ENDINGS):
    """Pair the images below one folder with the labels below another, by name without suffix and extension.

    `image_end` and `label_ends` are exact ends of names; the first of `label_ends` that fits an image counts.
    """
    images = {}
    for path in list_files(image_dir, endings):
        if path.name.endswith(image_end) if image_end else path.suffix.lower() in endings:
            other = images.setdefault(stem(path, image_end), path)
            if other != path:
                raise DataError(
                    f"{image_dir / other} and {image_dir / path} are two images of one name and would share a "
                    "label: remove or rename one of them"
                )
    if label_dir is None:
        return [(image_dir / path, None) for _, path in sorted(images.items())]
    labels = {}
    for path in list_files(label_dir):
        for rank, end in enumerate(label_ends):
            key = stem(path, end) if ends(path, end) else None
            if key in images and rank < labels.get(key, (len(label_ends), ""))[0]:
                labels[key] = rank, path
    missing = [str(images[key]) for key in sorted(images) if key not in labels]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(images)} images in {image_dir} have no label in {label_dir} (name without "
            f"extension + {' or '.join(end or '.png' for end in label_ends)}): {', '.join(missing[:3])}"
        )
    return [(image_dir / path, label_dir / labels[key][1]) for key, path in sorted(images.items())]


def read_list(path, root, by_name):
    """Pairs of a list file with lines "image<TAB>label", "/image /label" or bare names.

    `by_name()` -> {name: pair} of all images below `root`, for bare names.
    """
    lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise DataError(f"{path} is an empty list")
    locate, result, missing, known = Locator(root), [], [], None
    for line in lines:
        names = columns(line, locate)
        paths = [locate(name) for name in names]
        pair = (paths[0], paths[1] if len(paths) > 1 else None) if None not in paths else None
        if pair is None and len(names) == 1:
            known = known or by_name()
            pair = known.get(stem(names[0])) or known.get(stem(Path(names[0]).name))
        if pair is None:
            missing.append(line)
        result.append(pair)
    if missing:
        links = [root / name for line in missing for name in columns(line, locate)]
        dangling = next((link for link in links if link.is_symlink()), None)
        note = f"; {dangling} is a dangling link to {os.readlink(dangling)}" if dangling else ""
        raise DataError(
            f"{len(missing)} of {len(lines)} lines of {path} name no file below {root}: {'; '.join(missing[:3])}{note}"
        )
    return result


def columns(line, locate):
    """One or two names: split at a tab, else at the blank where both sides are files, as names may contain blanks."""
    if "\t" in line:
        return [part.strip() for part in line.split("\t") if part.strip()][:2]
    words = line.split()
    for cut in range(1, len(words)):
        pair = [" ".join(words[:cut]), " ".join(words[cut:])]
        if None not in (locate(pair[0]), locate(pair[1])):
            return pair
    return [line] if len(words) != 2 or locate(line) else words


class Locator:
    """A path in a list -> the file: the path itself, or below the root, if necessary without its first folders."""

    def __init__(self, root):
        self.root, self.usual = Path(root), 0  # /SegNet/CamVid/train/x.png: usually every line needs the same cut

    def __call__(self, name):
        if os.path.isabs(name) and os.path.isfile(name):
            return Path(name)
        parts = [part for part in name.split("/") if part not in ("", ".")]
        for cut in (self.usual, *range(len(parts))):
            path = self.root.joinpath(*parts[cut:])
            if cut < len(parts) and path.is_file():
                self.usual = cut
                return path
        return None


def nearby(start):
    """The folders that may be the root: the folder itself, those in it, its parent."""
    yield start
    yield from sorted(entry for entry in start.iterdir() if entry.is_dir() and entry.name[0] != ".")[:64]
    yield start.resolve().parent


def ends(path, end):
    """Whether the name ends in `end`, or, if that is empty, in the extension of an image."""
    return path.name.endswith(end) if end else path.suffix.lower() in ENDINGS


def stem(path, end=""):
    """The name that image and label share: without extension and known suffixes, but with folders."""
    text = str(path)
    if end:
        return text[: -len(end)]
    for ending in (*ENDINGS, ".npy"):
        if text.lower().endswith(ending):
            text = text[: -len(ending)]
            break
    return KNOWN_SUFFIXES.sub("", text)


def list_files(folder, endings=ENDINGS):
    """Image files below a folder as relative paths, sorted. Links to folders are followed, each folder once.

    Names that begin with a dot (such as ._x.png of macOS) are left out. A dangling link is an error.
    """
    files, visited = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        true = os.path.realpath(place)
        if true in visited:
            folders[:] = []
            continue
        visited.add(true)
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in names:
            path = os.path.join(place, name)
            if name[0] == "." or Path(name).suffix.lower() not in endings:
                continue
            if os.path.islink(path) and not os.path.exists(path):
                raise DataError(
                    f"{path} is a dangling link to {os.readlink(path)}; restore its target or remove the link"
                )
            files.append(Path(os.path.relpath(path, folder)))
    return sorted(files)
