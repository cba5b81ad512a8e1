"""COCO: JSON files with images, categories and annotations: polygons, or run lengths as numbers or as a string.

Annotations with fewer pixels cover those with more, because the order in the file has no meaning. Crowds (iscrowd: 1)
lie below them and are void. Several files, such as those of train and val, are the splits; categories of one name are
one class, whatever their ids.
"""

import json
import re
from collections import Counter
from functools import partial

import numpy as np

from datasets.reading.image_io import DataError
from scripts.data.labels import raster, rle
from scripts.data.labels.export import FAULTS, Export, Sample, Shape, cause, head, numbers, points
from scripts.data.labels.images import Images
from scripts.data.labels.splits import split_of

TITLE, LOOKS_LIKE = "COCO JSON", "*.json with images, categories and annotations"
KEY = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')
LABELME = re.compile(r'"(shapes|imagePath|imageData)"\s*:')


def find(source):
    """The JSON files of instances; other files of COCO (captions, keypoints) only where there are none."""
    files = [source] if source.is_file() else sorted([*source.glob("*.json"), *source.glob("*/*.json")])
    files = [path for path in files if path.suffix == ".json" and KEY.search(head(path))]
    files = [path for path in files if not LABELME.search(head(path)) and not path.name.startswith("captions")]
    return [path for path in files if path.name.startswith("instances_")] or files


def read(source, files, options):
    images = Images(source, options)
    classes, samples, problems, remarks = {}, [], [], []
    for path in files:
        known = load(path)
        names = {}
        for category in sorted(known["categories"], key=lambda entry: entry["id"]):
            name = str(category["name"])
            if name in names.values():
                remarks.append(f"{path} has the category {name!r} more than once: they are one class")
            names[category["id"]] = name
            classes.setdefault(name, None)
        by_image = {}
        for annotation in known["annotations"]:
            by_image.setdefault(annotation.get("image_id"), []).append(annotation)
        split = split_of(path.stem) or split_of(path.parent.name if source in path.parent.parents else "")
        for image in known["images"]:
            where = f"{path}, image {image.get('file_name')!r}"
            try:
                shapes = by_image.pop(image["id"], ())
                samples.append(sample_of(image, shapes, names, (path, where, split), images, options))
            except FAULTS as error:
                problems.append(f"{where}: {cause(error)}")
        for number, rest in by_image.items():
            problems.append(f"{path}, annotation {rest[0].get('id')}: no image has the id {number!r}")
    return Export(list(classes.items()), samples, problems, remarks)


def load(path):
    try:
        known = json.loads(path.read_text("utf-8-sig"))
        for key in ("images", "categories", "annotations"):
            if not isinstance(known[key], list) or not all(isinstance(entry, dict) for entry in known[key]):
                raise DataError(f"{key!r} is not a list of objects")
        if any(not isinstance(category["id"], int) or "name" not in category for category in known["categories"]):
            raise DataError("a category has no whole number `id`, or no `name`")
        if any(not isinstance(entry["image_id"], (int, str)) for entry in known["annotations"]):
            raise DataError("an `image_id` is neither a number nor a text")
        for key in ("images", "categories"):
            ids = Counter(repr(entry["id"]) for entry in known[key])
            if ids and ids.most_common(1)[0][1] > 1:
                raise DataError(f"the id {ids.most_common(1)[0][0]} occurs more than once in {key!r}")
    except FAULTS as error:
        raise DataError(f"{path} is not a valid file of {TITLE}: {cause(error)}") from None
    return known


def sample_of(image, annotations, names, place, images, options):
    path, where, split = place
    size = (int(image["height"]), int(image["width"])) if image.get("height") else None
    crowds, objects = [], []
    for entry in annotations:
        text = f"{where}, annotation {entry.get('id')}"
        name = names.get(entry.get("category_id"))
        crowd = bool(entry.get("iscrowd"))
        shown = "void" if crowd and options.crowd == "void" else name
        if not crowd or options.crowd != "skip":
            (crowds if crowd else objects).append(Shape(text, shown, partial(render, entry, name)))

    def paint(canvas):
        canvas.paint(crowds, small_on_top=True)
        canvas.paint(objects, small_on_top=True)

    name = str(image["file_name"])
    file = images.find(name, path.parent, path.stem)
    return Sample(name, where, file, paint, size, split=split, sources=(path,), annotated=bool(crowds or objects))


def render(entry, name, size):
    if name is None:
        raise DataError(f"no category has the id {entry.get('category_id')!r}")
    known = entry.get("segmentation")
    if not known:
        raise DataError("it has no segmentation (a box of object detection has none): export polygons or masks")
    if isinstance(known, dict):
        stated = tuple(int(number) for number in known["size"])
        if stated != size:
            raise DataError(
                f"its RLE is for {stated[0]}x{stated[1]} pixels (height x width), its image {size[0]}x{size[1]}"
            )
        counts = known["counts"]
        return cropped(rle.mask(rle.decompress(counts) if isinstance(counts, str) else counts, size, columns=True))
    if isinstance(known, str) or not isinstance(known[0], list):
        raise DataError("its segmentation is neither a list of polygons nor an RLE")
    rings = []
    for ring in known:
        values = numbers(ring)
        if values.ndim != 1 or len(values) % 2:
            raise DataError(f"a polygon has {values.size} numbers; x and y take turns, so the number is even")
        rings.append(points(values.reshape(-1, 2)))
    return raster.polygons(rings, size)


def cropped(mask):
    """(top, left, mask) of its rows and columns with pixels, so that many masks of a large image fit in memory."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return raster.EMPTY
    top, left = rows[0], columns[0]
    return top, left, mask[top : rows[-1] + 1, left : columns[-1] + 1].copy()
