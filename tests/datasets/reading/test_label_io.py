"""Label files of every mode: the values are read unchanged, and faults are reported."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from support.image_files import fails, save

from datasets.reading import image_io
from datasets.reading.label_io import ColourMap, read_label


def label_file(values, path, mode=None, **options):
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    return save(image, path, **options)


def test_grey_label(scene, tmp_path):
    np.testing.assert_array_equal(read_label(label_file(scene[1], tmp_path / "a.png")), scene[1])


def test_palette_labels_are_indices(scene, tmp_path):
    path = label_file(scene[1], tmp_path / "a.png", "P")
    assert (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) != scene[1]).any()  # the fault of OpenCV
    np.testing.assert_array_equal(read_label(path), scene[1])
    small = label_file(scene[1] % 4, tmp_path / "b.png", "P", bits=2)
    np.testing.assert_array_equal(read_label(small), scene[1] % 4)


def test_16_bit_labels(scene, tmp_path):
    path = label_file(scene[1].astype(np.uint16), tmp_path / "a.png")
    assert (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) == 0).all()  # the fault of OpenCV
    np.testing.assert_array_equal(read_label(path), scene[1])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_labels_of_few_bits_are_not_stretched(scene, tmp_path, bits):
    values = scene[1] % (1 << bits)
    path = tmp_path / "a.png"
    write_grey_png(path, values, bits)
    np.testing.assert_array_equal(read_label(path), values)


def write_grey_png(path, values, bits):
    """Write a PNG of 1, 2 or 4 bits per pixel; Pillow writes only 1 bit."""
    height, width = values.shape
    split = (values[:, :, None] >> np.arange(bits - 1, -1, -1) & 1).reshape(height, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in split)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def test_label_with_alpha(scene, tmp_path):
    grey = Image.fromarray(scene[1])
    path = save(Image.merge("LA", (grey, Image.new("L", grey.size, 255))), tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(path), scene[1])
    assert image_io.NOTICES[0][0] == "label-alpha"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_label_of_equal_channels(scene, tmp_path, mode):
    path = save(Image.fromarray(np.repeat(scene[1][:, :, None], 3, 2)).convert(mode), tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(path), scene[1])


def test_coloured_labels_need_a_colour_map(scene, tmp_path):
    palette = [(number * 20, 255 - number, number) for number in range(9)]
    table = np.zeros((256, 3), np.uint8)
    table[:9] = palette
    values = np.where(scene[1] == 255, 0, scene[1])
    path = save(Image.fromarray(table[values]), tmp_path / "a.png")
    fails(["a.png", "label in colours", "classes.txt"], read_label, path)
    np.testing.assert_array_equal(read_label(path, ColourMap(palette)), values)
    fails(["a.png", "1 colours", str(palette[8]), "pixels"], read_label, path, ColourMap(palette[:8]))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_lossy_labels_are_refused_whatever_their_name(scene, tmp_path, name):
    path = tmp_path / name
    Image.fromarray(scene[1]).convert("RGB").save(path, "webp" if name == "a.webp" else "jpeg")
    fails([name, "lossy label", "must be PNG"], read_label, path)


def test_labels_in_other_formats(scene, tmp_path):
    for name in ("a.bmp", "a.tif"):
        np.testing.assert_array_equal(read_label(save(Image.fromarray(scene[1]), tmp_path / name)), scene[1])
    lossless = tmp_path / "a.webp"
    Image.fromarray(scene[1]).convert("RGB").save(lossless, lossless=True)
    np.testing.assert_array_equal(read_label(lossless), scene[1])
