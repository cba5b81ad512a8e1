"""The contact sheet of verify.py: image, overlay and label of some samples, and a legend of their classes."""

import cv2
import numpy as np

from utils.drawing.figures import colourise, contact_sheet, visible

HEIGHT = 240  # of a tile, in pixels


def samples(data, count):
    """(image, label) BGR of `count` samples, evenly spread; those that do not decode are left out."""
    pairs = []
    for index in range(0, data.total_len, max(data.total_len // count, 1)):
        try:
            pairs.append(data.read(index))
        except ValueError:
            continue
    return pairs[:count]


def draw(pairs, data):
    """The sheet as a PIL image: one row per pair, on tiles of one size."""
    ratios = sorted(label.shape[1] / label.shape[0] for _, label in pairs)
    width = int(HEIGHT * min(max(ratios[len(ratios) // 2], 0.5), 2.0))
    rows, present = [], set()
    for image, label in pairs:
        present |= set(np.unique(label).tolist())
        image, colour = visible(image), colourise(label, data.palette)  # RGB
        tinted = ((label != data.ignore_label) & colour.any(-1))[:, :, None]  # black would only darken the image
        overlay = np.where(tinted, (image.astype(int) + colour) // 2, image).astype(np.uint8)
        methods = ((image, cv2.INTER_AREA), (overlay, cv2.INTER_AREA), (colour, cv2.INTER_NEAREST))
        rows.append([fit(part, width, interpolation) for part, interpolation in methods])
    shown = [k for k in range(len(data.names)) if k in present]
    names, palette = [data.names[k] for k in shown], [data.palette[k] for k in shown]
    return contact_sheet(rows, ("image", "overlay", "label"), names, palette)


def fit(image, width, interpolation):
    """A white tile (HEIGHT, width, 3) with the image, scaled to fit, at the top left."""
    tile = np.full((HEIGHT, width, 3), 255, np.uint8)
    factor = min(HEIGHT / image.shape[0], width / image.shape[1])
    size = (max(round(image.shape[1] * factor), 1), max(round(image.shape[0] * factor), 1))
    tile[: size[1], : size[0]] = cv2.resize(np.ascontiguousarray(image), size, interpolation=interpolation)
    return tile
