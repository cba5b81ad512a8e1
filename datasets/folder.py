"""A data set of your own: pictures in one folder, labels in another, class names in a small text or JSON file.

images/<split> and labels/<split> (or one of the other arrangements in LAYOUTS), paired by name; or flat folders with
<split>.txt lists. classes.txt has a class a line, "name" or "name R G B"; the line number, from 0, is the value in the
label files, the colour is for label pictures that paint classes. A class called `void` is ignored and is no class.
classes.json can say more: {"names": [...], "palette": [[r, g, b], ...], "values": {"7": 0, ...}, "ignore_label": 255,
"flip_pairs": [[14, 15]]}. Without such a file `--num-classes N` makes classes 0 .. N - 1.
"""

import json

from datasets.files import FileDataset
from datasets.image_io import DataError
from datasets.label_io import ColourMap
from datasets.voc import devkit_palette

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
    title = "a folder of pictures and labels"
    looks_like = "images/<split>/ and labels/<split>/, or images/ and labels/ with <split>.txt"
    splits = ("train", "val", "test", "all")

    @classmethod
    def is_root(cls, folder):
        pairs = [pair for split in WORDS for pair in cls.places(folder, split)]
        return bool(pairs) or any((folder / a).is_dir() and (folder / b).is_dir() for a, b in FLAT)

    @staticmethod
    def places(root, split):
        """Arrangements that exist for a split: [(folder of the pictures, of the labels)]."""
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
        for word in WORDS[split]:  # pictures without labels: only to be predicted
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

    def choose_form(self, num_classes):
        path = next((self.root / name for name in CLASS_FILES if (self.root / name).is_file()), None)
        if path is None and num_classes is None:
            raise DataError(
                f"{self.root} does not say what its classes are: put classes.txt there (a name a line, in the order of "
                "the label values), or give --num-classes"
            )
        if path is None:
            self.names = tuple(f"class {number}" for number in range(num_classes))
            self.palette = devkit_palette(num_classes)
            self.values = {number: number for number in range(num_classes)}
            return
        try:
            known = read_json(path) if path.suffix == ".json" else read_text(path)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} does not describe classes ({error}); see the head of datasets/folder.py") from None
        self.names, self.values, colours = known["names"], known["values"], known["palette"]
        self.palette = tuple(colours) if colours else devkit_palette(len(self.names))
        if known["painted"]:
            self.colours = ColourMap(known["painted"])
        if "ignore_label" not in vars(self):  # --ignore-label goes before
            self.ignore_label = known.get("ignore_label", self.ignore_label)
        self.flip_pairs = known.get("flip_pairs", ())
        super().choose_form(num_classes)


def read_text(path):
    """classes.txt -> names, palette, values; `painted`: the colour of each line, void ones too."""
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
        raise ValueError("no class in it")
    if None in painted and any(painted):
        raise ValueError("some lines have a colour and some have none")
    coloured = painted[0] is not None
    palette, painted = (palette, painted) if coloured else (None, None)
    return {"names": tuple(names), "palette": palette, "painted": painted, "values": values}


def read_json(path):
    """classes.json: a list of names, or an object as at the head of this file."""
    known = json.loads(path.read_text("utf-8-sig"))
    known = {"names": known} if isinstance(known, list) else dict(known)
    names = tuple(str(name) for name in known["names"])
    palette = [tuple(int(part) for part in colour) for colour in known.get("palette", ())]
    if not names or (palette and len(palette) != len(names)):
        raise ValueError(f"{len(names)} names and {len(palette)} colours")
    values = known.get("values", {number: number for number in range(len(names))})
    values = {int(value): None if number is None else int(number) for value, number in values.items()}
    if any(number is not None and not 0 <= number < len(names) for number in values.values()):
        raise ValueError(f"`values` leads to classes outside 0..{len(names) - 1}")
    known.update(names=names, palette=palette, painted=palette or None, values=values)
    known["flip_pairs"] = tuple(tuple(pair) for pair in known.get("flip_pairs", ()))
    return known
