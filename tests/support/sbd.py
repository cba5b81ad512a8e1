"""A small copy of SBD, with masks as MATLAB files."""

import struct
import zlib

import numpy as np
from PIL import Image
from support.scene_roots import SEED

from datasets.scenes import folders
from datasets.scenes.dataset import draw_scene


def mat_file(values, compressed):
    """A .mat file as SBD's: GTcls, a struct with Boundaries (skipped), Segmentation and CategoriesPresent."""

    def element(number, data):
        return struct.pack("<II", number, len(data)) + data + b"\0" * (-len(data) % 8)

    def small(number, data):
        return struct.pack("<HH", number, len(data)) + data.ljust(4, b"\0")

    def array(name, prefix, flag, content, shape):
        head = element(6, struct.pack("<II", flag, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
        return element(14, head + (small(1, name) if 0 < len(name) <= 4 else element(1, name)) + prefix + content)

    height, width = values.shape
    fields = [
        array(b"", b"", 1, array(b"", b"", 9, small(2, b"\1"), (1, 1)), (1, 1)),  # a MATLAB cell
        array(b"", b"", 9, element(2, values.tobytes("F")), (height, width)),
        array(b"", b"", 9, small(2, b"\7"), (1, 1)),
    ]
    names = b"".join(name.ljust(32, b"\0") for name in (b"Boundaries", b"Segmentation", b"CategoriesPresent"))
    struct_ = array(b"GTcls", b"", 2, small(5, struct.pack("<i", 32)) + element(1, names) + b"".join(fields), (1, 1))
    if compressed:
        packed = zlib.compress(struct_)
        struct_ = struct.pack("<II", 15, len(packed)) + packed
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + struct_


def write_sbd(sbd, voc):
    """cls/*.mat, train.txt, val.txt of four images: two of VOC train and val, and two others. -> {name: mask}"""
    (sbd / "cls").mkdir(parents=True)
    masks = {}
    for index, name in enumerate(("2007_000000", "2007_000003", "2008_000100", "2008_000101")):
        image, label, _ = draw_scene(SEED, 20 + index, 47, 95)
        folders.write(voc / "JPEGImages" / f"{name}.jpg", Image.fromarray(image))
        masks[name] = np.where(label == 255, 0, label).astype(np.uint8)
        (sbd / "cls" / f"{name}.mat").write_bytes(mat_file(masks[name], compressed=index % 2))
    (sbd / "train.txt").write_text("2007_000000\n2008_000100\n")
    (sbd / "val.txt").write_text("2007_000003\n2008_000101\n")
    return masks
