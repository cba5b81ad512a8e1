"""Names and colours of the classes of a network, for drawing predictions of a checkpoint without its dataset."""

from datasets import DATASETS, dataset_class
from models.tables import devkit_palette

BY_CLASSES = {19: "cityscapes", 150: "ade20k", 21: "voc"}  # for released files, which do not record their dataset


def classes_of(meta, asked=None):
    """-> (names, palette, flip_pairs: classes that a mirror swaps): from the checkpoint, else from the dataset with
    as many classes, else numbers and VOC's colours. `asked`: the name of a dataset to take them from."""
    count = meta["num_classes"]
    if not asked and meta.get("names") and meta.get("palette"):
        return meta["names"], [tuple(colour) for colour in meta["palette"]], meta.get("flip_pairs", ())
    for name in (asked, meta.get("dataset"), BY_CLASSES.get(count)):
        if name in DATASETS and len(dataset_class(name).names) == count:
            cls = dataset_class(name)
            return cls.names, cls.palette, cls.flip_pairs
        if name and name == asked:
            classes = len(dataset_class(name).names)
            raise ValueError(f"--dataset {asked} has {classes} classes, the checkpoint {count}; leave --dataset out")
    return [f"class {k}" for k in range(count)], devkit_palette(count), ()
