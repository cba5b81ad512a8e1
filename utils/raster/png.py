"""PNG by bands of rows: reading of 8-bit files that are not interlaced, and writing of 8 and 16 bits.

Reading decompresses a band, puts the last row before it (not filtered) on top, and lets Pillow decode this small PNG:
the filters of a row refer to the row above only.
"""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

from utils.raster.rows import RowReader, bgr, read_exactly

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of the colour types
BAND = 64  # rows
DEFLATE = 1032  # how many times as large as the file its pixels can be


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


class PngRows(RowReader):
    def __init__(self, path):
        self.path, self.extra = path, b""
        for name, data in self.chunks():
            if name == b"IHDR":
                self.header = data
            if name in (b"PLTE", b"tRNS"):
                self.extra += chunk(name, data)
            if name == b"IDAT":
                break
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", self.header)
        if depth != 8 or interlaced:
            raise ValueError("a PNG is read by rows if it has 8 bits a sample and is not interlaced")
        self.size, self.colour, self.length = (height, width), colour, width * SAMPLES[colour]
        if height * (self.length + 1) > DEFLATE * os.path.getsize(path):
            raise ValueError(
                f"{path} is a truncated or damaged PNG: its header says {width}x{height} (width x height), more than a "
                f"file of {os.path.getsize(path)} bytes can hold; copy it again"
            )
        super().__init__()

    def chunks(self):
        """(name, data) of each chunk; the checksums are verified."""
        with open(self.path, "rb") as file:
            file.seek(8)
            while len(head := file.read(8)) == 8:
                count, name = struct.unpack(">I4s", head)
                data = read_exactly(file, count, self.path)
                if file.read(4) != struct.pack(">I", zlib.crc32(name + data)):
                    raise ValueError(
                        f"{self.path} is a truncated or damaged PNG ({name.decode('latin1')}); copy it again"
                    )
                yield name, data

    def bands(self):
        inflate, raw, above, done = zlib.decompressobj(), b"", bytes(self.length), 0
        data = (data for name, data in self.chunks() if name == b"IDAT")
        while done < self.size[0]:
            count = min(BAND, self.size[0] - done)
            want = count * (self.length + 1)
            while len(raw) < want:
                packed = inflate.unconsumed_tail or next(data, None)
                if packed is None:
                    raise ValueError(f"{self.path} is a truncated PNG: it ends in row {done}; copy it again")
                raw += inflate.decompress(packed, want - len(raw))
            pixels = self.decode(above, raw[:want], count)
            above, raw, done = pixels[-1].tobytes(), raw[want:], done + count
            yield bgr(self.as_image(pixels[1:]))

    def decode(self, above, raw, count):
        """-> (count + 1, bytes of a row): the row above, and the rows without their filters."""
        header = struct.pack(">II", self.size[1], count + 1) + self.header[8:]
        body = zlib.compress(b"\0" + above + raw, 0)
        small = SIGNATURE + chunk(b"IHDR", header) + self.extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")
        with Image.open(io.BytesIO(small)) as image:
            self.palette = image.getpalette()
            return np.asarray(image).reshape(count + 1, self.length)

    def as_image(self, rows):
        channels = SAMPLES[self.colour]
        image = Image.fromarray(rows.reshape(len(rows), -1, channels) if channels > 1 else rows)
        if self.palette:
            image.putpalette(self.palette)
        return image


class RowPng:
    """Writes a grey (H, W) or RGB (H, W, 3) image of 8 or 16 bits to an open file, band after band."""

    def __init__(self, file, size, channels=1, dtype=np.uint8):
        self.file, self.channels, self.left = file, channels, size[0]
        self.dtype = np.dtype(dtype).newbyteorder(">")
        header = struct.pack(">IIBBBBB", size[1], size[0], 8 * self.dtype.itemsize, 2 if channels == 3 else 0, 0, 0, 0)
        file.write(SIGNATURE + chunk(b"IHDR", header))
        self.deflate = zlib.compressobj(3)

    def write(self, rows):
        data = np.ascontiguousarray(rows, self.dtype).reshape(len(rows), -1).view(np.uint8)
        step = self.channels * self.dtype.itemsize
        filtered = np.empty((len(rows), 1 + data.shape[1]), np.uint8)
        filtered[:, 0] = 1  # each byte minus that of the pixel on the left
        filtered[:, 1 : 1 + step] = data[:, :step]
        np.subtract(data[:, step:], data[:, :-step], out=filtered[:, 1 + step :])
        self.put(self.deflate.compress(filtered.tobytes()))
        self.left -= len(rows)

    def put(self, data):
        if data:
            self.file.write(chunk(b"IDAT", data))

    def close(self):
        if self.left:
            raise ValueError(f"{self.left} rows of the PNG were not written")
        self.put(self.deflate.flush())
        self.file.write(chunk(b"IEND", b""))
