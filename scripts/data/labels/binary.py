"""One binary mask for each class of an image: masks/<class>/<image>.png, or masks/<image>_<class>.png.

A mask holds 0 and 1, or 0 and 255. Later classes (in the order of --classes, else of the alphabet) cover earlier ones.
Folders of splits may be in between: images/train/a.jpg and masks/train/person/a.png.
"""

from functools import partial

import numpy as np

from datasets.reading import label_io
from datasets.reading.image_io import DataError
from datasets.reading.pairs import list_files, stem
from scripts.data.labels.colours import size_of
from scripts.data.labels.export import Export, Options, Sample, Shape
from scripts.data.labels.images import Images
from scripts.data.labels.splits import split_of

TITLE = "one binary mask for each class"
LOOKS_LIKE = "images/, and masks/<class>/<image>.png or masks/<image>_<class>.png"
MASKS, IMAGES = ("masks", "labels", "annotations", "SegmentationClass"), ("images", "JPEGImages", "imgs", "img")


def find(source):
    """[the folder of the masks], if most of its names have a class and an image."""
    folders = [source / name for name in MASKS if source.is_dir() and (source / name).is_dir()]
    if not folders or not any((source / name).is_dir() for name in IMAGES):
        return []
    keys = image_keys(images_of(source, folders[0], Options()))
    masks = list_files(folders[0])[:200]
    fitting = sum(class_and_image(path, keys)[0] is not None for path in masks)
    return folders[:1] if 2 * fitting > len(masks) else []


def images_of(source, folder, options):
    return Images(source, options, leave_out=(folder.name,))


def image_keys(images):
    """{(split, name without extension and folder of the split): path}"""
    keys = {}
    for path in sorted({path for paths in images.known.values() for path in paths}):
        parts = path.parts[1:] if len(path.parts) > 1 and path.parts[0] in IMAGES else path.parts
        split, parts = without_split(parts)
        keys[split, stem("/".join(parts))] = path
    return keys


def without_split(parts):
    """(split or None, parts without its folder)."""
    split = split_of(parts[0]) if len(parts) > 1 else None
    return split, parts[1:] if split else parts


def class_and_image(path, keys):
    """The class of a mask and the key of its image; (None, None) if it is not one of a class."""
    split, parts = without_split(path.parts)
    if (split, stem("/".join(parts))) in keys:  # a label map of all classes
        return None, None
    if len(parts) > 1 and (split, stem("/".join(parts[1:]))) in keys:
        return parts[0], (split, stem("/".join(parts[1:])))
    text = stem("/".join(parts))
    cuts = [at for at in range(len(text) - 1, 0, -1) if text[at] == "_" and (split, text[:at]) in keys]
    return (text[cuts[0] + 1 :], (split, text[: cuts[0]])) if cuts and text[cuts[0] + 1 :] else (None, None)


def read(source, files, options):
    folder, problems, masks = files[0], [], {}
    images = images_of(source, folder, options)
    keys = image_keys(images)
    for path in list_files(folder):
        name, key = class_and_image(path, keys)
        if name is None:
            problems.append(f"{folder / path}: it belongs to no image in {images.folder}; expected {LOOKS_LIKE}")
        else:
            masks.setdefault(key, []).append((name, folder / path))
    bare = [path for key, path in keys.items() if key not in masks]
    remarks = [f"left out: {len(bare)} images without a mask, such as {bare[0]}"] if bare else []
    names = sorted({name for several in masks.values() for name, _ in several})
    samples = []
    for key in sorted(masks, key=str):
        named, path = masks[key], images.folder / keys[key]
        paint = partial(paint_masks, named)
        sources = tuple(mask for _, mask in named)
        samples.append(Sample(key[1], str(path), path, paint, partial(size_of, named[0][1]), False, key[0], sources))
    return Export([(name, None) for name in names], samples, problems, remarks)


def paint_masks(named, canvas):
    named = sorted(named, key=lambda pair: canvas.values.get(pair[0], -1))
    canvas.paint([Shape(str(path), name, partial(mask, path)) for name, path in named])


def mask(path, size):
    values = label_io.stored_values(path)
    if values.ndim == 3:
        if not label_io.equal_channels(values):
            raise DataError("it is in colours, and a binary mask holds 0 and 1, or 0 and 255")
        values = values[:, :, 0]
    present = np.unique(values)
    if not (set(present.tolist()) <= {0, 1} or set(present.tolist()) <= {0, 255}):
        raise DataError(f"it holds the values {present[:6].tolist()}, and a binary mask 0 and 1, or 0 and 255")
    if values.shape != size:
        raise DataError(f"it has {values.shape[0]}x{values.shape[1]} pixels, its image {size[0]}x{size[1]}")
    return 0, 0, values > 0
