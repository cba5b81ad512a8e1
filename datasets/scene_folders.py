"""Drawn scenes laid out on disk as Cityscapes, ADE20K and VOC lay theirs out: small sets for loaders and their tests.

Each function writes `count` scenes per split below `root` and returns the folder that `--data-dir` would be given.
Label files hold what the originals hold: Cityscapes ids (not train ids), ADE20K 1..150 with 0 for other, VOC palette
pictures with a 255 border around things.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from datasets import scenes

# scene class -> value in the label file; the index 255 (void) is the last entry
CITYSCAPES_IDS = {"road": 7, "pavement": 8, "building": 11, "sky": 23, "tree": 21, "car": 26, "person": 24, "sign": 20}
CITYSCAPES_IDS.update(pole=17, void=3)  # 3: out of roi
ADE20K_VALUES = {"road": 7, "pavement": 12, "building": 2, "sky": 3, "tree": 5, "car": 21, "person": 13, "sign": 44}
ADE20K_VALUES.update(pole=94, void=0)
VOC_VALUES = {"car": 7, "person": 15, "void": 255}  # the rest is background, 0


def write_cityscapes(root, count=3, size=(128, 256), seed=0, splits=("train", "val", "test")):
    """leftImg8bit/<split>/<city>/<city>_<seq>_<frame>_leftImg8bit.png and gtFine/... labelIds, instanceIds, color.

    Labels of `test` hold nothing but 3, as those of the real test set hold nothing that counts.
    """
    table, root = lookup(CITYSCAPES_IDS), Path(root)
    for split, index in numbered(splits, count):
        image, label, instance = scenes.draw_scene(seed, index, *size)
        if split == "test":
            label[:], instance[:] = scenes.IGNORE, 0
        city = {"train": "alderburg", "val": "birkenau", "test": "cedarhagen"}[split]
        stem = f"{city}_{index % 10:06d}_{19 + index:06d}"
        ids = table[label]
        numbers = np.where(instance > 0, ids.astype(np.uint16) * 1000 + instance, ids).astype(np.uint16)
        colours = np.zeros((256, 3), np.uint8)
        colours[: len(scenes.PALETTE)] = scenes.PALETTE
        labels = root / "gtFine" / split / city / stem
        write(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", Image.fromarray(image[:, :, ::-1]))
        write(f"{labels}_gtFine_labelIds.png", Image.fromarray(ids))
        write(f"{labels}_gtFine_instanceIds.png", Image.fromarray(numbers))
        write(f"{labels}_gtFine_color.png", Image.fromarray(colours[label]))
    return root


def write_ade20k(root, count=3, size=(128, 256), seed=0, splits=("training", "validation")):
    """ADEChallengeData2016/{images,annotations}/<split>/ADE_{train,val}_<number>.{jpg,png} and sceneCategories.txt."""
    table, root = lookup(ADE20K_VALUES), Path(root) / "ADEChallengeData2016"
    categories = []
    for split, index in numbered(splits, count):
        image, label, _ = scenes.draw_scene(seed, index, *size)
        stem = f"ADE_{'train' if split == 'training' else 'val'}_{index % count + 1:08d}"
        write(root / "images" / split / f"{stem}.jpg", Image.fromarray(image[:, :, ::-1]), quality=95)
        write(root / "annotations" / split / f"{stem}.png", Image.fromarray(table[label]))
        categories.append(f"{stem} street")
    (root / "sceneCategories.txt").write_text("\n".join(categories) + "\n")
    return root


def write_voc(root, count=3, size=(128, 256), seed=0, splits=("train", "val")):
    """VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,SegmentationObject}, ImageSets/Segmentation/<split>.txt."""
    table, root = lookup(VOC_VALUES), Path(root) / "VOCdevkit" / "VOC2012"
    names = {split: [] for split in splits}
    for split, index in numbered(splits, count):
        image, label, instance = scenes.draw_scene(seed, index, *size)
        things = table[label]
        things[label == scenes.IGNORE] = 0
        objects = np.where(things > 0, instance, 0).astype(np.uint8)
        kernel = np.ones((3, 3), np.uint8)
        border = cv2.dilate(objects, kernel) != cv2.erode(objects, kernel)  # a void line around every object
        things[border], objects[border] = 255, 255
        stem = f"2007_{index:06d}"
        write(root / "JPEGImages" / f"{stem}.jpg", Image.fromarray(image[:, :, ::-1]), quality=95)
        for folder, values in (("SegmentationClass", things), ("SegmentationObject", objects)):
            picture = Image.fromarray(values)
            picture.putpalette(voc_palette().tobytes())  # mode P: the values are indices
            write(root / folder / f"{stem}.png", picture)
        names[split].append(stem)
    if {"train", "val"} <= set(names):
        names["trainval"] = sorted(names["train"] + names["val"])
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    for split, stems in names.items():
        (lists / f"{split}.txt").write_text("\n".join(stems) + "\n")
    return root


LAYOUTS = {"cityscapes": write_cityscapes, "ade20k": write_ade20k, "voc": write_voc}


def numbered(splits, count):
    """(split, scene number): no scene stands in two splits."""
    return [(split, number * count + k) for number, split in enumerate(splits) for k in range(count)]


def lookup(values):
    """Table of 256 entries from scene labels to file values; classes that are not named become 0."""
    table = np.zeros(256, np.uint8)
    for number, name in enumerate(scenes.NAMES):
        table[number] = values.get(name, 0)
    table[scenes.IGNORE] = values["void"]
    return table


def voc_palette():
    """The 256 colours of the VOC devkit: the bits of the class number dealt out to red, green and blue."""
    colours = np.zeros((256, 3), np.uint8)
    for number in range(256):
        for bit in range(8):
            for channel in range(3):
                colours[number, channel] |= ((number >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours


def write(path, picture, **options):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
