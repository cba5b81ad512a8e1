"""Read label images of any mode as class values: grey, palette, 1 to 16 bits, equal channels, colours.

OpenCV alone reads palette and 16-bit labels as wrong classes, and stretches values of 1 to 4 bits to 0..255.
"""

import io

import cv2
import numpy as np
from PIL import Image

from datasets.reading.image_io import (
    AS_STORED,
    NOTICES,
    PNG,
    DataError,
    broken,
    decode,
    read_checked,
    retry_while_written,
)


@retry_while_written
def read_label(path, colours=None):
    """-> (H, W) uint8 or wider: the values of the label, whatever the mode of the file.

    `colours`: a ColourMap for label images that show classes as colours.
    """
    values = stored_values(path)
    if values.ndim == 3:
        return single_channel(values, path, colours)
    return colours.of_grey(values, path) if colours and colours.for_grey else values


def stored_values(path):
    """-> (H, W) values, or (H, W, 3) BGR of a label in three channels."""
    data = read_checked(path)
    head = data[:64].tobytes()
    if head[:2] == b"\xff\xd8" or (head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8 "):
        raise DataError(
            f"{path} is a lossy label ({'JPEG' if head[0] == 0xFF else 'WebP'}): compression creates values "
            "between the classes; labels must be PNG"
        )
    if head[:8] != PNG:
        return label_from_pillow(data, path)
    depth, colour_type = head[24], head[25]
    if colour_type == 3:  # palette: the indices are the values
        return label_from_pillow(data, path)
    flag = {0: cv2.IMREAD_GRAYSCALE, 2: AS_STORED, 6: AS_STORED}.get(colour_type, cv2.IMREAD_UNCHANGED)
    values = decode(data, cv2.IMREAD_UNCHANGED if depth == 16 else flag, path)
    if values is None:
        raise broken(data, path)
    if colour_type == 0 and depth < 8:
        values = values // {1: 255, 2: 85, 4: 17}[depth]  # the decoder has stretched them to 0..255
    if colour_type == 4:
        NOTICES.append(("label-alpha", f"{path} is a label with an alpha channel, which is ignored"))
        return values[:, :, 0]
    return values[:, :, :3] if values.ndim == 3 else values


def label_from_pillow(data, path):
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode in ("RGBA", "RGBX", "CMYK", "YCbCr"):
                image = image.convert("RGB")
            values = np.asarray(image)
    except Exception as error:
        raise broken(data, path, error) from None
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.ndim == 3 and values.shape[2] == 2:
        NOTICES.append(("label-alpha", f"{path} is a label with an alpha channel, which is ignored"))
        return values[:, :, 0]
    return values[:, :, ::-1] if values.ndim == 3 else values


def single_channel(bgr, path, colours):
    """A label in three channels: classes as colours, or three equal channels."""
    if colours:
        return colours(bgr, path)
    if equal_channels(bgr):
        return np.ascontiguousarray(bgr[:, :, 0])
    shown = sorted(
        {tuple(c[::-1].tolist()) for c in bgr[:: max(len(bgr) // 16, 1), :: max(bgr.shape[1] // 16, 1)].reshape(-1, 3)}
    )
    raise DataError(
        f"{path} is a label in colours (such as RGB {', '.join(map(str, shown[:3]))}), and this dataset has no colour "
        "map; give one in classes.txt (lines 'name R G B'), or save class numbers"
    )


def equal_channels(bgr):
    return (bgr[:, :, 0] == bgr[:, :, 1]).all() and (bgr[:, :, 0] == bgr[:, :, 2]).all()


class ColourMap:
    """RGB colours -> their numbers 0, 1 .. in the order given (None: no colour has this number). Other colours are an
    error that lists them.

    `for_grey`: in a grey label, a value v is the colour (v, v, v), not a class number.
    """

    def __init__(self, palette, for_grey=False):
        self.palette, self.for_grey = [colour and tuple(colour) for colour in palette], for_grey
        self.table = None

    def of_grey(self, values, path):
        if values.dtype != np.uint8 and (values.min() < 0 or values.max() > 255):
            raise DataError(
                f"{path} has values up to {values.max():g}, and grey labels of this dataset hold the colours of its "
                "classes, 0..255; save it with 8 bits"
            )
        return self(np.repeat(values.astype(np.uint8)[:, :, None], 3, axis=2), path)

    def __call__(self, bgr, path):
        if self.table is None:
            self.table = np.full(1 << 24, -1, np.int16)
            numbered = [(number, colour) for number, colour in enumerate(self.palette) if colour]
            for number, (r, g, b) in reversed(numbered):  # of equal colours the first counts
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
                f"{path} has {len(odd)} colours that are not those of a class, such as RGB {text} (pixels); "
                "is it the label of another dataset, or was it resized with interpolation?"
            )
        return values.astype(np.uint8)
