"""CVAT, "CVAT for images 1.1": one XML file with polygons, boxes, ellipses and masks of all images.

Higher z_order covers lower; with the same z_order the later annotation covers the earlier. Widths and heights are those
of the image as its EXIF orientation shows it.
"""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from functools import partial

from datasets.reading.image_io import DataError
from scripts.data.labels import raster, rle
from scripts.data.labels.export import FAULTS, Export, Sample, Shape, cause, head, listed, numbers, points
from scripts.data.labels.images import Images
from scripts.data.labels.splits import split_of

TITLE, LOOKS_LIKE = "CVAT for images 1.1", "annotations.xml"
NO_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")


def find(source):
    """The annotation files of this format."""
    files = [source] if source.is_file() else sorted([*source.glob("*.xml"), *source.glob("*/*.xml")])
    return [path for path in files if path.suffix == ".xml" and "<annotations" in head(path)]


def read(source, files, options):
    images = Images(source, options)
    classes, samples, problems, ignored = {}, [], [], Counter()
    for path in files:
        root = parse(path)
        for name, colour in labels_of(root, path):
            classes.setdefault(name, colour)
        for element in root.iter("image"):
            where = f"{path}, image {element.get('name')!r}"
            ignored.update(child.tag for child in element if child.tag in NO_AREA)
            try:
                samples.append(sample_of(element, path, where, images))
            except FAULTS as error:
                problems.append(f"{where}: {cause(error)}")
    remarks = [f"left out, because they have no area: {listed(ignored)}"] if ignored else []
    return Export(list(classes.items()), samples, problems, remarks)


def parse(path):
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise DataError(f"{path} is not valid XML ({error}); export it again") from None
    if root.find("track") is not None:
        raise DataError(f'{path} is "CVAT for video 1.1"; export it as "CVAT for images 1.1"')
    if root.find("image") is None:
        raise DataError(f"{path} has no <image>; export it as {TITLE!r}")
    return root


def labels_of(root, path):
    """[(name, colour)] of the labels in <meta>; without them, of the annotations."""
    labels = []
    for label in root.iterfind("meta//label"):
        name, colour = label.findtext("name"), label.findtext("color") or ""
        if name and label.find("parent") is None:  # a part of a skeleton has a parent
            try:
                labels.append((name.strip(), tuple(bytes.fromhex(colour.lstrip("#"))) if len(colour) == 7 else None))
            except ValueError:
                raise DataError(f"{path}: label {name!r} has the color {colour!r}, not #rrggbb") from None
    if labels:
        return labels
    used = {element.get("label") for image in root.iter("image") for element in image if element.tag in RENDER}
    return [(name, None) for name in sorted(filter(None, used))]


def sample_of(element, path, where, images):
    size = int(element.attrib["height"]), int(element.attrib["width"])
    shapes = []
    for number, child in enumerate(element, 1):
        if child.tag in RENDER:
            label = (child.get("label") or "").strip()
            place = f"{where}, annotation {number} ({child.tag} of {label!r})"
            shapes.append((child.get("z_order") or "0", Shape(place, label, partial(RENDER[child.tag], child.attrib))))
        elif child.tag not in NO_AREA:
            raise DataError(f"annotation {number} is a <{child.tag}>, which is not known")
    shapes = [shape for _, shape in sorted(shapes, key=lambda pair: int(pair[0]))]  # stable: later ones stay above
    name = element.attrib["name"]
    return Sample(
        name,
        where,
        images.find(name, path.parent, element.get("subset") or ""),
        lambda canvas: canvas.paint(shapes),
        size,
        upright=True,
        split=split_of(element.get("subset") or ""),
        sources=(path,),
        annotated=bool(shapes),
    )


def floats(attributes, *names):
    return numbers([float(attributes[name]) for name in names])


def polygon(attributes, size):
    pairs = [[float(value) for value in pair.split(",")] for pair in attributes["points"].split(";") if pair.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError("points are pairs x,y, separated by semicolons")
    return raster.polygon(points(pairs), size)


def box(attributes, size):
    left, top, right, bottom = floats(attributes, "xtl", "ytl", "xbr", "ybr")
    return raster.box(left, top, right, bottom, rotation(attributes), size)


def ellipse(attributes, size):
    return raster.ellipse(*floats(attributes, "cx", "cy", "rx", "ry"), rotation(attributes), size)


def rotation(attributes):
    return float(numbers(float(attributes.get("rotation") or 0), "rotation"))


def mask(attributes, size):
    """Runs along the rows of a box."""
    left, top, width, height = (int(attributes[name]) for name in ("left", "top", "width", "height"))
    if min(left, top) < 0 or min(width, height) < 1 or left + width > size[1] or top + height > size[0]:
        raise DataError(f"the mask of {height}x{width} at left {left}, top {top} is not within {size[0]}x{size[1]}")
    counts = [int(count) for count in attributes["rle"].split(",") if count.strip()]
    return top, left, rle.mask(counts, (height, width), columns=False)


RENDER = {"polygon": polygon, "box": box, "ellipse": ellipse, "mask": mask}
