"""Images with another number of channels than three: --channels N. Multi-band .tif (bands of a pixel, or a page a band)
and .npy of shape (H, W, N), or (H, W) for one channel, in the order of the file.

Everything becomes uint8, as all images here are: linearly from `value_range` to 0..255, clipped and rounded. Without a
range, that of the dtype: uint8 0..255 (unchanged), uint16 0..65535, float 0..1.
"""

import numpy as np
from PIL import Image, ImageSequence

from datasets.base import report_once
from datasets.reading import image_io
from datasets.reading.image_io import DataError, read_bytes

ENDINGS = (".npy", ".tif", ".tiff")
RANGES = {"uint8": (0, 255), "uint16": (0, 65535), "float16": (0, 1), "float32": (0, 1), "float64": (0, 1)}


def read(path, channels, value_range=None):
    """-> (H, W, channels) uint8."""
    values = load(path)
    values = values[:, :, None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[2] != channels:
        shape = "x".join(map(str, values.shape))
        raise DataError(f"{path} has the shape {shape}, and --channels {channels} needs height x width x {channels}")
    return to_uint8(values, value_range, path)


def load(path):
    try:
        if str(path).lower().endswith(".npy"):
            return np.load(path, allow_pickle=False)
        with Image.open(path) as image:
            pages = [np.asarray(page) for page in ImageSequence.Iterator(image)]
    except FileNotFoundError:
        read_bytes(path)  # its error names the cause
        raise
    except Exception as error:
        text = "save images of five and more bands as .npy (H, W, N), or as a TIFF with a page for each band"
        raise DataError(f"{path} cannot be read ({str(error)[:200]}); {text}") from None
    if len(pages) == 1:
        return pages[0]
    if any(page.shape != pages[0].shape or page.ndim != 2 for page in pages):
        raise DataError(f"{path} has {len(pages)} pages that are not single bands of one size")
    return np.stack(pages, 2)


def to_uint8(values, value_range, path):
    if value_range is None:
        if values.dtype == np.uint8:
            return np.ascontiguousarray(values)
        if values.dtype.name not in RANGES:
            raise DataError(
                f"{path} holds {values.dtype} values, which have no usual range: add --value-range LOW,HIGH"
            )
        value_range = RANGES[values.dtype.name]
    if not np.isfinite(values).all():
        raise DataError(f"{path} has values that are NaN or infinity; replace them")
    low, high = map(float, value_range)
    return np.rint((np.clip(values.astype(np.float64), low, high) - low) * 255 / (high - low)).astype(np.uint8)


def chosen(data, most=200):
    """At most `most` images, evenly spaced."""
    count = min(most, data.total_len)
    return [k * data.total_len // count for k in range(count)]


def state_of(data):
    """What `statistics` depends on, for caches: changed image files give another value."""
    files = [data.pairs[index][0] for index in chosen(data)] if hasattr(data, "pairs") else []
    states = [(str(path), image_io.state(path)) for path in files] or data.state()  # a packed folder has no pairs
    return [data.channels, data.value_range, states]


def statistics(data):
    """-> the normalisation record of the training images: mean and standard deviation of each channel, over the images
    that are `chosen`."""
    total, squares, pixels = 0, 0, 0
    for index in chosen(data):
        image = data.open_pair(index)[0]().reshape(-1, data.channels)
        histogram = np.stack([np.bincount(column, minlength=256) for column in image.T])
        total = total + histogram @ np.arange(256.0)
        squares = squares + histogram @ np.arange(256.0) ** 2
        pixels += len(image)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    std = np.where(std < 1e-3, 1, std)  # a constant channel
    return record(mean, std, data.value_range)


def record(mean, std, value_range=None):
    """The normalisation record of images with any number of channels; mean and std on the scale 0..255."""
    numbers = {name: [float(f"{x:.6g}") for x in values] for name, values in (("mean", mean), ("std", std))}
    return {"channels": "bands", **numbers, "range": list(value_range) if value_range else None}


def at_once(_topic, _state, measure):
    """Measures without a cache."""
    return measure()


def for_network(data, recorded, options, mean=None, std=None, once=at_once):
    """-> {"normalisation": the record, "model_options"} of a run that trains on `data`. `recorded`: the record of the
    file that it starts from, or that of the network; `mean`, `std`: given by flags.
    once(topic, state, measure) -> measure(), or what an earlier run measured while state() was the same."""
    if data.channels == 3:
        if mean or std:
            flag = "--channel-mean" if mean else "--channel-std"
            raise ValueError(
                f"{flag} is for images of another number of channels than three (--channels): leave it out"
            )
        return {"normalisation": recorded, "model_options": options}
    for name, values in (("mean", mean), ("std", std)):
        if values and len(values) != data.channels:
            raise ValueError(f"--channel-{name} has {len(values)} numbers for {data.channels} channels")
    if (mean is None) != (std is None):
        raise ValueError("--channel-mean and --channel-std belong together: give both, or none to measure them")
    if mean:
        recorded = record(mean, std, data.value_range)
    elif facts_of(recorded).get("channels") != data.channels:
        recorded = once("mean and standard deviation of the channels", lambda: state_of(data), lambda: statistics(data))
        values = f"mean {recorded['mean']}, standard deviation {recorded['std']}"
        report_once(f"{data.channels} channels: {values} (0..255)")
    return {"normalisation": recorded, "model_options": {**options, "in_channels": data.channels}}


def facts_of(normalisation):
    """A normalisation record -> the options of the dataset that it implies."""
    if (normalisation or {}).get("channels") != "bands":
        return {}
    return {"channels": len(normalisation["mean"]), "value_range": normalisation.get("range")}
