"""Segment images, images larger than memory, and videos, and write the files of each: what scripts/predict.py does.

`base`: the path of the files to write without their endings, as result_files.py has them. `settings`: keyword arguments
of inference.predict. `normalise(image)`: BGR uint8 -> the input of the network.
"""

import itertools
import os
import sys

import numpy as np
from tqdm import tqdm

from utils import media
from utils.evaluation import inference, large, result_files, stream
from utils.raster import open_rows


def images(model, samples, total, normalise, look, settings, probability=()):
    """`samples`: ((path, base), (image, None) or the exception of its reading) ..; `probability`: classes whose
    probabilities are written. -> messages about the images that could not be read"""
    failed = []
    bar = tqdm(total=total, desc="predict", unit="image", dynamic_ncols=True, disable=not total)

    def skip(_, error):
        failed.append(str(error))
        bar.write(f"skipped: {error}", file=sys.stderr)
        bar.update(1)

    if probability:
        results = with_probabilities(model, samples, normalise, look, settings, probability, skip)
    else:
        results = labels(model, samples, normalise, look, settings, skip)
    for (path, base), image, label, confidence in results:
        result_files.write(base, image, label, look, confidence, result_files.reference_of(path))
        bar.update(1)
    bar.close()
    return failed


def labels(model, samples, normalise, look, settings, skip):
    """-> (file, image, label (H, W), confidence (H, W) or None) of each sample"""
    options = {"on_error": skip, "confidence": look.wants_confidence, **settings}
    for file, (image, _), result in stream.predictions(model, samples, normalise, **options):
        yield file, image, *(result if look.wants_confidence else (result, None))


def with_probabilities(model, samples, normalise, look, settings, probability, skip):
    """As `labels`, image after image; the probabilities of some classes are written here."""
    for file, sample in samples:
        if isinstance(sample, Exception):
            skip(file, sample)
            continue
        label, scores = inference.predict_probabilities(model, normalise(sample[0]), **settings)
        yield file, sample[0], label, scores.max(0)
        result_files.write_probabilities(file[1], scores, probability, look.names)
        stream.release_memory()


def by_rows(model, path, base, normalise, look, settings):
    """An image larger than memory: windows, and all files written from top to bottom."""
    source = open_rows(path)
    settings = {**settings, "tile": settings["tile"] or large.TILE}
    size = "x".join(map(str, settings["tile"]))
    print(f"{path} is read by rows, in windows of {size}; its overlay has no legend")
    dtype = np.uint8 if len(look.names) <= 256 else np.uint16
    with result_files.Bands(base, source.size, dtype, look, result_files.reference_of(path)) as files:
        with tqdm(total=source.size[0], desc=os.path.basename(base), unit="row", dynamic_ncols=True) as bar:
            for rows in large.predict_rows(model, source, normalise, settings, look.wants_confidence):
                files.write(*rows)
                bar.update(len(rows[0]))


def video(model, path, base, read, normalise, look, settings):
    """Write BASE_overlay.mp4; an interrupted run leaves BASE_overlay.part.mp4. `read(reader, numbers)` -> the
    images, or clips, of the frames that a media.FrameReader reads."""
    rate, count = media.video_facts(path)
    out, part = f"{base}_overlay.mp4", f"{base}_overlay.part.mp4"
    os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
    frames = ((k, (frame, None)) for k, frame in enumerate(read(media.FrameReader(path), itertools.count())))
    bar = tqdm(total=count or None, desc=os.path.basename(base), unit="frame", dynamic_ncols=True)
    writer, unsure = None, look.minimum is not None
    try:
        for _, (image, _), result in stream.stream(model, frames, normalise, confidence=unsure, **settings):
            overlay = look.overlay(image, look.shown(*(result if unsure else (result, None)))[1])
            writer = writer or media.video_writer(part, overlay.shape[:2], rate)
            writer.write(np.ascontiguousarray(overlay[:, :, ::-1]))
            bar.update(1)
    finally:
        bar.close()
        if writer:
            writer.release()
    if not writer:
        raise ValueError(f"{path} has no frame that can be read")
    os.replace(part, out)
