"""Exports of annotation tools, written by the rules of their formats, and plain renderings of their annotations."""

import base64
import io
import json

import cv2
import numpy as np
from PIL import Image, ImageDraw

from datasets import build_dataset
from datasets.reading.image_io import NoSplit

SIZE = (48, 70)  # height, width
CAR = [(4.0, 6.0), (52.5, 9.25), (40.0, 41.0), (8.75, 30.0)]
PERSON = [(30.25, 3.0), (60.0, 20.5), (33.0, 44.0)]


def photo(number, size=SIZE):
    return np.random.default_rng(number).integers(0, 255, (*size, 3), np.uint8)


def save_photo(path, number=0, size=SIZE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo(number, size)).save(path, **options)
    return path


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path)
    return path


def labels(out):
    """{split/name: label} of a converted folder, as the project reads it."""
    written = {}
    for split in ("train", "val", "test"):
        try:
            data = build_dataset(split=split, data_dir=str(out))
        except NoSplit:
            continue
        assert data.dataset_name == "folder"
        for index, (image, _) in enumerate(data.pairs):
            written[f"{split}/{image.relative_to(data.root / 'images' / split).with_suffix('')}"] = data.read(index)[1]
    return written


def only(out):
    """The label of a folder with one image."""
    written = labels(out)
    assert len(written) == 1, written.keys()
    return next(iter(written.values()))


def centres(polygon, size=SIZE):
    """Is the centre of each pixel inside? One pixel after another, by the number of edges on its left (even-odd)."""
    mask = np.zeros(size, bool)
    for row in range(size[0]):
        for column in range(size[1]):
            x, y, inside = column + 0.5, row + 0.5, False
            for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]]):
                if (y1 <= y) != (y2 <= y):
                    (x1, y1), (x2, y2) = sorted([(x1, y1), (x2, y2)], key=lambda point: point[1])
                    inside ^= x1 + (y - y1) * ((x2 - x1) / (y2 - y1)) <= x
            mask[row, column] = inside
    return mask


def drawn(form, points, size=SIZE):
    """A shape as labelme's tools draw it: with Pillow, fill and outline."""
    image = Image.new("1", size[::-1])
    draw = ImageDraw.Draw(image)
    if form == "circle":
        (x, y), (px, py) = points
        r = float(np.hypot(px - x, py - y))
        draw.ellipse([x - r, y - r, x + r, y + r], fill=1, outline=1)
    elif form == "rectangle":
        draw.rectangle([tuple(point) for point in points], fill=1, outline=1)
    else:
        draw.polygon([tuple(point) for point in points], fill=1, outline=1)
    return np.array(image)


def filled(polygon, size=SIZE):
    """cv2.fillPoly with a sixteenth of a pixel."""
    mask = np.zeros(size, np.uint8)
    corners = np.round((np.array(polygon) - 0.5) * 16).astype(np.int32)
    return cv2.fillPoly(mask, [corners], 1, shift=4).astype(bool)


def layers(*masks, size=SIZE):
    """(value, mask) from below to above -> label map."""
    label = np.zeros(size, np.uint8)
    for value, mask in masks:
        label[mask] = value
    return label


def labelme_shape(label, points, form="polygon", **more):
    points = [list(map(float, point)) for point in points]
    shape = {"label": label, "points": points, "group_id": None, "description": "", "shape_type": form, "flags": {}}
    return {**shape, "mask": None, **more}


def labelme_mask(label, mask, left, top):
    data = io.BytesIO()
    Image.fromarray(mask).save(data, "PNG")
    corners = [(left, top), (left + mask.shape[1] - 1, top + mask.shape[0] - 1)]
    return labelme_shape(label, corners, "mask", mask=base64.b64encode(data.getvalue()).decode())


def write_labelme(path, shapes, image="a.jpg", size=SIZE, data=None, **more):
    text = base64.b64encode(data).decode() if data else None
    known = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": text}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**known, "imageHeight": size[0], "imageWidth": size[1], **more}, indent=2))
    return path


def coco_counts(mask):
    """Run lengths down the columns; the first is that of zeros."""
    counts, value = [0], 0
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def coco_string(counts):
    """COCO's compression: differences to the count two before, from the fourth on, in groups of 5 bits."""
    text = ""
    for k, count in enumerate(counts):
        number, more = count - (counts[k - 2] if k > 2 else 0), True
        while more:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


def write_coco(path, images, annotations, categories):
    """`images`: {id: file name}; `annotations`: [(image id, category id, segmentation, more)]."""
    known = {"info": {"description": "test"}, "licenses": []}
    sizes = {"height": SIZE[0], "width": SIZE[1]}
    known["images"] = [{"id": number, "file_name": name, **sizes} for number, name in images.items()]
    known["annotations"] = [
        {"id": 100 + k, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}
        for k, (image, category, segmentation, more) in enumerate(annotations)
    ]
    known["categories"] = [{"id": number, "name": name, "supercategory": ""} for number, name in categories.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known))
    return path


def ring(polygon):
    return [number for point in polygon for number in point]


def cvat_points(polygon):
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in polygon)


def write_cvat(path, body, labels=(("car", "#00ff00"), ("person", "#102030")), size=SIZE, name="a.jpg", more=""):
    """An XML file with one image whose annotations are `body`."""
    texts = [f"<label><name>{label}</name><color>{colour}</color></label>" for label, colour in labels]
    meta = f"<meta><task><name>t</name><labels>{''.join(texts)}</labels></task></meta>" if labels else ""
    image = f'<image id="0" name="{name}" width="{size[1]}" height="{size[0]}" {more}>{body}</image>'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}{image}</annotations>'
    )
    return path


def write_cvat_masks(root, masks, labelmap, lists):
    """`masks`: {name: (H, W, 3) RGB}; `lists`: {name of the list: names}."""
    for name, mask in masks.items():
        save(root / "SegmentationClass" / f"{name}.png", mask)
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + labelmap)
    for name, names in lists.items():
        path = root / "ImageSets" / "Segmentation" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{one}\n" for one in names))
    return root


def write_example(root, form):
    """Three images in one of the formats: labelme, coco, cvat, cvat_masks, binary."""
    names, label = ("a", "b", "c"), layers((1, centres(CAR)), (2, centres(PERSON)))
    images = root / "JPEGImages" if form == "cvat_masks" else root / "images"
    for number, name in enumerate(names):
        save_photo(images / f"{name}.jpg", number)
        if form == "labelme":
            write_labelme(root / f"{name}.json", [labelme_shape("car", CAR)], f"images/{name}.jpg")
        elif form == "cvat":
            shape = f'<polygon label="car" points="{cvat_points(CAR)}" z_order="0"/>'
            write_cvat(root / name / "annotations.xml", shape, name=f"{name}.jpg")
        elif form == "binary":
            save(root / "masks" / "car" / f"{name}.png", np.uint8(label == 1) * 255)
    if form == "coco":
        annotations = [(number, 1, [ring(CAR)], {}) for number in range(3)]
        write_coco(
            root / "annotations.json", {k: f"{name}.jpg" for k, name in enumerate(names)}, annotations, {1: "car"}
        )
    if form == "cvat_masks":
        colours = np.uint8([(0, 0, 0), (250, 50, 83), (9, 8, 7)])[label]
        labelmap = "background:0,0,0::\ncar:250,50,83::\nperson:9,8,7::\n"
        write_cvat_masks(root, dict.fromkeys(names, colours), labelmap, {"default": names})
    return root
