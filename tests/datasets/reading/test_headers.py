"""Impossible image headers are refused before anything is decoded."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from datasets.reading import headers
from datasets.reading.image_io import DataError, read_image
from datasets.reading.label_io import read_label


def png(width, height, data=b"\0" * 64, spoilt=False):
    fields = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    check = struct.pack(">I", zlib.crc32(fields) ^ spoilt)
    body = b"IDAT" + zlib.compress(data)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return headers.PNG + struct.pack(">I", 13) + fields + check + chunk


def jpeg(width, height):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (9, 99, 199)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp(width, height):
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "BMP")
    data = bytearray(file.getvalue())
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(30000, 30000, spoilt=True), "header is damaged: it states 30000x30000.*checksum does not match"),
        (png(300, 300, spoilt=True), "header is damaged"),
        (png(30000, 30000), "too short for the 30000x30000 pixels"),
        (png(1 << 17, 1 << 17), "131072x131072 .*more than 1073741824 pixels.*OPENCV_IO_MAX_IMAGE_PIXELS"),
        (jpeg(30000, 30000), "truncated or damaged JPEG, too short for the 30000x30000"),
        (jpeg(65000, 65000), "too short|more than 1073741824 pixels"),
        (bmp(30000, -30000), "truncated or damaged BMP, too short for the 30000x30000"),
        (headers.PNG + b"\0" * 10, "truncated or damaged"),
    ],
)
def test_an_impossible_header_is_refused_at_once(tmp_path, content, words):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    start = time.process_time()
    for read in (read_image, read_label):
        with pytest.raises(DataError, match=f"(?s)image.png (does not decode|is a lossy).*({words}|JPEG)"):
            read(path)
    with pytest.raises(DataError, match=f"image.png does not decode.*({words})"):
        read_image(path)
    assert time.process_time() - start < 0.5  # decoding any of these takes seconds


def test_an_image_that_does_not_fit_in_memory_is_an_error_with_its_size(monkeypatch):
    monkeypatch.setattr(headers, "free_memory", lambda: 3 << 30)
    large = np.frombuffer(png(30000, 30000, bytes(1)) + bytes(3 << 20), np.uint8)  # long enough to be plausible
    assert "30000x30000 (width x height) needs 3.6 GB of memory, and 3.2 GB are free" in headers.refuse(large)
    monkeypatch.setattr(headers, "free_memory", lambda: 5 << 30)
    assert headers.refuse(large) is None


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_images_of_one_colour_the_shortest_files_are_accepted(mode):
    if mode == "I;16":
        image = Image.fromarray(np.zeros((4000, 5000), np.uint16))
    else:
        image = Image.new(mode, (5000, 4000))
    for name in ("PNG", "JPEG", "BMP"):
        if name == "JPEG" and mode not in ("L", "RGB") or name == "BMP" and mode not in ("1", "L", "P", "RGB"):
            continue
        for options in ({"optimize": True}, {"progressive": True}) if name == "JPEG" else ({"optimize": True},):
            file = io.BytesIO()
            image.save(file, name, **options)
            assert headers.refuse(np.frombuffer(file.getvalue(), np.uint8)) is None, (name, options)


def test_a_large_jpeg_of_one_colour_is_accepted():
    file = io.BytesIO()
    Image.new("L", (9000, 9000)).save(file, "JPEG", quality=1, optimize=True, progressive=True)
    assert 81e6 > headers.LARGE and headers.refuse(np.frombuffer(file.getvalue(), np.uint8)) is None
