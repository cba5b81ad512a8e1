"""Normalisation of the network's input: BGR minus the mean for the official weights, RGB with mean and std for others.

A checkpoint holds its normalisation record, {"channels", "mean", "std"}. A channel has 256 possible values, so
normalising is a lookup in a table of 256: `normalise` does it in numpy, `normalise_batch` on the device, with equal
results to the last bit. Images can thus leave the worker processes as uint8, at a quarter of the bytes.
"""

import cv2
import numpy as np

from models.tables import CAFFE_BGR


def table(record):
    """(C, 256) float32 in the order of the network's channels: value -> normalised value."""
    values = np.arange(256, dtype=np.float32)[None]
    return (values - np.float32(record["mean"])[:, None]) / np.float32(record["std"])[:, None]


def table_for(image, record):
    lookup = table(record)
    if image.shape[-1] != len(lookup):
        raise ValueError(f"an image has {image.shape[-1]} channels, and the network was trained with {len(lookup)}")
    return lookup


def on_device(image, record=CAFFE_BGR):
    """`normalise`, computed on the device, to which the image goes as uint8. -> Var"""
    table_for(image, record)
    x = normalise_batch(image[None], record)
    return x.reshape(x.shape[1:])


def normalise(image, record=CAFFE_BGR):
    """(H, W, C) uint8, BGR or "bands" in the order of the file -> (C, H, W) float32. A clip (T, H, W, C) ->
    (T * C, H, W): its frames, stacked along the channels."""
    if image.ndim == 4:
        return np.concatenate([normalise(frame, record) for frame in image])
    lookup = table_for(image, record)
    order = (2, 1, 0) if record["channels"] == "rgb" else range(len(lookup))
    return np.stack([cv2.LUT(np.ascontiguousarray(image[:, :, c]), row[None]) for c, row in zip(order, lookup)])


def normalise_batch(images, record=CAFFE_BGR, boxes=None):
    """(B, H, W, 3) uint8 BGR, as the datasets yield it -> jittor (B, 3, H, W) float32, computed on the device.

    boxes (B, 4) int32: first row, last row + 1, first column, last column + 1 of the image; outside is padding, which
    is 0 after normalising, as in the official code. Clips (B, T, H, W, 3) come back as (B, T * 3, H, W).
    """
    import jittor as jt

    if images.ndim == 5:
        clips, frames, height, width, channels = images.shape
        boxes = None if boxes is None else np.repeat(boxes, frames, axis=0)
        flat = normalise_batch(images.reshape(-1, height, width, channels), record, boxes)
        return flat.reshape((clips, frames * channels, height, width))
    batch, height, width, channels = images.shape
    if boxes is not None and (boxes == (0, height, 0, width)).all():
        boxes = None
    channel = "2-i1" if record["channels"] == "rgb" else "i1"
    pixels = jt.array(np.asarray(images))  # (B, H, W, 3) uint8; Jittor takes no memmap, which packed images are
    extras, outside = [pixels], []
    if boxes is not None:
        extras.append(jt.array(np.ascontiguousarray(boxes, np.int32)))
        outside = ["i2<@e1(i0,0)", "i2>=@e1(i0,1)", "i3<@e1(i0,2)", "i3>=@e1(i0,3)"]
    return jt.array(table(record)).reindex(
        [batch, channels, height, width], ["i1", f"@e0(i0,i2,i3,{channel})"], 0.0, outside, extras
    )
