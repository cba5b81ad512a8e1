"""Label pictures -> the values they mean, whatever their mode: grey, palette, 1 to 16 bits, equal channels, colours.

OpenCV alone reads palette and 16-bit labels as wrong classes, and spreads those of few bits over 0..255.
"""

import io

import cv2
import numpy as np
from PIL import Image

from datasets.image_io import AS_STORED, NOTICES, PNG, DataError, broken, decode, patient, read_bytes


@patient
def read_label(path, colours=None):
    """-> (H, W) uint8 or wider: the values that the file means, whatever its mode.

    `colours`: a ColourMap for label pictures that paint classes in colours.
    """
    data = read_bytes(path)
    head = data[:64].tobytes()
    if head[:2] == b"\xff\xd8" or (head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8 "):
        raise DataError(
            f"{path} is a lossy label ({'JPEG' if head[0] == 0xFF else 'WebP'}): compression has invented values "
            "between the classes; labels must be PNG"
        )
    if head[:8] != PNG:
        return label_from_pillow(data, path, colours)
    depth, kind = head[24], head[25]
    if kind == 3:  # palette: the indices are the values
        return label_from_pillow(data, path, colours)
    flag = {0: cv2.IMREAD_GRAYSCALE, 2: AS_STORED, 6: AS_STORED}.get(kind, cv2.IMREAD_UNCHANGED)
    values = decode(data, cv2.IMREAD_UNCHANGED if depth == 16 else flag, path)
    if values is None:
        raise broken(data, path)
    if kind == 0 and depth < 8:
        values = values // {1: 255, 2: 85, 4: 17}[depth]  # the decoder has spread them over 0..255
    if kind == 4:
        NOTICES.append(("label-alpha", f"{path} is a label with an alpha channel, which is left out"))
        return values[:, :, 0]
    return single_channel(values[:, :, :3], path, colours) if values.ndim == 3 else values


def label_from_pillow(data, path, colours):
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.mode in ("RGBA", "RGBX", "CMYK", "YCbCr"):
                picture = picture.convert("RGB")
            values = np.asarray(picture)
    except Exception as error:
        raise broken(data, path, error) from None
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.ndim == 3 and values.shape[2] == 2:
        NOTICES.append(("label-alpha", f"{path} is a label with an alpha channel, which is left out"))
        return values[:, :, 0]
    return single_channel(values[:, :, ::-1], path, colours) if values.ndim == 3 else values


def single_channel(bgr, path, colours):
    """A label in three channels: classes painted in colours, or one value three times."""
    if colours:
        return colours(bgr, path)
    if (bgr[:, :, 0] == bgr[:, :, 1]).all() and (bgr[:, :, 0] == bgr[:, :, 2]).all():
        return np.ascontiguousarray(bgr[:, :, 0])
    shown = sorted(
        {tuple(c[::-1].tolist()) for c in bgr[:: max(len(bgr) // 16, 1), :: max(bgr.shape[1] // 16, 1)].reshape(-1, 3)}
    )
    raise DataError(
        f"{path} is a label painted in colours (such as RGB {', '.join(map(str, shown[:3]))}), and this data set has "
        "no colour map; give one in classes.txt ('name R G B' a line), or write class numbers"
    )


class ColourMap:
    """RGB colours -> their numbers 0, 1 .. in the order given; other colours are an error that lists them."""

    def __init__(self, palette):
        self.palette = [tuple(colour) for colour in palette]
        self.table = None

    def __call__(self, bgr, path):
        if self.table is None:
            self.table = np.full(1 << 24, -1, np.int16)
            for number, (r, g, b) in reversed(list(enumerate(self.palette))):  # of equal colours the first counts
                self.table[r << 16 | g << 8 | b] = number
        bgr = bgr.astype(np.int32)
        code = bgr[:, :, 0] | bgr[:, :, 1] << 8 | bgr[:, :, 2] << 16
        values = self.table[code]
        if values.min() < 0:
            odd, counts = np.unique(code[values < 0], return_counts=True)
            order = np.argsort(-counts)[:5]
            text = ", ".join(
                f"{(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255)} x {n}" for c, n in zip(odd[order], counts[order])
            )
            raise DataError(
                f"{path} has {len(odd)} colours that stand for no class, such as RGB {text} (pixels); "
                "is it another data set's label, or was it resized with interpolation?"
            )
        return values.astype(np.uint8)
