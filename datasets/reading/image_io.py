"""Decoding that never lies: a picture comes back right, or a DataError says what is wrong with the file.

OpenCV alone returns a grey bottom for a truncated JPEG and None for most other damage; Pillow alone clips 16-bit
pictures. So the bytes are looked at first. Labels are read in label_io.py.
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
NOTICES = []  # (kind, text): things accepted but worth a word; whoever runs the show says each kind once


class DataError(ValueError):
    """Something in the data is wrong; the message has path, value, cause and fix."""


class NoSplit(DataError):
    """The dataset lacks the split that is asked for; the message names those that it has."""


def read_bytes(path, tries=3):
    """The file as a uint8 array. A read that fails on a busy network folder is tried again."""
    for attempt in range(tries):
        try:
            with open(path, "rb") as file:
                data = np.frombuffer(bytearray(file.read()), np.uint8)
            break
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            if os.path.islink(path):
                raise DataError(f"{path} is a dangling link to {os.readlink(path)}; restore its target") from None
            raise DataError(f"{path} is missing or no file; check --data-dir and the list of the split") from None
        except OSError as error:
            if attempt == tries - 1:
                raise DataError(
                    f"{path} cannot be read after {tries} tries ({error.strerror}); check permissions, disk and network"
                ) from None
            time.sleep(0.1 * (attempt + 1))
    if data.size == 0:
        raise DataError(f"{path} is empty (0 bytes); copy it again")
    return data


def read_plausible(path):
    """The bytes of an image whose header may be true, and which fits in memory."""
    data = read_bytes(path)
    if cause := refuse(data):
        raise undecodable(data, path, cause)
    return data


def patient(read):
    """A file that fails to decode and has changed meanwhile is being written: it is read again, three times in all."""

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
    """-> (H, W, 3) uint8 BGR, as stored, whatever its EXIF orientation says."""
    return read_picture(path)[0]


@patient
def read_picture(path, rows=None, label_size=None):
    """-> pixels (H, W, 3) uint8 BGR, size of the picture. Its EXIF orientation counts only where it must to fit a
    label.

    With `rows`, only so many rows from the top need to come back: of a PNG the rest is then not even inflated.
    """
    data = read_plausible(path)
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
        if info["progressive"] or (np.abs(image[-4:, -4:].astype(int) - 128) <= 1).all():  # what libjpeg fills in
            raise DataError(f"{path} is a truncated JPEG ({data.size - 2} bytes, the end is missing); copy it again")
        NOTICES.append(("jpeg-end", f"{path} lacks the JPEG end marker, but its pixels are complete"))
    if label_size and image.shape[:2] != label_size and image.shape[1::-1] == label_size:
        turned = decode(data, cv2.IMREAD_COLOR, path)
        if turned is not None and turned.shape[:2] == label_size:
            NOTICES.append(("exif", f"{path} is turned by its EXIF orientation, because only so it fits its label"))
            return turned, turned.shape[:2]
    return image, image.shape[:2]


def top_of_png(data, rows, path):
    """The first rows: Pillow stops inflating at the height that the header claims, OpenCV would go on to the end."""
    fields = data[16:20].tobytes() + struct.pack(">I", rows) + data[24:29].tobytes()
    data[16:33] = np.frombuffer(fields + struct.pack(">I", zlib.crc32(b"IHDR" + fields)), np.uint8)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            pixels = picture.tobytes("raw", "BGR")
    except Exception as error:
        raise broken(data, path, error) from None
    return np.frombuffer(pixels, np.uint8).reshape(rows, -1, 3)


def decode(data, flag, path):
    try:
        return cv2.imdecode(data, flag)
    except cv2.error as error:
        raise broken(data, path, error) from None


def decode_with_pillow(data, path):
    """For what OpenCV cannot read (AVIF, odd TIFFs): Pillow reads it, or says why not."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.format in ("PNG", "JPEG"):  # OpenCV knows these: it is damaged
                raise broken(data, path)
            if picture.mode.startswith("I;16"):
                grey = (np.asarray(picture) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])
    except DataError:
        raise
    except Exception as error:
        raise broken(data, path, error) from None


def broken(data, path, error=None):
    """The DataError for a file that does not decode: size, first bytes, and what these give away."""
    head = data[:200].tobytes()
    text = head.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        cause = "it is a git-lfs pointer; run `git lfs pull` in its repository"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml")):
        cause = "it is a web page, saved in place of the picture; download it again"
    elif isinstance(error, Image.DecompressionBombError):
        cause = f"more than {PIXEL_LIMIT} pixels; if it is meant, set OPENCV_IO_MAX_IMAGE_PIXELS in the environment"
    elif head[:8] == PNG:
        cause = "a PNG that is truncated or damaged; copy it again"
    elif isinstance(error, UnidentifiedImageError) or error is None:
        cause = "no picture format that is known here"
    else:
        cause = f"{type(error).__name__}: {str(error)[:100]}; copy it again"
    return undecodable(data, path, cause)


def undecodable(data, path, cause):
    return DataError(f"{path} does not decode ({data.size} bytes, beginning {data[:12].tobytes()!r}): {cause}")


def jpeg_info(data, path):
    """{complete, progressive}: does the coded picture end with its end marker? (A thumbnail's does not count.)"""
    raw, at, progressive = data.tobytes(), 2, False
    while at + 4 <= len(raw) and raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in (0xC2, 0xC6, 0xCA, 0xCE):
            progressive = True
        if marker == 0xDA:  # the scan begins; from here 0xFF is followed by 0 unless it is a marker
            return {"complete": raw.find(b"\xff\xd9", at) >= 0, "progressive": progressive}
        at += 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    raise DataError(f"{path} is a JPEG of {len(raw)} bytes that ends within its headers; copy it again")
