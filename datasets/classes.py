"""Names and colours of the classes of a network: for what is drawn from a checkpoint without its data set."""

from datasets import DATASETS, dataset_class
from models.tables import devkit_palette

USUAL = {19: "cityscapes", 150: "ade20k", 21: "voc"}  # of released files, which say nothing


def classes_of(meta, asked=None):
    """-> (names, palette, classes that change places in a mirror): what the checkpoint records, else those of a data
    set, else numbers and VOC's colours. `asked` names a data set, which then must fit."""
    count = meta["num_classes"]
    if not asked and meta.get("names") and meta.get("palette"):
        return meta["names"], [tuple(colour) for colour in meta["palette"]], meta.get("flip_pairs", ())
    for name in (asked, meta.get("dataset"), USUAL.get(count)):
        if name in DATASETS and len(dataset_class(name).names) == count:
            kind = dataset_class(name)
            return kind.names, kind.palette, kind.flip_pairs
        if name and name == asked:
            have = len(dataset_class(name).names)
            raise ValueError(f"--dataset {asked} has {have} classes, the checkpoint {count}; leave --dataset out")
    return [f"class {k}" for k in range(count)], devkit_palette(count), ()
