"""CVAT, "Segmentation mask 1.1": labelmap.txt, SegmentationClass/ and ImageSets/Segmentation/*.txt; see colours.py."""

from scripts.data.labels.colours import read  # noqa: F401  (part of what a format defines)

TITLE, LOOKS_LIKE = "CVAT segmentation mask 1.1", "labelmap.txt and SegmentationClass/"


def find(source):
    complete = (source / "labelmap.txt").is_file() and (source / "SegmentationClass").is_dir()
    return [source / "SegmentationClass"] if complete else []
