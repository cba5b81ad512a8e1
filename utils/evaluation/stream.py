"""Run a network over a whole dataset: predictions are yielded image by image, and none is kept in memory."""

import ctypes

import jittor as jt

from utils.evaluation import inference, windows

SIDES = ("short_side", "long_side")  # settings that change the size of an image


def predictions(model, samples, normalise, on_error=None, **settings):
    """`stream` over (task, sample or exception) pairs, as datasets.reading.workers reads them ahead. An exception is
    raised here, or passed to `on_error(task, error)`, and the task is left out."""

    def readable():
        for task, sample in samples:
            if not isinstance(sample, Exception):
                yield task, sample
            elif on_error:
                on_error(task, sample)
            else:
                raise sample

    return stream(model, readable(), normalise, **settings)


def stream(model, samples, normalise, **settings):
    """(task, sample) .. -> (task, sample, prediction (H, W)) .., in order. A sample begins with image (H, W, C), or
    clip (T, H, W, C), and label; if the label is None, the prediction has the size of the image.

    On a GPU the network runs on the next images while the caller scores these.
    """
    started = []  # images whose results are still on the device
    for group in groups(samples, settings):
        images = [normalise(sample[0]) for _, sample in group]
        sizes = [size_of(sample[0]) if sample[1] is None else sample[1].shape for _, sample in group]
        launched = inference.launch(model, images, sizes, **settings)
        del images
        release_memory()
        yield from ((task, sample, inference.fetch(bands)) for task, sample, bands in started)
        started = [(task, sample, bands) for (task, sample), bands in zip(group, launched)]
        del launched
    yield from ((task, sample, inference.fetch(bands)) for task, sample, bands in started)


def size_of(image):
    """(height, width) of an image (H, W, C) or a clip (T, H, W, C)."""
    return image.shape[-3:-1]


def groups(samples, settings):
    """Lists of as many samples as fill one network call."""
    options = {key: settings[key] for key in ("tile", "scales", *SIDES, "overlap") if key in settings}
    sides = {key: settings[key] for key in SIDES if key in settings}
    group, tiles, pixels = [], 0, 0
    for task, sample in samples:
        group.append((task, sample))
        frames = sample[0].shape[0] if sample[0].ndim == 4 else 1
        size = windows.scaled_size(size_of(sample[0]), 1.0, **sides)
        tiles += frames * windows.tile_count(size_of(sample[0]), **options)
        pixels += frames * size[0] * size[1]
        if tiles >= (settings.get("batch") or inference.CALL_TILES) or pixels >= inference.CALL_PIXELS:
            yield group
            group, tiles, pixels = [], 0, 0
    if group:
        yield group


def release_memory():
    """Give back what Jittor and malloc hold for sizes that may not come again; 3 ms. A GPU keeps its pool."""
    if jt.flags.use_cuda:
        return
    jt.gc()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
        pass
