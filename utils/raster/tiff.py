"""TIFF by bands of rows: the structure is read here; Pillow decodes one strip or tile at a time, as a small TIFF.

Classic and big TIFF, strips and tiles, without compression or with any that Pillow knows for 8-bit samples that are
stored pixel by pixel. `GEOREFERENCE`: the tags that say where on the earth an image is.
"""

import io
import os
import struct

import numpy as np
from PIL import Image

from utils.raster.rows import RowReader, bgr, read_exactly

HEADS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}  # the last two: big TIFF
LENGTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}  # the types of sizes and places
GEOREFERENCE = (33550, 33922, 34264, 34735, 34736, 34737, 42113)
WIDTH, HEIGHT, BITS, COMPRESSION, ORIENTATION, SAMPLES, STRIP_ROWS, PLANAR = 256, 257, 258, 259, 274, 277, 278, 284
STRIPS, STRIP_SIZES, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_SIZES = 273, 279, 322, 323, 324, 325
DECODING = (BITS, COMPRESSION, 262, 266, SAMPLES, PLANAR, 317, 320, 338, 347, 530, 532)  # what a strip needs
BAND, LARGEST = 64, 1 << 28  # rows of a band of an uncompressed file; bytes of a strip or tile


def read_tags(path):
    """-> (byte order "<" or ">", {tag: (type, count, bytes)}) of the first image of a TIFF; no tags in another file."""
    with open(path, "rb") as file:
        head = file.read(16)
        if head[:4] not in HEADS:
            return "<", {}
        order, big = HEADS[head[:4]], head[2:3] == b"+" or head[3:4] == b"+"
        place, number, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
        (at,) = struct.unpack_from(order + place, head.ljust(16, b"\0"), 8 if big else 4)
        file.seek(min(at, 1 << 62))
        (count,) = struct.unpack(order + number, read_exactly(file, struct.calcsize(number), path))
        tags, data, inline = {}, read_exactly(file, count * entry, path), struct.calcsize(place)
        for start in range(0, len(data), entry):
            tag, form, values = struct.unpack_from(order + "HH" + place, data, start)
            size, value = values * LENGTHS.get(form, 1), data[start + entry - inline : start + entry]
            if size > inline:
                file.seek(min(struct.unpack(order + place, value)[0], 1 << 62))
                value = read_exactly(file, size, path)
            tags[tag] = (form, values, value[:size])
    return order, tags


def georeference(path):
    """-> (byte order, the tags of GEOREFERENCE that the file has)."""
    order, tags = read_tags(path)
    return order, {tag: tags[tag] for tag in GEOREFERENCE if tag in tags}


def directory(order, tags, at):
    """The bytes of an image directory that stands at byte `at` of a classic TIFF."""
    entries, beyond, start = b"", b"", at + 2 + 12 * len(tags) + 4
    for tag, (form, count, value) in sorted(tags.items()):
        if len(value) > 4:
            place, beyond = struct.pack(order + "I", start + len(beyond)), beyond + value + b"\0" * (len(value) % 2)
            value = place
        entries += struct.pack(order + "HHI", tag, form, count) + value.ljust(4, b"\0")
    return struct.pack(order + "H", len(tags)) + entries + bytes(4) + beyond


def head(order, at):
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)


class TiffRows(RowReader):
    def __init__(self, path):
        self.path = path
        self.order, self.tags = read_tags(path)
        self.size = height, width = self.number(HEIGHT), self.number(WIDTH)
        samples, bits = self.number(SAMPLES, 1), set(self.numbers(BITS, (1,)))
        if bits != {8} or (self.number(PLANAR, 1) != 1 and samples > 1) or self.number(ORIENTATION, 1) != 1:
            raise ValueError("a TIFF is read by rows if it has 8 bits a sample, stored pixel by pixel, upright")
        if TILES in self.tags:
            self.block = self.number(TILE_HEIGHT), self.number(TILE_WIDTH)
            self.places, self.sizes = self.numbers(TILES), self.numbers(TILE_SIZES)
        else:
            self.block = min(self.number(STRIP_ROWS, height), height), width
            self.places, self.sizes = self.numbers(STRIPS), self.numbers(STRIP_SIZES)
        self.check_blocks()
        if TILES not in self.tags and self.number(COMPRESSION, 1) == 1 and self.block[0] > BAND:
            self.split_strips(width * samples)
        if self.block[0] * self.block[1] * samples > LARGEST or max(self.sizes) > LARGEST:
            raise ValueError(
                f"its strips or tiles of {self.block[0]}x{self.block[1]} pixels are too large to read singly"
            )
        super().__init__()

    def check_blocks(self):
        """Raises ValueError where the strips or tiles cannot be those of an image of this size."""
        height, width = self.size
        sides = min(height, width, *self.block)
        need = -(-height // self.block[0]) * -(-width // self.block[1]) if sides else 1
        if not sides or min(len(self.places), len(self.sizes)) < need:
            raise ValueError(
                f"{self.path} is a damaged TIFF: {len(self.places)} strips or tiles of {self.block[0]}x{self.block[1]} "
                f"for an image of {height}x{width} (height x width); copy it again"
            )

    def split_strips(self, row):
        """Uncompressed strips of many rows are read as strips of BAND rows. `row`: its bytes."""
        if self.size[0] * row > os.path.getsize(self.path):
            raise ValueError(
                f"{self.path} is truncated: its {self.size[0]} rows of {row} bytes are not in it; copy it again"
            )
        places, left = [], self.size[0]
        for place in self.places:
            rows = min(self.block[0], left)
            places += [(place + first * row, min(BAND, rows - first)) for first in range(0, rows, BAND)]
            left -= rows
        self.block, self.heights = (BAND, self.block[1]), [rows for _, rows in places]
        self.places, self.sizes = [place for place, _ in places], [rows * row for _, rows in places]

    def numbers(self, tag, default=None):
        if tag not in self.tags and default is not None:
            return default
        form, count, value = self.tags.get(tag, (0, 0, b""))
        if form not in NUMBERS or not count:
            raise ValueError(f"{self.path} is a damaged TIFF: its tag {tag} is missing or no number")
        return struct.unpack(f"{self.order}{count}{NUMBERS[form]}", value)

    def number(self, tag, default=None):
        return self.numbers(tag, None if default is None else (default,))[0]

    def bands(self):
        height, width = self.size
        across, tiled, top, row = -(-width // self.block[1]), TILES in self.tags, 0, 0
        with open(self.path, "rb") as file:
            while top < height:
                heights = getattr(self, "heights", None)
                rows = heights[row] if heights else min(self.block[0], height - top)
                stored = self.block[0] if tiled else rows
                blocks = [self.decode(file, row * across + k, stored)[:rows] for k in range(across)]
                yield np.ascontiguousarray(np.concatenate(blocks, 1)[:, :width])
                top, row = top + rows, row + 1

    def decode(self, file, number, rows):
        """-> strip or tile `number`, (rows, its width, 3) BGR."""
        file.seek(self.places[number])
        data = file.read(self.sizes[number])
        tags = {tag: self.tags[tag] for tag in DECODING if tag in self.tags}
        facts = {WIDTH: self.block[1], HEIGHT: rows, STRIP_ROWS: rows, STRIPS: 8, STRIP_SIZES: len(data)}
        tags.update({tag: (4, 1, struct.pack(self.order + "I", value)) for tag, value in facts.items()})
        at = 8 + len(data) + len(data) % 2
        small = head(self.order, at) + data + bytes(len(data) % 2) + directory(self.order, tags, at)
        try:
            with Image.open(io.BytesIO(small)) as image:
                return bgr(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{self.path} cannot be read in strip or tile {number} ({error}); copy it again") from None
