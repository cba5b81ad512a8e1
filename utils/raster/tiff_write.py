"""A TIFF of one grey channel written band after band, with the georeference of another TIFF: label maps."""

import struct
import zlib

import numpy as np

from utils.raster import tiff


class RowTiff:
    """Writes a label map (H, W) of 8 or 16 bits to an open file; one compressed strip for each band of `rows` rows.

    `reference`: (byte order, tags) of tiff.georeference, written as they were.
    """

    def __init__(self, file, size, dtype, reference, rows=64):
        self.file, self.size, self.rows = file, size, rows
        self.order, self.tags = reference
        self.dtype = np.dtype(dtype).newbyteorder(self.order)
        self.places, self.sizes, self.waiting = [], [], np.zeros((0, size[1]), self.dtype)
        file.write(tiff.head(self.order, 0))

    def write(self, rows):
        self.waiting = np.concatenate([self.waiting, rows.astype(self.dtype)])
        while len(self.waiting) >= self.rows:
            self.strip(self.waiting[: self.rows])
            self.waiting = self.waiting[self.rows :]

    def strip(self, rows):
        data = zlib.compress(np.ascontiguousarray(rows).tobytes(), 6)
        self.places.append(self.file.tell())
        self.sizes.append(len(data))
        self.file.write(data)

    def close(self):
        if len(self.waiting):
            self.strip(self.waiting)
        at = self.file.tell() + self.file.tell() % 2
        self.file.write(bytes(at - self.file.tell()))
        facts = {tiff.WIDTH: self.size[1], tiff.HEIGHT: self.size[0], tiff.BITS: 8 * self.dtype.itemsize}
        facts.update({tiff.COMPRESSION: 8, 262: 1, tiff.SAMPLES: 1, tiff.STRIP_ROWS: self.rows, tiff.PLANAR: 1})
        tags = {tag: (4, 1, struct.pack(self.order + "I", value)) for tag, value in facts.items()}
        for tag, values in ((tiff.STRIPS, self.places), (tiff.STRIP_SIZES, self.sizes)):
            tags[tag] = (4, len(values), struct.pack(f"{self.order}{len(values)}I", *values))
        for tag in (tiff.BITS, tiff.COMPRESSION, 262, tiff.SAMPLES, tiff.PLANAR):
            tags[tag] = (3, 1, struct.pack(self.order + "H", facts[tag]))
        self.file.write(tiff.directory(self.order, {**tags, **self.tags}, at))
        self.file.seek(0)
        self.file.write(tiff.head(self.order, at))
