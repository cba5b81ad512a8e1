"""Names of the written files: safe on every file system, unique, and paired by the project as written."""

import hashlib
import re

from datasets.reading import pairs
from scripts.data.labels.images import parts_of, stem
from scripts.data.labels.splits import WORDS

UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\ud800-\udfff]')
LONGEST = 150  # bytes of a part; file systems allow 255, with extensions and the suffix of an unfinished file


def safe(name):
    """The name of an image in an export -> a relative path without extension; its folders are kept."""
    parts = [UNSAFE.sub("_", part).strip() or "_" for part in parts_of(stem(str(name)))] or ["_"]
    parts = [re.sub(r"^[.#-]", "_", part) for part in parts]  # hidden, a comment in a list, an option
    return "/".join(shorter(part) for part in parts)


def shorter(part):
    if len(part.encode()) <= LONGEST:
        return part
    digest = hashlib.sha256(part.encode()).hexdigest()[:8]
    return part.encode()[: LONGEST - 9].decode(errors="ignore") + "_" + digest


def unique(samples):
    """-> (names of the outputs, one for each sample, remarks). a.jpg and a.png of one split become a and a_2: the
    project pairs images and labels without extension and suffixes such as _mask."""
    names, taken, changed = [], set(), []
    for sample in samples:
        first, slash, rest = sample.name.replace("\\", "/").partition("/")
        original = (
            rest if slash and WORDS.get(first.lower()) == sample.split else sample.name
        )  # images/val/, not val/val
        wanted = name = safe(original)
        number = 2
        while key(sample.split, name) in taken:
            name, number = f"{wanted}_{number}", number + 1
        taken.add(key(sample.split, name))
        names.append(name)
        if name != stem(original):
            changed.append((sample.name, name))
    if not changed:
        return names, []
    example = "{!r} -> {!r}".format(*changed[0])
    return names, [f"{len(changed)} images have another name here, which is safe and unique: {example}"]


def key(split, name):
    return split, pairs.stem(name + ".png").lower()
