"""From a network to label maps: whole images or sliding windows, several scales, horizontal flip, images of any size.

    labels = predict(model, [image], tile=(769, 769), scales=(0.75, 1, 1.25), flip=True)

An image is cut into tiles (without `tile`, it is one tile), and tiles of one shape go through the network together. The
logits stay at the stride of the network, 64 times fewer than pixels, until they are resized to the label in bands of
rows (bilinear, with the align_corners of the network) and reduced to classes. So memory depends on the tiles in one
call and the height of a band, not on the size of the image.

An image goes to the device once. It is scaled, cut and padded there, and the scores are added there; what comes back is
the label map, uint8 for up to 256 classes.
"""

from collections import defaultdict
from itertools import groupby

import jittor as jt
import numpy as np

from utils.evaluation.protocol import OVERLAP
from utils.evaluation.resize import between, resize
from utils.evaluation.windows import LEAST, cut, padded, scaled_size, tiles_of
from utils.host_copy import HostCopy

CALL_PIXELS = 1 << 21  # in one network call if no batch is given: one image of 1024x2048 ...
CALL_TILES = 16  # ... or this many small ones; a clip has the pixels of all its frames
BAND_NUMBERS = 1 << 24  # scores of one band: 64 MB


def predict(model, images, sizes=None, **settings):
    """Images (3, H, W) float32, normalised, arrays or Vars -> the class of each pixel, (H, W) each, or of the size in
    `sizes`. For a network of clips an image is a clip, (T * 3, H, W), whose frames are cut, scaled and flipped alike.

    `short_side` scales images to it, their long side being at most `long_side`. tile=(h, w) slides windows of that size
    that overlap by `overlap`; without it the whole image is one tile, padded to a multiple of `pad_multiple`. `scales`
    and `flip` add views; `average`: what is averaged over tiles and views, "logits" (as in the
    official evaluation) or "probabilities". `flip_pairs`: classes that a flip exchanges. `batch`: tiles in one
    network call.
    """
    return [fetch(bands) for bands in launch(model, images, sizes, **settings)]


def launch(model, images, sizes=None, confidence=False, **settings):
    """Like `predict`, but on a GPU it returns before the results are computed; `fetch` waits for each. `confidence`:
    each result is (classes, largest probability of each pixel)."""
    sizes = sizes or [image.shape[1:] for image in images]
    average, corners = settings.get("average", "logits"), align_corners(model)
    with jt.no_grad():
        results = []
        for views, size in zip(run_tiles(model, images, **settings), sizes):
            bands = []
            for scores in score_bands(views, size, average, corners):
                bands.append([class_of(scores)])
                if confidence:
                    bands[-1].append(confidence_of(scores, average))
                bands[-1] = [HostCopy(part) for part in bands[-1]]
            results.append(bands)
        return results


def align_corners(model):
    """How the logits of a network are resized; the official way for a network that does not define it."""
    return getattr(model, "align_corners", True)


def call_size(shape, batch=None, frames=1):
    """How many tiles of this shape go through the network together. `frames`: of a clip."""
    return batch or max(min(CALL_PIXELS // (shape[0] * shape[1]), CALL_TILES) // frames, 1)


def fetch(bands):
    parts = [np.concatenate([part.numpy() for part in column]) for column in zip(*bands)]
    return parts[0] if len(parts) == 1 else tuple(parts)


def predict_probabilities(model, image, size=None, **settings):
    """One image -> (class of each pixel (H, W), probability of each class (K, H, W) float32)."""
    average = settings.get("average", "logits")
    with jt.no_grad():
        views = run_tiles(model, [image], **settings)[0]
        labels, probabilities = [], []
        for scores in score_bands(views, size or image.shape[1:], average, align_corners(model)):
            labels.append(class_of(scores).numpy())
            probabilities.append((jt.nn.softmax(scores, dim=0) if average == "logits" else scores).numpy())
    return np.concatenate(labels), np.concatenate(probabilities, axis=1)


def class_of(scores):
    """(K, rows, W) -> (rows, W); uint8 where the classes fit."""
    best, _ = jt.argmax(scores, dim=0)
    return best.uint8() if scores.shape[0] <= 256 else best.int32()


def confidence_of(scores, average):
    """(K, rows, W) -> the largest probability of each pixel (rows, W) float32."""
    return (jt.nn.softmax(scores, dim=0) if average == "logits" else scores).max(0)


def run_tiles(
    model,
    images,
    tile=None,
    scales=(1.0,),
    flip=False,
    average="logits",
    batch=None,
    pad_multiple=1,
    flip_pairs=(),
    overlap=OVERLAP,
    short_side=None,
    long_side=None,
):
    """Run the network over all tiles of all scales. -> for each image its views: (size, [(window, padded, maps)]).

    `maps` are score maps (K, h, w) at the network's stride, to be averaged: one, or two with the flipped probabilities.
    """
    sides, corners = (short_side, long_side), align_corners(model) and not short_side
    views = [[(scaled_size(image.shape[1:], scale, *sides), []) for scale in scales] for image in images]
    groups = defaultdict(list)  # shape of the input -> (image, view, window)
    for number, image_views in enumerate(views):
        for k, (size, _) in enumerate(image_views):
            for window in cut(size, tile, overlap):
                shape = (
                    tuple(max(side, LEAST) for side in tile) if tile else tuple(padded(s, pad_multiple) for s in size)
                )
                groups[shape].append((number, k, window))

    images = [image if isinstance(image, jt.Var) else jt.array(image) for image in images]
    latest = (None, None)  # the last image that was scaled, and its pixels

    def pixels(number, k):
        nonlocal latest
        if latest[0] != (number, k):
            latest = ((number, k), resize(images[number], views[number][k][0], align_corners=corners))
        return latest[1]

    for shape, windows in groups.items():
        together = call_size(shape, batch, getattr(model, "frames", 1))
        for first in range(0, len(windows), together):
            chunk = windows[first : first + together]
            parts = [
                tiles_of(pixels(*view), [window for *_, window in same], shape)
                for view, same in groupby(chunk, lambda each: each[:2])
            ]
            x = jt.concat(parts) if len(parts) > 1 else parts[0]
            maps = forward(model, x, flip, average, flip_pairs)  # (B, K, h, w) each
            for row, (number, k, window) in enumerate(chunk):
                tile_maps = [scores[row] for scores in maps]
                for scores in tile_maps:
                    scores.sync()  # releases the tensor of the whole batch and its graph
                views[number][k][1].append((window, shape, tile_maps))
    return views


def forward(model, x, flip, average, flip_pairs=()):
    """`x`: a Var. The padded tile is mirrored, so a mirror-symmetric network gives the same result for both."""
    plain = model(x)[0]
    if not flip:
        return [plain]
    plain.sync()  # frees the memory of the first pass for the second
    mirrored = model(x[:, :, :, ::-1])[0][:, :, :, ::-1]
    if flip_pairs:  # in the mirror a left arm is a right arm
        order = np.arange(plain.shape[1])
        for left, right in flip_pairs:
            order[[left, right]] = right, left
        mirrored = mirrored[:, jt.array(order.astype(np.int32))]
    return [(plain + mirrored) * 0.5] if average == "logits" else [plain, mirrored]


def score_bands(views, size, average, corners):
    """The mean over views, at `size`, from top to bottom: (K, rows, W) with as many rows as BAND_NUMBERS allows."""
    classes = views[0][1][0][2][0].shape[0]
    height, width = size
    rows = min(max(BAND_NUMBERS // (classes * width), 1), height)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        total = 0
        for view_size, tiles in views:
            first, last, _ = between(view_size[0], height, top, bottom, corners)
            low, high = int(first.min()), int(last.max()) + 1  # the rows of the view that this band lies between
            band = view_band(view_size, tiles, low, high, average, corners)
            total = total + resize(band, size, (top, bottom), view_size[0], low, corners)
        yield total / len(views) if len(views) > 1 else total


def view_band(size, tiles, top, bottom, average, corners):
    """Rows top..bottom of one view: every pixel the mean over the tiles that see it. -> (K, rows, W)"""
    if len(tiles) == 1:
        return tile_rows(*tiles[0], top, bottom, average, corners)
    total, count = None, np.zeros((bottom - top, size[1]), np.float32)
    for window, shape, maps in tiles:
        y, x, height, width = window
        low, high = max(top, y), min(bottom, y + height)
        if low >= high:
            continue
        piece = tile_rows(window, shape, maps, low, high, average, corners)
        if total is None:
            total = jt.zeros((piece.shape[0], bottom - top, size[1]))
        inside = (slice(low - top, high - top), slice(x, x + width))
        total[(slice(None), *inside)] = total[(slice(None), *inside)] + piece
        count[inside] += 1
    return total / jt.array(count)


def tile_rows(window, shape, maps, top, bottom, average, corners):
    """Rows top..bottom (of the image) of one tile at full size, without its padding."""
    y, _, _, width = window
    total = 0
    for scores in maps:
        scores = resize(scores, shape, (top - y, bottom - y), align_corners=corners)[:, :, :width]
        total = total + (jt.nn.softmax(scores, dim=0) if average == "probabilities" else scores)
    return total / len(maps) if len(maps) > 1 else total
