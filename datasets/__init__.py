"""DATASETS: name -> (module, class) as text, so that listing the names imports nothing else.

data = build_dataset("auto", "val", data_dir="/data/cityscapes")          # evaluation: whole images
data = training_data("auto", "train", size=(769, 769), random_scale=True, random_mirror=True,
                     data_dir="/data/cityscapes", batch_size=8, num_workers=4, seed=1)
for batch in data.forever(start=0): ...                                    # base.Batch
"""

import os
import shlex
from importlib import import_module
from pathlib import Path

DATASETS = {
    "scenes": ("datasets.scenes.dataset", "Scenes"),
    "beacons": ("datasets.scenes.beacons", "Beacons"),
    "cityscapes": ("datasets.cityscapes", "Cityscapes"),
    "ade20k": ("datasets.ade20k", "ADE20K"),
    "voc": ("datasets.voc", "VOC"),
    "camvid": ("datasets.camvid", "CamVid"),
    "lip": ("datasets.lip", "LIP"),
    "coco_stuff": ("datasets.coco_stuff", "COCOStuff"),
    "packed": ("datasets.packed", "Packed"),
    "folder": ("datasets.folder", "Folder"),
}
ALIASES = {"cityscape": "cityscapes", "ade": "ade20k", "voc2012": "voc", "cocostuff": "coco_stuff"}
CHOICES = ("auto", *DATASETS, *ALIASES)
GENERATED = ("scenes", "beacons")  # drawn by a program: without files
AUGMENT = ("fast", "official")


def dataset_class(name):
    name = ALIASES.get(name, name)
    if name not in DATASETS:
        raise ValueError(f"unknown dataset {name!r}; choose from {', '.join(sorted(DATASETS))}")
    module, cls = DATASETS[name]
    return getattr(import_module(module), cls)


def detect(data_dir):
    """The name of the dataset in `data_dir`, detected from its folders; "scenes" without a `data_dir`."""
    if not data_dir:
        return "scenes"
    start = Path(data_dir).expanduser()
    if not start.is_dir():
        raise FileNotFoundError(f"--data-dir {data_dir} is not a folder; give the folder of the dataset")
    children = sorted(entry for entry in start.iterdir() if entry.is_dir() and entry.name[0] != ".")[:64]
    files = [name for name in DATASETS if name not in (*GENERATED, "folder")]
    places = [(files, [start]), (files, children), (["folder"], [start]), (["folder"], children)]
    for names, folders in (*places, (files, [start.resolve().parent])):
        matches = {
            name
            for name in names
            for folder in folders
            for below in dataset_class(name).inside
            if (folder / below).is_dir() and dataset_class(name).is_root(folder / below)
        }
        if len(matches) > 1:
            raise ValueError(f"--data-dir {data_dir} holds {' and '.join(sorted(matches))}: choose one with --dataset")
        if matches:
            return matches.pop()
    entries = ", ".join(sorted(entry.name for entry in start.iterdir() if entry.name[0] != ".")[:8]) or "nothing"
    known = "\n".join(f"  {name}: {dataset_class(name).looks_like}" for name in (*files, "folder"))
    raise ValueError(
        f"--data-dir {data_dir} has no known dataset layout; it holds {entries}. Known layouts:\n{known}\n"
        "Exports of CVAT, COCO, labelme, or with one mask a class are converted first: "
        f"python scripts/data/convert_labels.py {shlex.quote(str(data_dir))} NEW_FOLDER"
    )


def build_dataset(
    name="auto",
    split="train",
    data_dir=None,
    data_list=None,
    cache="off",
    scene_size=None,
    grey_labels=None,
    channels=None,
    value_range=None,
    **options,
):
    """`name`: a key of DATASETS, or "auto": detected from the folders of `data_dir`. `options` go to the class:
    num_classes, ignore_label, on_bad_label, resize_labels, and those of base.SegmentationDataset.
    `grey_labels`: what a checkpoint records about the grey labels of its data (grey_labels.py); only Folder uses it.
    `channels`, `value_range`: of the images, where they are not three (reading/bands.py).
    `frames`, `frame_stride` of the options: see clip_options."""
    name = detect(data_dir) if name == "auto" else ALIASES.get(name, name)
    cls = dataset_class(name)
    options = clip_options(name, cls, **options)
    if channels not in (None, 3) and name not in ("folder", "packed"):
        raise ValueError(f"--channels {channels} is for a folder of one's own images, and this is {name}: leave it out")
    if value_range and channels in (None, 3):
        raise ValueError(f"--value-range {value_range} is for images with --channels N: add it, or leave the range out")
    if name in GENERATED:
        for flag, value in (("--data-dir", data_dir), ("--data-list", data_list)):
            if value:
                raise ValueError(f"{flag} {value} has no use with --dataset {name}, which are drawn: leave one out")
        if cache != "off":
            raise ValueError(f"--cache {cache} has no use with drawn {name}: leave it out")
        if scene_size:
            options.update(height=scene_size[0], width=scene_size[1])
        data = cls(split, **options)
        data.dataset_name = name
        return data
    if not data_dir and name == "cityscapes":
        data_dir = os.environ.get("CITYSCAPES_DATASET")  # the variable of the official Cityscapes scripts
    if not data_dir:
        raise ValueError(f"--dataset {name} needs --data-dir, the folder that holds {cls.looks_like}")
    if scene_size:
        raise ValueError(f"--scene-size is for drawn scenes, and this is {name}: leave it out")
    if cache != "off" and name == "packed":
        raise ValueError(f"--cache {cache} has no use with a packed folder, which is mapped into memory: leave it out")
    if cache != "off":
        options["cache"] = import_module("datasets.reading.cache").RamCache()
    if name == "folder":
        options.update(grey_labels=grey_labels, channels=channels, value_range=value_range)
        if cache != "off" and channels not in (None, 3):
            raise ValueError(f"--cache {cache} holds images of three channels: pack the data (scripts/data/pack.py)")
    data = cls(data_dir, split, data_list=data_list, **options)
    if channels not in (None, data.channels):
        raise ValueError(f"{data_dir} was packed with {data.channels} channels, not {channels}: pack it again")
    if value_range and list(value_range) != list(data.value_range or ()):
        raise ValueError(
            f"{data_dir} was packed with --value-range {data.value_range}, not {value_range}: pack it again"
        )
    if name != "packed":  # a packed folder keeps the name of the original dataset
        data.dataset_name = name
    return data


def clip_options(name, cls, frames=None, frame_stride=None, **options):
    """`options`, and where samples are clips (clips.py) their frames and stride; refused without sequences."""
    if frames in (None, 1):
        return options
    if not hasattr(cls, "sequences"):
        raise ValueError(
            f"clips of {frames} frames need a dataset of sequences, camvid, and this is {name}, of single images: "
            "add --frames 1, or give another dataset"
        )
    return {**options, "frames": frames, "stride": frame_stride or 1}


def training_data(
    name,
    split,
    size,
    augment="fast",
    random_scale=False,
    random_mirror=False,
    short_side=None,
    long_side=None,
    scale_range=None,
    color_jitter=False,
    cat_max_ratio=None,
    **options,
):
    """A shuffled dataset that yields crops of `size`. The dataset defines what --random-scale does, and the limit
    of the long side where `long_side` is None."""
    from datasets.transforms import Scale, TrainTransform

    if augment not in AUGMENT:
        raise ValueError(f"unknown --augment {augment!r}; choose from {', '.join(AUGMENT)}")
    data = build_dataset(name, split, shuffle=True, drop_last=True, **options)
    scale = None
    if random_scale or short_side or scale_range:
        factors = data.scales if random_scale and not scale_range else None
        sides = short_side or (data.sides if random_scale else None)
        scale = Scale(factors, scale_range, sides, long_side or data.longest)
    data.transform = TrainTransform(
        size,
        scale,
        random_mirror,
        data.ignore_label,
        augment == "official",
        color_jitter,
        cat_max_ratio,
        data.flip_pairs,
    )
    return data
