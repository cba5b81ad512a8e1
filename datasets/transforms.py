"""From a picture on disk to the network's input: scale, pad, crop, mirror, normalise, in the official order.

Every random choice comes from the generator that is passed in. Pictures are (H, W, 3) uint8 BGR, labels (H, W) uint8.
"""

import cv2
import numpy as np

# How the input is normalised travels with the checkpoint. The ImageNet weights that CCNet starts from want BGR, 0..255,
# minus the mean, not divided by anything.
CAFFE_BGR = {"channels": "bgr", "mean": (104.00698793, 116.66876762, 122.67891434), "std": (1.0, 1.0, 1.0)}

CITYSCAPES_SCALES = tuple(k / 10 for k in range(7, 22))  # 0.7, 0.8 .. 2.1


def normalise(image, how=CAFFE_BGR):
    """(H, W, 3) uint8 BGR -> (3, H, W) float32."""
    if how["channels"] == "rgb":
        image = image[:, :, ::-1]
    x = (image.astype(np.float32) - np.float32(how["mean"])) / np.float32(how["std"])
    return np.ascontiguousarray(x.transpose(2, 0, 1))


def rescale(image, label, factor):
    """Bilinear for the picture, nearest for the label; sizes are rounded as OpenCV rounds them."""
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    return image, cv2.resize(label, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)


class TrainTransform:
    """Scale, normalise, pad at the right and bottom (picture with the mean, label with `ignore`), crop, mirror."""

    def __init__(self, size, scales=None, mirror=False, how=CAFFE_BGR, ignore=255):
        self.size, self.scales, self.mirror, self.how, self.ignore = size, scales, mirror, how, ignore

    def __call__(self, image, label, rng):
        if self.scales:
            image, label = rescale(image, label, self.scales[rng.integers(len(self.scales))])
        x = normalise(image, self.how)
        pad_y, pad_x = (max(want - have, 0) for want, have in zip(self.size, label.shape))
        if pad_y or pad_x:
            x = np.pad(x, ((0, 0), (0, pad_y), (0, pad_x)))  # 0 is the mean colour
            label = np.pad(label, ((0, pad_y), (0, pad_x)), constant_values=self.ignore)
        top, left = (int(rng.integers(have - want + 1)) for want, have in zip(self.size, label.shape))
        window = (slice(top, top + self.size[0]), slice(left, left + self.size[1]))
        x, label = x[(slice(None), *window)], label[window]
        if self.mirror and rng.random() < 0.5:
            x, label = x[:, :, ::-1], label[:, ::-1]
        return np.ascontiguousarray(x), np.ascontiguousarray(label.astype(np.int32))


class EvalTransform:
    """Normalise and nothing else: evaluation sees every pixel."""

    def __init__(self, how=CAFFE_BGR):
        self.how = how

    def __call__(self, image, label, rng):
        return normalise(image, self.how), label.astype(np.int32)
