"""labelme: one JSON file an image. Polygons, rectangles, circles (centre and a point on the line) and masks are drawn
with Pillow as labelme's own tools draw them, with their outline. Later shapes cover earlier ones.

The annotations are those of the image as its EXIF orientation shows it. The image is the file of imagePath or, where
that is missing, imageData.
"""

import base64
import binascii
import io
import json
import math
from collections import Counter
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from datasets.reading.image_io import DataError
from scripts.data.jobs import run
from scripts.data.labels import coco
from scripts.data.labels.export import FAULTS, Export, Sample, Shape, cause, head, listed, points
from scripts.data.labels.images import Images, is_below
from scripts.data.labels.splits import split_of

TITLE, LOOKS_LIKE = "labelme", "one *.json with shapes and imagePath for each image"
MAGIC = ((b"\x89PNG", ".png"), (b"\xff\xd8", ".jpg"), (b"BM", ".bmp"), (b"II*", ".tif"), (b"MM", ".tif"))
NO_AREA = ("line", "linestrip", "point", "points")


def find(source):
    return [path for path in json_files(source) if coco.LABELME.search(head(path))]


def json_files(source):
    files = [source] if source.is_file() else sorted(source.rglob("*.json"))
    return [path for path in files if path.suffix == ".json" and path.name[0] != "."]


def read(source, files, options):
    folder = source if source.is_dir() else source.parent
    images = Images(source, options)
    files = [path for path in json_files(source) if not is_below(path, options.out)]  # also the damaged ones
    facts, errors = run(scan, [(path,) for path in files], options.workers, "read annotations")
    problems, ignored = [text for _, text in errors], Counter()
    names, samples, embedded, others = set(), [], 0, 0
    for path, fact in zip(files, facts):
        if not fact:
            others += fact is not None
            continue
        ignored.update(fact["ignored"])
        names |= set(fact["names"])
        relative = path.relative_to(folder)
        try:
            image = images.find(fact["image"], path.parent)
        except DataError as error:
            if not fact["ending"]:
                problems.append(f"{path}: {error}")
                continue
            image, embedded = partial(image_of, path), embedded + 1
        split = next(filter(None, map(split_of, relative.parts[:-1])), None)
        name = str(relative.with_suffix(""))
        more = {"split": split, "sources": (path,), "annotated": bool(fact["names"]), "ending": fact["ending"]}
        samples.append(Sample(name, str(path), image, partial(draw, path), fact["size"], upright=True, **more))
    remarks = [f"left out, because they have no area: {listed(ignored)}"] if ignored else []
    remarks += [f"{embedded} images are taken from imageData, because imagePath does not exist"] if embedded else []
    remarks += [f"left out: {others} JSON files that are not labelme's"] if others else []
    return Export([(name, None) for name in sorted(names)], samples, problems, remarks)


def load(path):
    """-> the content of a file; {} if it is valid JSON of something else."""
    try:
        known = json.loads(path.read_text("utf-8-sig"))
        if not isinstance(known, dict) or not {"shapes", "imagePath", "imageData"} & set(known):
            return {}
        if not isinstance(known["shapes"], list) or not all(isinstance(shape, dict) for shape in known["shapes"]):
            raise DataError("`shapes` is not a list of objects")
    except FAULTS as error:
        raise DataError(f"{path} is not a valid file of labelme: {cause(error)}") from None
    return known


def scan(path):
    """What planning needs of a file."""
    known = load(path)
    if not known:
        return {}
    drawn, ignored = [], Counter()
    for shape in known["shapes"]:
        form = form_of(shape)
        if form in NO_AREA:
            ignored[form] += 1
        else:
            drawn.append(str(shape.get("label")))
    size = (known.get("imageHeight"), known.get("imageWidth"))
    if None not in size and not all(isinstance(number, int) and number > 0 for number in size):
        raise DataError(f"{path}: imageHeight and imageWidth are {size[0]!r} and {size[1]!r}")
    facts = {"names": drawn, "ignored": ignored, "size": None if None in size else size}
    facts["ending"] = ending_of(decode(str(known.get("imageData") or "")[:32], "imageData"))
    return {**facts, "image": str(known.get("imagePath") or path.stem)}


def ending_of(head):
    """The extension for the bytes of an image; empty if their format is not known."""
    return next((ending for begin, ending in MAGIC if head.startswith(begin)), "")


def form_of(shape):
    return str(shape.get("shape_type") or "polygon")


def image_of(path):
    """The bytes of imageData."""
    return decode(load(path)["imageData"], "imageData")


def decode(text, what):
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise DataError(f"its {what} is not valid base64") from None


def draw(path, canvas):
    shapes = []
    for number, shape in enumerate(load(path)["shapes"], 1):
        form, label = form_of(shape), str(shape.get("label"))
        if form not in NO_AREA:
            where = f"{path}, shape {number} ({form} of {label!r})"
            shapes.append(Shape(where, label, partial(RENDER.get(form, unknown), shape)))
    canvas.paint(shapes)


def unknown(shape, size):
    raise DataError(f"the shape_type {shape['shape_type']!r} is not known; known are {', '.join((*RENDER, *NO_AREA))}")


def drawn(size, draw_on):
    """A mask that `draw_on` draws on an ImageDraw."""
    image = Image.new("L", size[::-1])
    draw_on(ImageDraw.Draw(image))
    return 0, 0, np.asarray(image) > 0


def polygon(shape, size):
    corners = [tuple(point) for point in points(shape["points"]).tolist()]
    return drawn(size, lambda canvas: canvas.polygon(corners, outline=1, fill=1))


def rectangle(shape, size):
    corners = points(shape["points"], 2)
    if len(corners) == 4:  # as other programs save it
        return polygon(shape, size)
    if len(corners) != 2:
        raise DataError(f"a rectangle has two points, and this one {len(corners)}")
    ends = [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]
    return drawn(size, lambda canvas: canvas.rectangle(ends, outline=1, fill=1))


def circle(shape, size):
    corners = points(shape["points"], 2)
    if len(corners) != 2:
        raise DataError(f"a circle has two points, its centre and one on the line, and this one {len(corners)}")
    (x, y), (px, py) = corners.tolist()
    radius = math.hypot(px - x, py - y)
    ends = [x - radius, y - radius, x + radius, y + radius]
    return drawn(size, lambda canvas: canvas.ellipse(ends, outline=1, fill=1))


def mask(shape, size):
    """A PNG for the box between two points, both included."""
    corners = points(shape["points"], 2)
    if len(corners) != 2:
        raise DataError(f"a mask has two points, the corners of its box, and this one {len(corners)}")
    (left, top), (right, bottom) = corners.astype(int).tolist()
    with Image.open(io.BytesIO(decode(shape["mask"], "mask"))) as image:
        pixels = np.asarray(image.convert("L") if image.mode != "1" else image) > 0
    box = bottom - top + 1, right - left + 1
    if pixels.shape != box:
        raise DataError(f"its mask has {pixels.shape[0]}x{pixels.shape[1]} pixels, and its box {box[0]}x{box[1]}")
    if min(left, top) < 0 or right >= size[1] or bottom >= size[0]:
        raise DataError(f"its mask from {left},{top} to {right},{bottom} is not within {size[0]}x{size[1]}")
    return top, left, pixels


RENDER = {"polygon": polygon, "rectangle": rectangle, "circle": circle, "mask": mask}
RENDER.update(oriented_rectangle=polygon, rotation=polygon)
