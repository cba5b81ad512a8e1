"""Datasets of files: find the root folder and the pairs of a split, map the values in label files to classes.

This is common to all datasets on disk; each has a file of its own for the rest. Missing files are errors: an empty
split, an image without a label or a list with wrong paths is reported with the folder, the pattern and the first names.
"""

import os
from pathlib import Path

import cv2
import numpy as np

from datasets.base import SegmentationDataset
from datasets.reading import bands, image_io, label_io, pairs
from datasets.reading.image_io import DataError, NoSplit
from datasets.reading.pairs import nearby, stem


def hex_palette(text):
    """ "804080 f423e8" -> ((128, 64, 128), (244, 35, 232)), RGB."""
    return tuple(tuple(bytes.fromhex(colour)) for colour in text.split())


def value_table(values, ignore):
    """{value: class or None} -> 256 entries: class, ignore label, or 254 for a value without a meaning."""
    table = np.full(256, 254, np.uint8)
    table[[255, ignore]] = ignore
    for value, number in values.items():
        table[value] = ignore if number is None else number
    return table


class FileDataset(SegmentationDataset):
    """A subclass defines how a root folder is recognised (`is_root`), which pairs a split has (`pairs_of`), and
    `values`: {value in the label file: class, or None for void}. `expected`: the official sizes of the splits."""

    # title: name in messages; looks_like: the layout in words; inside: folders below --data-dir that may be the root
    title, looks_like, inside = "", "", ("",)
    splits, values, colours, expected = ("train", "val"), {}, None, {}

    def __init__(
        self,
        data_dir,
        split="train",
        data_list=None,
        num_classes=None,
        ignore_label=None,
        on_bad_label="error",
        resize_labels=False,
        cache=None,
        **options,
    ):
        if not data_dir:
            raise ValueError(f"{self.title} needs --data-dir, the folder that holds {self.looks_like}")
        self.root, self.split = self.find_root(data_dir), split
        self.on_bad_label, self.resize_labels, self.cache = on_bad_label, resize_labels, cache
        if ignore_label is not None:
            self.ignore_label = ignore_label
        self.choose_classes(num_classes)
        if not 0 <= self.ignore_label <= 255 or self.ignore_label == 254 or len(self.names) > 254:
            raise ValueError(
                f"--ignore-label {self.ignore_label} with {len(self.names)} classes: labels are uint8, so at most 254 "
                "classes and an ignore label in 0..255 other than 254 are possible (255 is usual)"
            )
        self.table = value_table(self.values, self.ignore_label)
        self.pairs = self.listed(data_list) if data_list else self.pairs_of_split(split)
        self.sample_names = [stem(image.name) for image, _ in self.pairs]
        if len(set(self.sample_names)) < len(self.pairs):  # a/1.png and b/1.png: include the folders
            paths = [stem(os.path.relpath(image, self.root)) for image, _ in self.pairs]
            self.sample_names = [path.replace("../", "").replace("/", "_") for path in paths]
        super().__init__(len(self.pairs), **options)
        if cache:
            cache.attach(self)

    # --- what a subclass overrides

    @classmethod
    def is_root(cls, folder):
        raise NotImplementedError

    def pairs_of(self, split):
        """-> [(image, label or None)] in a fixed order."""
        raise NotImplementedError

    def choose_classes(self, num_classes):
        """Datasets that offer more than one set of classes override this."""
        if num_classes not in (None, len(self.names)):
            raise ValueError(
                f"{self.title} has {len(self.names)} classes, not {num_classes} (--num-classes, or the checkpoint)"
            )

    def table_for(self, label_path):
        return self.table

    # --- find the files

    @classmethod
    def find_root(cls, data_dir):
        """--data-dir itself, a folder in it, or its parent: the first that is a root of this dataset."""
        start = Path(data_dir).expanduser()
        if not start.is_dir():
            target = f", a dangling link to {os.readlink(start)}" if start.is_symlink() else ""
            raise DataError(f"--data-dir {data_dir} is not a folder{target}; give the one that holds {cls.looks_like}")
        for folder in nearby(start):
            for below in cls.inside:
                if (folder / below).is_dir() and cls.is_root(folder / below):
                    return folder / below
        entries = ", ".join(sorted(entry.name for entry in start.iterdir() if entry.name[0] != ".")[:8]) or "nothing"
        raise DataError(
            f"--data-dir {data_dir} is not {cls.title}: neither it, nor a folder in it, nor its parent has "
            f"{cls.looks_like}; it holds {entries}"
        )

    def pairs_of_split(self, split):
        if split not in self.splits:
            raise NoSplit(f"unknown split {split!r} of {self.title}; choose from {', '.join(self.splits)}")
        split_pairs = self.pairs_of(split)
        if not split_pairs:
            counts = {other: len(self.pairs_of(other)) for other in self.splits if other != split}
            filled = [name for name, count in counts.items() if count]
            others = ", ".join(f"{name} ({counts[name]})" for name in filled) or "none"
            others += f"; choose {'it' if len(filled) == 1 else 'one'} with --split {filled[0]}" if filled else ""
            raise NoSplit(
                f"split {split!r} of {self.title} in {self.root} is empty: 0 images of the layout {self.looks_like}; "
                f"splits with images: {others}"
            )
        return split_pairs

    def match(self, image_dir, label_dir, image_end="", label_ends=("",)):
        """pairs.match for folders below the root; label_dir None: images without labels."""
        folders = self.root / image_dir, label_dir and self.root / label_dir
        return pairs.match(*folders, image_end, label_ends, pairs.ENDINGS if self.channels == 3 else bands.ENDINGS)

    def listed(self, data_list):
        path = next((p for p in (Path(data_list), self.root / data_list) if p.is_file()), None)
        if path is None:
            raise DataError(f"--data-list {data_list} is not a file, neither here nor in {self.root}")
        return pairs.read_list(path, self.root, self.by_name)

    def by_name(self):
        """{name without suffix and extension: pair} over all splits."""
        known = {}
        for split in self.splits:
            for image, label in self.pairs_of(split):
                known.setdefault(stem(image.name), (image, label))
        return known

    @property
    def has_labels(self):
        return any(label is not None for _, label in self.pairs)

    def state(self):
        """Changes with any label file, and with the meaning of its values."""
        labels = [label for _, label in self.pairs if label is not None]
        files = [(str(path), image_io.state(path)) for path in labels]
        return [*super().state(), self.table.tolist(), self.on_bad_label, self.resize_labels, files]

    # --- read a pair

    def sample_name(self, index):
        return self.sample_names[index]

    def open_pair(self, index):
        if self.cache:
            return self.cache.open_pair(self, index)
        return self.decode_pair(index)

    def decode_pair(self, index):
        image_path, label_path = self.pairs[index]
        if label_path is None:
            image = self.read_image(image_path)
            return (lambda rows=None: image), np.full(image.shape[:2], self.ignore_label, np.uint8)
        label = self.read_label(label_path)
        if self.resize_labels:
            image = self.read_image(image_path)
            if image.shape[:2] != label.shape:
                label = cv2.resize(label, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            return (lambda rows=None: image), label

        def read_rows(rows=None):
            if self.channels == 3:
                image, size = image_io.read_pixels(image_path, rows, label.shape)
            else:
                image = self.read_image(image_path)
                size = image.shape[:2]
            if size != label.shape:
                turned = "; turned by exactly 90 degrees: check how the images were rotated"
                raise DataError(
                    f"{image_path} is {size[0]}x{size[1]} (height x width), its label {label_path} "
                    f"{label.shape[0]}x{label.shape[1]}: not a pair, or one of them was resized"
                    f"{turned if size == label.shape[::-1] else ''}; --resize-labels resizes labels to their images"
                )
            return image

        return read_rows, label

    def read_image(self, path):
        if self.channels == 3:
            return image_io.read_image(path)
        return bands.read(path, self.channels, self.value_range)

    def read_label(self, path):
        """File -> classes (H, W) uint8; an unknown value is an error, or void with on_bad_label="ignore"."""
        values = label_io.read_label(path, self.colours)
        table = self.table_for(path)
        if values.dtype.kind == "f":
            raise DataError(f"{path} holds {values.dtype} numbers, and labels are integers; save it as an 8-bit PNG")
        if values.dtype != np.uint8:
            wide = (values > 255) | (values < 0)
            if wide.any() and self.on_bad_label == "error":
                raise self.bad_label(path, values, wide)
            values = np.where(wide, 256, values)
            label = np.append(table, np.uint8(254))[values]
        else:
            label = cv2.LUT(values, table)
        wrong = label == 254
        if np.count_nonzero(wrong):
            if self.on_bad_label == "error":
                raise self.bad_label(path, values, wrong)
            image_io.NOTICES.append(("bad-label", f"{path} has values that are not a class; they are ignored"))
            label[wrong] = self.ignore_label
        return label

    def bad_label(self, path, values, wrong):
        unknown, counts = np.unique(values[wrong], return_counts=True)
        text = ", ".join(f"{value} ({count} pixels)" for value, count in zip(unknown.tolist()[:5], counts.tolist()))
        more = f" and {len(unknown) - 5} more values" if len(unknown) > 5 else ""
        return DataError(
            f"{path} has label values that are not a class of {self.title} ({len(self.names)} classes, "
            f"{self.ignore_label} ignored): {text}{more}. Probably {self.probable_cause(np.unique(values))}; "
            "--on-bad-label ignore treats them as void"
        )

    def probable_cause(self, values):
        top, classes = int(values[values != 255].max(initial=0)), len(self.names)
        if top > 255:
            return "these are instance or 16-bit category numbers, not class labels"
        if top == classes and values.min() >= 0:
            return f"classes are numbered 1..{classes} with 0 for other (as in ADE20K): subtract one"
        if classes == 19 and top <= 33:
            return "these are Cityscapes labelIds where train ids are expected: name the files *_labelIds.png"
        if len(values) > 64 and classes < 64:
            return "the label was saved with interpolation or compression, or it is a photo"
        return "this is the label of another dataset, or the list of classes is too short"
