"""Sliding windows over an image larger than memory: rows are read, predicted and given out from top to bottom.

The labels are those of inference.predict with the same settings: the same windows in the same calls. The confidence
may differ in the last bit, as a band of rows ends elsewhere.
"""

import resource
import struct
import sys

import jittor as jt
import numpy as np

from utils import media
from utils.evaluation import inference, stream
from utils.evaluation.windows import LEAST, cut
from utils.raster import open_rows
from utils.training import memory

BYTES = 60  # a pixel: image, normalised image, label map, colours and overlay of a whole image
TILE = (1024, 1024)  # if --input-size gives none


def need(size):
    """Bytes of memory that an image of this size needs when it is read whole."""
    return size[0] * size[1] * BYTES


def available():
    """Bytes of memory that this process can still use; None if it is unknown."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    known = [memory.available("cpu")] + ([limit] if limit != resource.RLIM_INFINITY else [])
    return min((value for value in known if value is not None), default=None)


def choose(files, way, unsuited=None):
    """How to read (path, name) files. `way`: auto, always or never by rows; `unsuited`: why none can be read by rows.

    -> (files to read whole, files to read by rows, messages about files that need more memory than there is)
    """
    whole, by_rows, failed, room = [], [], [], available()
    for path, name in files:
        size = media.size_of(path)
        needed = need(size) if size else 0
        if size is None or (way != "always" and (room is None or needed <= room / 2)):
            whole.append((path, name))
            continue
        reason = "--by-rows never" if way == "never" else unsuited or why_not(path)
        if reason is None:
            by_rows.append((path, name))
        elif room is not None and needed > room:
            text = (
                f"{size[1]}x{size[0]} (width x height) needs {needed / 1e9:.1f} GB of memory, {room / 1e9:.1f} GB are"
            )
            failed.append(f"{path}: {text} free, and it is not read by rows ({reason}); cut it or scale it down")
            print(f"skipped: {failed[-1]}", file=sys.stderr)
        else:
            whole.append((path, name))
            if way != "never":
                print(f"{path} is read whole: {reason}")
    return whole, by_rows, failed


def why_not(path):
    """The reason why a file cannot be read by rows, or None."""
    try:
        open_rows(path)
    except (OSError, ValueError, struct.error) as error:
        return str(error)
    return None


def predict_rows(model, source, normalise, settings, confidence=False):
    """`source`: a RowReader. -> (image rows (n, W, 3), label (n, W), confidence (n, W) or None) from top to bottom."""
    size, tile = source.size, settings["tile"]
    flip, average, pairs = (settings[name] for name in ("flip", "average", "flip_pairs"))
    windows, corners = cut(size, tile, settings["overlap"]), inference.align_corners(model)
    shape = tuple(max(side, LEAST) for side in tile)
    together = inference.call_size(shape, settings.get("batch"))
    done, tiles = 0, []  # rows that were given out; the tiles that later rows need
    for first in range(0, len(windows), together):
        chunk = windows[first : first + together]
        rows = source.rows(done, max(top + height for top, _, height, _ in chunk))
        with jt.no_grad():
            tiles += run(model, chunk, shape, rows, done, normalise, flip, average, pairs)
        ready = windows[first + together][0] if first + together < len(windows) else size[0]
        while done < ready:
            classes = tiles[0][2][0].shape[0]
            end = min(ready, done + max(inference.BAND_NUMBERS // (classes * size[1]), 1))
            with jt.no_grad():
                scores = inference.view_band(size, tiles, done, end, average, corners)
                label = inference.class_of(scores).numpy()
                sure = inference.confidence_of(scores, average).numpy() if confidence else None
            del scores
            yield source.rows(done, end), label, sure
            done = end
        tiles = [each for each in tiles if each[0][0] + each[0][2] > done]
        stream.release_memory()


def run(model, chunk, shape, rows, top_row, normalise, flip, average, pairs):
    """One network call. `rows`: of the image from `top_row` on. -> [(window, shape, score maps)]"""
    x = np.zeros((len(chunk), 3, *shape), np.float32)
    for row, (top, left, height, width) in zip(x, chunk):
        pixels = rows[top - top_row : top - top_row + height, left : left + width]
        row[:, :height, :width] = normalise(np.ascontiguousarray(pixels))
    maps = inference.forward(model, jt.array(x), flip, average, pairs)
    tiles = []
    for k, window in enumerate(chunk):
        tile_maps = [scores[k] for scores in maps]
        for scores in tile_maps:
            scores.sync()
        tiles.append((window, shape, tile_maps))
    return tiles
