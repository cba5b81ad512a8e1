"""Check the header of an image file before decoding.

An impossible header (its checksum does not match, or the file is far too short for the stated number of pixels) is
refused at once; decoding would first allocate and fill gigabytes. An image that needs more than the free memory is
refused, too.
"""

import os
import struct
import zlib

PNG = b"\x89PNG\r\n\x1a\n"
PIXEL_LIMIT = int(os.environ.get("OPENCV_IO_MAX_IMAGE_PIXELS", 1 << 30))  # OpenCV's limit, also set for Pillow
LARGE = 1 << 26  # pixels; below this, decoding takes less than a second whatever the header states
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of the colour types of PNG
DEFLATE = 1032  # the highest compression ratio of deflate
JPEG_PIXELS = 512  # highest number of pixels per byte: a block of 8x8 takes at least one bit


def refuse(data):
    """-> the reason not to decode this file (bytes as a uint8 array), or None."""
    head = data[:64].tobytes()
    if head[:8] == PNG:
        size, fault = png_claim(data, head)
    elif head[:2] == b"\xff\xd8":
        size, fault = jpeg_claim(data)
    elif head[:2] == b"BM":
        size, fault = bmp_claim(data, head)
    else:
        return None
    return fault or (too_large(*size) if size else None)


def png_size(data):
    """(height, width) from the header, None if the file is not a PNG."""
    if data.size < 33 or data[:8].tobytes() != PNG:
        return None
    width, height = struct.unpack(">II", data[16:24].tobytes())
    return height, width


def png_claim(data, head):
    """-> ((height, width) or None, fault or None)."""
    if data.size < 33 or head[12:16] != b"IHDR":
        return None, "a truncated or damaged PNG; copy it again"
    height, width = png_size(data)
    if zlib.crc32(head[12:29]) != struct.unpack(">I", head[29:33])[0]:
        text = f"a PNG whose header is damaged: it states {width}x{height} pixels (width x height), and its checksum"
        return None, f"{text} does not match; copy it again"
    need = width * height * head[24] * CHANNELS.get(head[25], 1) / 8
    if width * height <= PIXEL_LIMIT and need > DEFLATE * data.size:
        return None, too_short("PNG", width, height)
    return (height, width), None


def jpeg_claim(data):
    size, coding = jpeg_frame(data)
    if size and size[0] * size[1] > JPEG_PIXELS * data.size and size[0] * size[1] > LARGE and coding < 0xC8:
        return None, too_short("JPEG", size[1], size[0])
    return size, None


def jpeg_frame(data):
    """-> ((height, width), marker) of the first frame header; (None, 0) if there is none."""
    at = 2
    while at + 9 <= data.size and data[at] == 0xFF:
        marker = int(data[at + 1])
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return struct.unpack(">HH", data[at + 5 : at + 9].tobytes()), marker
        if marker == 0xDA:
            break
        at += 2 + int(data[at + 2]) * 256 + int(data[at + 3])
    return None, 0


def bmp_claim(data, head):
    if data.size < 54 or struct.unpack("<I", head[14:18])[0] < 40:
        return None, None
    width, height, _, bits, compression = struct.unpack("<iiHHI", head[18:34])
    size = abs(height), abs(width)
    if compression == 0 and size[0] * size[1] * bits / 8 > data.size:
        return None, too_short("BMP", size[1], size[0])
    return size, None


def too_short(name, width, height):
    return f"a truncated or damaged {name}, too short for the {width}x{height} pixels of its header; copy it again"


def too_large(height, width):
    """The reason not to decode an image of this size, or None."""
    pixels = height * width
    if pixels > PIXEL_LIMIT:
        return (
            f"{width}x{height} (width x height), more than {PIXEL_LIMIT} pixels; to allow it, set the environment "
            "variable OPENCV_IO_MAX_IMAGE_PIXELS"
        )
    need = 4 * pixels  # image and label
    if pixels > LARGE and need > 0.9 * free_memory():
        return (
            f"{width}x{height} (width x height) needs {need / 1e9:.1f} GB of memory, and {free_memory() / 1e9:.1f} GB "
            "are free; cut it into tiles or scale it down"
        )
    return None


def free_memory():
    """Bytes of available memory, within the limit of the control group."""
    with open("/proc/meminfo") as file:
        free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    for folder, limit, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            with open(f"{folder}/{limit}") as first, open(f"{folder}/{used}") as second:
                free = min(free, int(first.read()) - int(second.read()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return max(free, 0)
