"""A packed folder: decoded images and labels in one memory-mapped file per split, written by scripts/data/pack.py.
A crop reads only the memory pages that it needs, and all processes and ranks of a machine share one copy.

pack.json describes the splits: {"file", "samples": [[name, height, width, offset], ...]}. At an offset begin height x
width x channels bytes of the image (BGR), followed by height x width bytes of class numbers.
"""

import json
from pathlib import Path

import numpy as np

from datasets.base import SegmentationDataset
from datasets.reading.image_io import DataError, NoSplit
from datasets.reading.pairs import nearby
from models.tables import CITYSCAPES_CATEGORIES

# key of pack.json -> attribute of the dataset
RECORDED = ("title", "names", "palette", "ignore_label", "flip_pairs", "scales", "sides", "longest")
RECORDED = {"kind": "dataset_name", **{name: name for name in RECORDED}}
OPTIONAL = {name: name for name in ("grey_labels", "channels", "value_range")}  # not in every dataset or older folder


class Packed(SegmentationDataset):
    title, looks_like, inside = "a packed dataset", "pack.json", ("",)

    def __init__(
        self,
        data_dir,
        split="train",
        data_list=None,
        num_classes=None,
        ignore_label=None,
        on_bad_label="error",
        resize_labels=False,
        **options,
    ):
        start = Path(data_dir).expanduser()
        self.root = next((folder for folder in nearby(start) if self.is_root(folder)), None) if start.is_dir() else None
        if self.root is None:
            raise DataError(f"--data-dir {data_dir} has no pack.json; scripts/data/pack.py makes a packed folder")
        record = read_record(self.root / "pack.json")
        for key, attribute in {**RECORDED, **OPTIONAL}.items():
            if key in record:
                setattr(self, attribute, as_tuples(record[key]))
        if self.dataset_name == "cityscapes":
            self.categories = CITYSCAPES_CATEGORIES
            self.instance_remark = (
                "no iIoU: a packed folder has no instance files; for it, evaluate on the original folder"
            )
        if data_list:
            raise ValueError("--data-list does not work on a packed folder: pack the list as a split of its own")
        for flag, asked in (("--on-bad-label ignore", on_bad_label != "error"), ("--resize-labels", resize_labels)):
            if asked:
                raise ValueError(
                    f"{flag} comes too late for {self.root}: its labels were decoded when it was packed; leave it out, "
                    "or give it to scripts/data/pack.py"
                )
        for flag, asked, packed in (
            ("--num-classes", num_classes, len(self.names)),
            ("--ignore-label", ignore_label, self.ignore_label),
        ):
            if asked not in (None, packed):
                raise ValueError(f"{self.root} was packed with {flag} {packed}, not {asked}; pack it again")
        if split not in record["splits"]:
            raise NoSplit(f"unknown split {split!r} of {self.root}; choose from {', '.join(record['splits'])}")
        self.split, self.samples = split, record["splits"][split]["samples"]
        self.has_labels = record["splits"][split].get("has_labels", True)
        path = self.root / record["splits"][split]["file"]
        need = max(offset + (self.channels + 1) * height * width for _, height, width, offset in self.samples)
        if not path.is_file() or path.stat().st_size < need:
            raise DataError(f"{path} is missing or shorter than the {need} bytes that pack.json states; pack it again")
        self.bytes = np.memmap(path, np.uint8, "r")
        super().__init__(len(self.samples), **options)

    @classmethod
    def is_root(cls, folder):
        return (folder / "pack.json").is_file()

    def sample_name(self, index):
        return self.samples[index][0]

    def state(self):
        facts = (self.root / "pack.json", Path(self.bytes.filename))
        return [
            *super().state(),
            self.split,
            [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in facts],
        ]

    def open_pair(self, index):
        _, height, width, offset = self.samples[index]
        middle = offset + self.channels * height * width
        image = self.bytes[offset:middle].reshape(height, width, self.channels)
        label = self.bytes[middle : middle + height * width].reshape(height, width)
        return (lambda rows=None: image), label


def read_record(path):
    """The content of pack.json; an error if it is not what scripts/data/pack.py writes."""
    try:
        record = json.loads(path.read_text())
        missing = [key for key in (*RECORDED, "splits") if key not in record]
    except (ValueError, TypeError) as error:
        missing = [str(error)]
    if missing:
        raise DataError(f"{path} is damaged ({', '.join(missing)}); remove its folder and pack the dataset again")
    return record


def as_tuples(value):
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value
