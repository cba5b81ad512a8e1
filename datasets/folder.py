"""Your own dataset: images in one folder, labels in another, class names in a small text or JSON file.

images/<split> and labels/<split> (or another layout of LAYOUTS), paired by name; or flat folders with <split>.txt
lists. classes.txt has one class per line, "name" or "name R G B". The line number, from 0, is the value in the label
files; the colour is for label images that show classes as colours, in RGB or in grey. A class with the name `void` is
ignored. 255 is void, except for masks: with two classes and labels that hold only 0 and 255, 255 is the second class
(grey_labels.py), unless --ignore-label 255 makes it void.
classes.json can define more: {"names": [...], "palette": [[r, g, b], ...], "values": {"7": 0, ...}, "ignore_label":
255, "flip_pairs": [[14, 15]]}. Without a class file, `--num-classes N` makes classes 0 .. N - 1.
"""

import json

from datasets.base import report_once
from datasets.files import FileDataset
from datasets.reading import grey_labels
from datasets.reading.image_io import DataError
from datasets.reading.label_io import ColourMap
from models.tables import devkit_palette

WORDS = {"train": ("train", "training"), "val": ("val", "validation", "valid"), "test": ("test", "testing")}
LAYOUTS = (
    ("images/{}", "labels/{}"),
    ("images/{}", "annotations/{}"),
    ("images/{}", "masks/{}"),
    ("img_dir/{}", "ann_dir/{}"),
    ("{}/images", "{}/labels"),
    ("{}/images", "{}/masks"),
    ("{}", "{}annot"),
    ("{}_images", "{}_labels"),
    ("{}_images", "{}_masks"),
)
FLAT = (("images", "labels"), ("images", "masks"), ("images", "annotations"), ("JPEGImages", "SegmentationClass"))
CLASS_FILES = ("classes.json", "classes.txt")


class Folder(FileDataset):
    title = "a folder of images and labels"
    looks_like = "images/<split>/ and labels/<split>/, or images/ and labels/ with <split>.txt"
    splits = ("train", "val", "test", "all")

    def __init__(self, *arguments, grey_labels=None, channels=3, value_range=None, **options):
        """`grey_labels`: what a checkpoint records of its data, one of grey_labels.FORMS. `channels` other than 3, and
        `value_range`: see reading/bands.py."""
        self.channels, self.value_range = channels or 3, value_range
        self.recorded, self.grey_labels = grey_labels, "numbers"
        super().__init__(*arguments, **options)

    @classmethod
    def is_root(cls, folder):
        pairs = [pair for split in WORDS for pair in cls.places(folder, split)]
        return bool(pairs) or any((folder / a).is_dir() and (folder / b).is_dir() for a, b in FLAT)

    @staticmethod
    def places(root, split):
        """Layouts that exist for a split: [(folder of the images, folder of the labels)]."""
        choices = [(a.format(word), b.format(word)) for word in WORDS[split] for a, b in LAYOUTS]
        return [(a, b) for a, b in choices if (root / a).is_dir() and (root / b).is_dir()]

    def pairs_of(self, split):
        if split == "all":
            pairs = {pair for part in WORDS for pair in self.pairs_of(part)}
            return sorted(pairs) or self.flat()
        for images, labels in self.places(self.root, split):
            if pairs := self.match(images, labels, "", ("", "_labelTrainIds.png", "_labelIds.png")):
                return pairs
        for word in WORDS[split]:
            for place in ("", "splits", "ImageSets/Segmentation"):
                if (self.root / place / f"{word}.txt").is_file():
                    return self.listed(self.root / place / f"{word}.txt")
        for word in WORDS[split]:  # images without labels: for prediction only
            if split == "test" and (self.root / "images" / word).is_dir():
                return self.match(f"images/{word}", None)
        return []

    def flat(self):
        for images, labels in FLAT:
            if (self.root / images).is_dir() and (self.root / labels).is_dir():
                return self.match(images, labels)
        return []

    def by_name(self):
        known = {name: pair for pair in self.flat() for name in [pair[0].relative_to(self.root).stem]}
        return known or super().by_name()

    def choose_classes(self, num_classes):
        path = next((self.root / name for name in CLASS_FILES if (self.root / name).is_file()), None)
        if path is None and num_classes is None:
            raise DataError(
                f"{self.root} does not define its classes: put classes.txt there (one name per line, in the order of "
                "the label values), or give --num-classes"
            )
        explicit = "ignore_label" in vars(self) and self.recorded is None  # --ignore-label, and not a checkpoint's
        known = numbered_classes(num_classes) if path is None else read_classes(path)
        self.names, self.values, painted = known["names"], known["values"], known["painted"]
        if num_classes not in (None, len(self.names)):
            raise ValueError(
                f"{path} names {len(self.names)} classes, not {num_classes} (--num-classes, or the checkpoint): "
                "make them agree"
            )
        if len(self.names) < 2:
            raise DataError(
                f"{path or '--num-classes'} has only the class {self.names[0]!r}, and at least two are needed: the "
                "background is a class, too (a line of its own, in the order of the label values)"
            )
        self.palette = tuple(known["palette"] or devkit_palette(len(self.names)))
        if "ignore_label" not in vars(self):  # --ignore-label has priority
            self.ignore_label = known.get("ignore_label", self.ignore_label)
        self.flip_pairs = known.get("flip_pairs", ())
        self.read_grey(painted, "ignore_label" not in known and self.values == {0: 0, 1: 1}, explicit)

    def read_grey(self, painted, two_classes, explicit):
        """Decide what grey values mean (grey_labels.py), and report an unusual decision once."""
        labels = self.deciding_labels()
        numbers = set(self.values)
        form, values, count = grey_labels.decide(labels, numbers, painted, two_classes, explicit, self.recorded)
        self.grey_labels, self.examined = form, f"{count} of {len(labels)}"
        self.colours = ColourMap(painted, form == "colours") if painted else None
        if form == "binary":
            self.values = {0: 0, 255: 1}
            report_once(
                f"{self.root}: its labels hold only 0 and 255 ({self.examined} examined), so 255 is read as class 1, "
                f"{self.names[1]!r}; --ignore-label 255 makes it void"
            )
        if form == "colours":
            report_once(f"{self.root}: its labels are grey, and their values are read as the colours of the class file")
        if form == "void" and values == grey_labels.MASK:
            reason = "by --ignore-label or checkpoint" if explicit else "as in the data of the checkpoint"
            report_once(
                f"{self.root}: its labels hold only 0 and 255, and 255 is void, {reason}: {self.names[1]!r} never "
                'occurs; if 255 is that class, put this in classes.json: "values": {"0": 0, "255": 1}'
            )

    def deciding_labels(self):
        """The label files that decide what grey values mean: those of the training split, else of another."""
        for split in ("train", "all", "val", "test"):
            try:
                labels = [label for _, label in self.pairs_of(split) if label is not None]
            except DataError:  # an error in the requested split is raised later
                continue
            if labels:
                return labels
        return []

    def probable_cause(self, values):
        if self.grey_labels == "binary" and 1 in values:
            return (
                f"255 is void here, but was read as class 1, because the examined label files ({self.examined}) hold "
                "only 0 and 255: set --ignore-label 255"
            )
        if len(self.names) == 2 and values.max() > 127 and values.max() <= 255:
            return "this is a mask of 0 and 255 that was saved with interpolation or compression"
        return super().probable_cause(values)


def numbered_classes(num_classes):
    """Classes 0 .. num_classes - 1, without a class file."""
    names, values = tuple(f"class {k}" for k in range(num_classes)), {k: k for k in range(num_classes)}
    return {"names": names, "values": values, "palette": None, "painted": None}


def read_classes(path):
    try:
        known = read_json(path) if path.suffix == ".json" else read_text(path)
        twice = next((name for name in known["names"] if known["names"].count(name) > 1), None)
        if twice:
            raise ValueError(f"the class {twice!r} occurs twice")
        return known
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        cause = f"{error} is missing" if isinstance(error, KeyError) else error
        raise DataError(f"{path} is not a valid class file ({cause}); see the top of datasets/folder.py") from None


def read_text(path):
    """classes.txt -> names, palette, values; `painted`: the colour of each line, including void."""
    names, palette, painted, values = [], [], [], {}
    for line in path.read_text("utf-8-sig").splitlines():
        words = line.split()
        if not words or line.lstrip().startswith("#"):
            continue
        coloured = len(words) > 3 and all(word.isdigit() and int(word) < 256 for word in words[-3:])
        name, colour = (" ".join(words[:-3]), tuple(map(int, words[-3:]))) if coloured else (" ".join(words), None)
        value = len(values)
        values[value] = None if name.lower() == "void" else len(names)
        painted.append(colour)
        if values[value] is not None:
            names.append(name)
            palette.append(colour)
    if not names:
        raise ValueError("it has no class")
    if None in painted and any(painted):
        raise ValueError("only some lines have a colour")
    coloured = painted[0] is not None
    palette, painted = (palette, painted) if coloured else (None, None)
    return {"names": tuple(names), "palette": palette, "painted": painted, "values": values}


def read_json(path):
    """classes.json: a list of names, or an object as described at the top of this file."""
    known = json.loads(path.read_text("utf-8-sig"))
    known = {"names": known} if isinstance(known, list) else dict(known)
    if not isinstance(known["names"], list) or not known["names"]:
        raise ValueError("`names` is not a list of names")
    names = tuple(str(name) for name in known["names"])
    palette = [tuple(int(part) for part in colour) for colour in known.get("palette", ())]
    if palette and len(palette) != len(names):
        raise ValueError(f"{len(names)} names and {len(palette)} colours")
    if any(len(colour) != 3 or not all(0 <= part <= 255 for part in colour) for colour in palette):
        raise ValueError("`palette` has a colour that is not three numbers in 0..255")
    values = known.get("values", {number: number for number in range(len(names))})
    values = {int(value): None if number is None else int(number) for value, number in values.items()}
    if any(number is not None and not 0 <= number < len(names) for number in values.values()):
        raise ValueError(f"`values` has classes outside 0..{len(names) - 1}")
    if any(not 0 <= value <= 255 for value in values):
        raise ValueError("`values` has a label value outside 0..255")
    pairs = tuple(tuple(int(number) for number in pair) for pair in known.get("flip_pairs", ()))
    if any(len(pair) != 2 or not all(0 <= number < len(names) for number in pair) for pair in pairs):
        raise ValueError(f"`flip_pairs` has an entry that is not a pair of classes 0..{len(names) - 1}")
    if not isinstance(known.get("ignore_label", 255), int):
        raise ValueError("`ignore_label` is not an integer")
    ignore = {"ignore_label": known.get("ignore_label", 255)} if {"ignore_label", "values"} & set(known) else {}
    painted = [None] * (max(values, default=0) + 1) if palette else None
    for value, number in values.items():
        if palette and number is not None:
            painted[value] = palette[number]  # the colour that stands for this value
    return {"names": names, "palette": palette, "painted": painted, "values": values, "flip_pairs": pairs, **ignore}
