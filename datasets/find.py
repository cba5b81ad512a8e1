"""Find the dataset of a run that has no --data-dir: in the folder that the checkpoint records, or in the current
folder; otherwise scenes are drawn, or an error asks for --data-dir.

    place, line = locate(dataset, data_dir, scene_size)                            # training
    place, line = recorded_place(meta, path, dataset, data_dir, scene_size)        # from a checkpoint
    data = build_dataset(split=split, **place, ...)                                # name, data_dir, scene_size
    info["data"] = record(place)                                                   # for the checkpoint
"""

import os
from pathlib import Path

from datasets import ALIASES, DATASETS, GENERATED, dataset_class, detect


def locate(name, data_dir=None, scene_size=None):
    """-> ({"name", "data_dir", "scene_size"}, a line to print if the flags leave the choice open, else "")."""
    name = ALIASES.get(name, name)
    if data_dir or name in GENERATED:
        return place(detect(data_dir) if name == "auto" else name, data_dir, scene_size), ""
    if name == "cityscapes" and os.environ.get("CITYSCAPES_DATASET"):  # the variable of the official Cityscapes scripts
        data_dir = os.environ["CITYSCAPES_DATASET"]
        return place(name, data_dir, scene_size), f"data: {name} in {data_dir} (CITYSCAPES_DATASET)"
    if name == "auto" and scene_size:
        return place("scenes", None, scene_size), ""
    roots = in_current_folder([name] if name != "auto" else [n for n in DATASETS if n not in (*GENERATED, "folder")])
    if len(roots) > 1:
        several = " and ".join(f"{name} ({root})" for name, root in roots.items())
        raise ValueError(f"the current folder holds {several}: choose one with --dataset or --data-dir")
    for name, root in roots.items():
        return place(name, str(root), scene_size), f"data: {name} in {root}, found in the current folder"
    if name == "auto":
        return place("scenes"), "data: drawn scenes (no --data-dir, and no known dataset in the current folder)"
    looks = dataset_class(name).looks_like
    raise ValueError(f"--dataset {name} needs --data-dir, the folder that holds {looks}: the current folder does not")


def in_current_folder(names):
    """{name: root} of the datasets in the current folder or in one of its folders."""
    start = Path()
    children = sorted(entry for entry in start.iterdir() if entry.is_dir() and entry.name[0] != ".")[:64]
    roots = {}
    for name in names:
        cls = dataset_class(name)
        folders = [folder / below for folder in (start, *children) for below in cls.inside]
        root = next((folder for folder in folders if folder.is_dir() and cls.is_root(folder)), None)
        if root is not None:
            roots[name] = root
    return roots


def recorded_place(meta, path, name, data_dir=None, scene_size=None):
    """As `locate`, for a checkpoint `path` with `meta`: without --data-dir, the dataset that the checkpoint records.
    Drawn scenes are refused if the network has other classes."""
    name, known = ALIASES.get(name, name), recorded(meta)
    if data_dir or (name != "auto" and name not in (known.get("name"), meta.get("dataset"))):
        return refuse_foreign(*locate(name, data_dir, scene_size), meta, path)
    if not known:
        if name != "auto" or scene_size:
            return refuse_foreign(*locate(name, None, scene_size), meta, path)
        raise ValueError(f"{path} does not record its dataset: give --data-dir (or --dataset scenes for drawn scenes)")
    if known["name"] in GENERATED:
        return place(known["name"], None, scene_size or known["scene_size"]), ""
    if not os.path.isdir(known["data_dir"]):
        raise ValueError(
            f"{path} was trained on {known['name']} in {known['data_dir']}, which does not exist: give --data-dir"
        )
    line = f"data: {known['name']} in {known['data_dir']}, as {path} records (--data-dir names another folder)"
    return place(known["name"], known["data_dir"], scene_size), line


def place(name, data_dir=None, scene_size=None):
    return {"name": name, "data_dir": data_dir, "scene_size": scene_size}


def record(place):
    """The dataset as a checkpoint records it: with an absolute path, to be found from any folder."""
    folder = place["data_dir"] and os.path.abspath(os.path.expanduser(place["data_dir"]))
    return {**place, "data_dir": folder}


def recorded(meta):
    """The record in a checkpoint; for an older one without a record, only drawn scenes are known."""
    if meta.get("data"):
        return meta["data"]
    if meta.get("dataset") == "scenes":
        return place("scenes", None, (meta.get("options") or {}).get("scene_size"))
    return {}


def refuse_foreign(place, line, meta, path):
    names = meta.get("names")
    name = place["name"]
    if name in GENERATED and names and list(names) != list(dataset_class(name).names):
        trained = meta.get("dataset", "other data")
        raise ValueError(
            f"{path} was trained on {trained}; its classes are not those of drawn {name}: give its folder by --data-dir"
        )
    return place, line
