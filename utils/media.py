"""Image files of any mode and orientation, and the frames of videos."""

import os

import cv2
import numpy as np
from PIL import Image, ImageOps

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".avif")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


def read_upright(path):
    """-> (H, W, 3) uint8 BGR, turned by its EXIF orientation. A ValueError describes what is wrong with the file."""
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith(("I", "F")):
                grey = np.asarray(image)
                if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 65535:
                    raise ValueError(f"its values, {grey.min():g} to {grey.max():g}, are not grey levels")
                rgb = np.repeat((grey >> 8 if grey.max() > 255 else grey).astype(np.uint8)[:, :, None], 3, axis=2)
            else:
                rgb = np.asarray(image.convert("RGB"))  # alpha is dropped, not blended
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error})") from None
    return np.ascontiguousarray(rgb[:, :, ::-1])


def reader(read_bands, facts):
    """A function path -> image, for a network with these facts, {} or {"channels", "value_range"}: read_bands(path, **)
    reads images of another number of channels than three."""
    return (lambda path: read_bands(path, **facts)) if facts else read_upright


def size_of(path):
    """(height, width) from the header, not rotated, of any size; None if it cannot be read."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # reading the pixels reports it
        return None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def find(inputs, without=None, images=IMAGES):
    """Files and folders -> (images and videos, other paths). Files count with any ending; in folders the ending
    decides, and the folder `without` is left out. Each as (path, name of the files to write)."""
    files, others = [], []
    for given in inputs:
        if not os.path.isdir(given):
            files.append((given, os.path.splitext(os.path.basename(given))[0]))
            continue
        for folder, below, names in os.walk(given, followlinks=False):
            below[:] = sorted(
                name for name in below if name[0] != "." and not same(os.path.join(folder, name), without)
            )
            for name in sorted(names):
                path = os.path.join(folder, name)
                wanted = name.lower().endswith((*images, *VIDEOS)) and name[0] != "."
                (files if wanted else others).append((path, os.path.splitext(os.path.relpath(path, given))[0]))
    return distinct(files), [path for path, _ in others]


def same(folder, other):
    return other is not None and os.path.realpath(folder) == os.path.realpath(other)


def distinct(files):
    """a.png and a.jpg would be written to the same files: such names keep their ending, or get a number."""
    names = [name for _, name in files]
    result, taken = [], set()
    for path, name in files:
        if names.count(name) > 1:
            name += os.path.splitext(path)[1].replace(".", "_")
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        result.append((path, unique))
    return result


def is_video(path):
    return os.path.splitext(path)[1].lower() in VIDEOS


def open_video(path):
    capture = cv2.VideoCapture(path)
    if not os.path.isfile(path) or not capture.isOpened():
        raise ValueError(f"{path} cannot be read as a video (does it exist? does OpenCV's FFmpeg know its codec?)")
    return capture


def video_facts(path):
    """-> (frames a second, number of frames as the file has it, 0 if it does not)."""
    capture = open_video(path)
    facts = capture.get(cv2.CAP_PROP_FPS) or 25.0, max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    capture.release()
    return facts


class FrameReader:
    """reader(k), k = 0, 1, .. -> a frame (H, W, 3) BGR, or None after the last. Opened by whichever process reads."""

    def __init__(self, path):
        self.path, self.capture = path, None

    def __call__(self, number):
        self.capture = self.capture or open_video(self.path)
        good, frame = self.capture.read()
        return frame if good else None


def video_writer(path, size, rate):
    """MPEG-4; size (height, width)."""
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), rate, (size[1], size[0]))
    if not writer.isOpened():
        raise OSError(f"OpenCV cannot write {path}; is --save-dir writable, and has this OpenCV FFmpeg?")
    return writer
