"""Read images: the pixels are right, or a DataError names the fault of the file.

OpenCV alone fills the end of a truncated JPEG with grey and returns None for most other damage; Pillow alone clips
16-bit images. So the bytes are checked first. Labels are read in label_io.py.
"""

import functools
import io
import os
import struct
import time
import zlib

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets.reading.headers import PIXEL_LIMIT, PNG, png_size, refuse

Image.MAX_IMAGE_PIXELS = PIXEL_LIMIT // 2  # Pillow refuses above twice this
AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
NOTICES = []  # (topic, text) of irregular but accepted files; base.py prints each topic once


class DataError(ValueError):
    """A fault in the data; the message has path, value, cause and fix."""


class NoSplit(DataError):
    """The dataset does not have the requested split; the message names the splits that it has."""


def read_bytes(path, tries=3):
    """The file as a uint8 array. A failed read, as on a busy network folder, is tried again."""
    for attempt in range(tries):
        try:
            with open(path, "rb") as file:
                data = np.frombuffer(bytearray(file.read()), np.uint8)
            break
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            if os.path.islink(path):
                raise DataError(f"{path} is a dangling link to {os.readlink(path)}; restore its target") from None
            raise DataError(f"{path} is missing or not a file; check --data-dir and the list of the split") from None
        except OSError as error:
            if attempt == tries - 1:
                raise DataError(
                    f"{path} cannot be read after {tries} tries ({error.strerror}); check permissions, disk and network"
                ) from None
            time.sleep(0.1 * (attempt + 1))
    if data.size == 0:
        raise DataError(f"{path} is empty (0 bytes); copy it again")
    return data


def read_checked(path):
    """The bytes of an image file whose header is plausible and whose pixels fit in memory."""
    data = read_bytes(path)
    if cause := refuse(data):
        raise undecodable(data, path, cause)
    return data


def retry_while_written(read):
    """A decorator: a file that fails to decode and has changed meanwhile is read again, up to three times in all."""

    @functools.wraps(read)
    def again(path, *arguments, **options):
        for attempt in range(3):
            before = state(path)
            try:
                return read(path, *arguments, **options)
            except DataError:
                time.sleep(0.1)
                if attempt == 2 or state(path) == before:
                    raise

    return again


def state(path):
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def read_image(path):
    """-> (H, W, 3) uint8 BGR, as stored; the EXIF orientation is ignored."""
    return read_pixels(path)[0]


@retry_while_written
def read_pixels(path, rows=None, label_size=None):
    """-> (pixels (H, W, 3) uint8 BGR, size of the image). Its EXIF orientation is applied only if the label fits only
    then.

    With `rows`, at least so many rows from the top are returned; the rest of a PNG is then not decompressed.
    """
    data = read_checked(path)
    size = png_size(data)
    if rows and size and size == label_size and rows < 0.9 * size[0] and tuple(data[[24, 25, 28]]) == (8, 2, 0):
        return top_of_png(data, rows, path), size  # 8 bits, RGB, not interlaced
    info = jpeg_info(data, path) if data[:2].tobytes() == b"\xff\xd8" else None
    if info and not info["complete"]:
        data = np.append(data, np.uint8((0xFF, 0xD9)))
    image = decode(data, AS_STORED, path)
    if image is None:
        image = decode_with_pillow(data, path)
    if info and not info["complete"]:
        if (
            info["progressive"] or (np.abs(image[-4:, -4:].astype(int) - 128) <= 1).all()
        ):  # the grey that libjpeg fills in
            raise DataError(f"{path} is a truncated JPEG ({data.size - 2} bytes, the end is missing); copy it again")
        NOTICES.append(("jpeg-end", f"{path} lacks the JPEG end marker, but its pixels are complete"))
    if label_size and image.shape[:2] != label_size and image.shape[1::-1] == label_size:
        turned = decode(data, cv2.IMREAD_COLOR, path)
        if turned is not None and turned.shape[:2] == label_size:
            NOTICES.append(("exif", f"{path} is rotated by its EXIF orientation, because only then it fits its label"))
            return turned, turned.shape[:2]
    return image, image.shape[:2]


def top_of_png(data, rows, path):
    """The first rows: Pillow stops at the height in the header, OpenCV would decompress the whole file."""
    fields = data[16:20].tobytes() + struct.pack(">I", rows) + data[24:29].tobytes()
    data[16:33] = np.frombuffer(fields + struct.pack(">I", zlib.crc32(b"IHDR" + fields)), np.uint8)
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = image.tobytes("raw", "BGR")
    except Exception as error:
        raise broken(data, path, error) from None
    return np.frombuffer(pixels, np.uint8).reshape(rows, -1, 3)


def decode(data, flag, path):
    try:
        return cv2.imdecode(data, flag)
    except cv2.error as error:
        raise broken(data, path, error) from None


def decode_with_pillow(data, path):
    """For formats that OpenCV does not read (AVIF, some TIFFs)."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format in ("PNG", "JPEG"):  # OpenCV reads these, so the file is damaged
                raise broken(data, path)
            if image.mode.startswith("I;16"):
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    except DataError:
        raise
    except Exception as error:
        raise broken(data, path, error) from None


def broken(data, path, error=None):
    """The DataError for a file that does not decode: size, first bytes and the probable cause."""
    head = data[:200].tobytes()
    text = head.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        cause = "it is a git-lfs pointer; run `git lfs pull` in its repository"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml")):
        cause = "it is a web page, saved in place of the image; download it again"
    elif isinstance(error, Image.DecompressionBombError):
        cause = f"more than {PIXEL_LIMIT} pixels; to allow it, set the environment variable OPENCV_IO_MAX_IMAGE_PIXELS"
    elif head[:8] == PNG:
        cause = "a truncated or damaged PNG; copy it again"
    elif isinstance(error, UnidentifiedImageError) or error is None:
        cause = "not a known image format"
    else:
        cause = f"{type(error).__name__}: {str(error)[:100]}; copy it again"
    return undecodable(data, path, cause)


def undecodable(data, path, cause):
    return DataError(f"{path} does not decode ({data.size} bytes, beginning {data[:12].tobytes()!r}): {cause}")


def jpeg_info(data, path):
    """{complete, progressive}; complete: the image data, not only a thumbnail, ends with an end marker."""
    raw, at, progressive = data.tobytes(), 2, False
    while at + 4 <= len(raw) and raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in (0xC2, 0xC6, 0xCA, 0xCE):
            progressive = True
        if marker == 0xDA:  # start of scan; from here on 0xFF is followed by 0 unless it is a marker
            return {"complete": raw.find(b"\xff\xd9", at) >= 0, "progressive": progressive}
        at += 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    raise DataError(f"{path} is a JPEG of {len(raw)} bytes that ends within its headers; copy it again")
