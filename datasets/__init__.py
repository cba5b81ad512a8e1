"""DATASETS: name -> module and class, in words, so that listing the names imports nothing heavy."""

from importlib import import_module

DATASETS = {
    "scenes": ("datasets.scenes", "Scenes"),
}


def build_dataset(name, *args, **options):
    """`build_dataset("scenes", 100, height=128, width=256)`; options go to the class."""
    return dataset_class(name)(*args, **options)


def dataset_class(name):
    if name not in DATASETS:
        raise ValueError(f"unknown dataset {name!r}; choose from {', '.join(sorted(DATASETS))}")
    module, cls = DATASETS[name]
    return getattr(import_module(module), cls)
