"""Drawn scenes laid out on disk as the data sets here lay theirs out: small sets for loaders and their tests.

Each function writes `count` scenes per split below `root` and returns the folder that `--data-dir` would be given.
Label files hold what the originals hold: Cityscapes ids (not train ids), ADE20K 1..150 with 0 for other, VOC palette
pictures with a 255 border around things, CamVid colours, COCO category ids minus 1.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from datasets.scenes import dataset
from models.tables import devkit_palette

# scene class -> value in the label file; the index 255 (void) is the last entry
CITYSCAPES_IDS = {"road": 7, "pavement": 8, "building": 11, "sky": 23, "tree": 21, "car": 26, "person": 24, "sign": 20}
CITYSCAPES_IDS.update(pole=17, void=3)  # 3: out of roi
ADE20K_VALUES = {"road": 7, "pavement": 12, "building": 2, "sky": 3, "tree": 5, "car": 21, "person": 13, "sign": 44}
ADE20K_VALUES.update(pole=94, void=0)
VOC_VALUES = {"car": 7, "person": 15, "void": 255}  # the rest is background, 0
COCO_VALUES = {"road": 148, "pavement": 139, "building": 95, "sky": 156, "tree": 168, "car": 2, "person": 0, "sign": 12}
COCO_VALUES.update(pole=163, void=255)
SEGNET_VALUES = {"road": 3, "pavement": 4, "building": 1, "sky": 0, "tree": 5, "car": 8, "person": 9, "sign": 6}
SEGNET_VALUES.update(pole=2, void=11)
CAMVID_COLOURS = {  # of the original label pictures
    "road": (128, 64, 128),
    "pavement": (0, 0, 192),
    "building": (128, 0, 0),
    "sky": (128, 128, 128),
    "tree": (128, 128, 0),
    "car": (64, 0, 128),
    "person": (64, 64, 0),
    "sign": (192, 128, 128),
    "pole": (192, 192, 128),
    "void": (0, 0, 0),
}
LIP_VALUES = {"person": 14, "car": 5, "void": 255}  # the rest is background; people become left and right arms


def write_cityscapes(root, count=3, size=(128, 256), seed=0, splits=("train", "val", "test")):
    """leftImg8bit/<split>/<city>/<city>_<seq>_<frame>_leftImg8bit.png and gtFine/... labelIds, instanceIds, color.

    Labels of `test` hold nothing but 3, as those of the real test set hold nothing that counts.
    """
    table, root = lookup(CITYSCAPES_IDS), Path(root)
    for split, index in numbered(splits, count):
        image, label, instance = dataset.draw_scene(seed, index, *size)
        if split == "test":
            label[:], instance[:] = dataset.IGNORE, 0
        city = {"train": "alderburg", "val": "birkenau", "test": "cedarhagen"}[split]
        stem = f"{city}_{index % 10:06d}_{19 + index:06d}"
        ids = table[label]
        numbers = np.where(instance > 0, ids.astype(np.uint16) * 1000 + instance, ids).astype(np.uint16)
        colours = np.zeros((256, 3), np.uint8)
        colours[: len(dataset.PALETTE)] = dataset.PALETTE
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
        image, label, _ = dataset.draw_scene(seed, index, *size)
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
        image, label, instance = dataset.draw_scene(seed, index, *size)
        things = table[label]
        things[label == dataset.IGNORE] = 0
        objects = np.where(things > 0, instance, 0).astype(np.uint8)
        kernel = np.ones((3, 3), np.uint8)
        border = cv2.dilate(objects, kernel) != cv2.erode(objects, kernel)  # a void line around every object
        things[border], objects[border] = 255, 255
        stem = f"2007_{index:06d}"
        write(root / "JPEGImages" / f"{stem}.jpg", Image.fromarray(image[:, :, ::-1]), quality=95)
        for folder, values in (("SegmentationClass", things), ("SegmentationObject", objects)):
            picture = Image.fromarray(values)
            picture.putpalette(np.array(devkit_palette(256), np.uint8).tobytes())  # mode P: the values are indices
            write(root / folder / f"{stem}.png", picture)
        names[split].append(stem)
    if {"train", "val"} <= set(names):
        names["trainval"] = sorted(names["train"] + names["val"])
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    for split, stems in names.items():
        (lists / f"{split}.txt").write_text("\n".join(stems) + "\n")
    return root


def camvid_stem(split, number):
    """Names with the sequence and the frame, as the original's; their splits follow from them."""
    return {"train": "0006R0_f%05d", "val": "0016E5_%05d", "test": "Seq05VD_f%05d"}[split] % (
        7959 + 2 * number if split == "val" else 930 + 30 * number
    )


def write_camvid(root, count=3, size=(128, 256), seed=0, splits=("train", "val", "test")):
    """701_StillsRaw_full/<frame>.png and LabeledApproved_full/<frame>_L.png, painted in the colours of 32 classes."""
    root, colours = Path(root), np.zeros((256, 3), np.uint8)
    for number, name in enumerate(dataset.NAMES):
        colours[number] = CAMVID_COLOURS[name]
    for split, index in numbered(splits, count):
        image, label, _ = dataset.draw_scene(seed, index, *size)
        stem = camvid_stem(split, index % count)
        write(root / "701_StillsRaw_full" / f"{stem}.png", Image.fromarray(image[:, :, ::-1]))
        write(root / "LabeledApproved_full" / f"{stem}_L.png", Image.fromarray(colours[label]))
    return root


def write_segnet(root, count=3, size=(128, 256), seed=0, splits=("train", "val", "test")):
    """CamVid as SegNet has it: <split>/<frame>.png, <split>annot/<frame>.png with 0..11, <split>.txt of foreign
    paths."""
    table, root = lookup(SEGNET_VALUES), Path(root)
    lines = {split: [] for split in splits}
    for split, index in numbered(splits, count):
        image, label, _ = dataset.draw_scene(seed, index, *size)
        stem = camvid_stem(split, index % count)
        write(root / split / f"{stem}.png", Image.fromarray(image[:, :, ::-1]))
        write(root / f"{split}annot" / f"{stem}.png", Image.fromarray(table[label]))
        lines[split].append(f"/SegNet/CamVid/{split}/{stem}.png /SegNet/CamVid/{split}annot/{stem}.png")
    for split, text in lines.items():
        (root / f"{split}.txt").write_text("\n".join(text) + "\n")
    return root


def write_lip(root, count=3, size=(128, 256), seed=0, splits=("train", "val")):
    """<split>_images/<id>.jpg and <split>_segmentations/<id>.png; of each person one half is class 14, the other 15."""
    table, root = lookup(LIP_VALUES), Path(root)
    for split, index in numbered(splits, count):
        image, label, instance = dataset.draw_scene(seed, index, *size)
        parts = table[label]
        for number in np.unique(instance[parts == 14]):
            here = np.where((instance == number) & (parts == 14))
            parts[here] = np.where(here[1] < here[1].mean(), 14, 15)
        write(root / f"{split}_images" / f"{index:06d}.jpg", Image.fromarray(image[:, :, ::-1]), quality=95)
        write(root / f"{split}_segmentations" / f"{index:06d}.png", Image.fromarray(parts))
    return root


def write_coco_stuff(root, count=3, size=(128, 256), seed=0, splits=("train2017", "val2017")):
    """images/<split>/<id>.jpg and annotations/<split>/<id>.png."""
    table, root = lookup(COCO_VALUES), Path(root)
    for split, index in numbered(splits, count):
        image, label, _ = dataset.draw_scene(seed, index, *size)
        write(root / "images" / split / f"{index:012d}.jpg", Image.fromarray(image[:, :, ::-1]), quality=95)
        write(root / "annotations" / split / f"{index:012d}.png", Image.fromarray(table[label]))
    return root


def write_folder(root, count=3, size=(128, 256), seed=0, splits=("train", "val")):
    """images/<split>, labels/<split> and classes.txt with names and colours."""
    root = Path(root)
    for split, index in numbered(splits, count):
        image, label, _ = dataset.draw_scene(seed, index, *size)
        write(root / "images" / split / f"scene{index}.png", Image.fromarray(image[:, :, ::-1]))
        write(root / "labels" / split / f"scene{index}.png", Image.fromarray(label))
    lines = [f"{name} {r} {g} {b}" for name, (r, g, b) in zip(dataset.NAMES, dataset.PALETTE)]
    (root / "classes.txt").write_text("\n".join(lines) + "\n")
    return root


LAYOUTS = {
    "cityscapes": write_cityscapes,
    "ade20k": write_ade20k,
    "voc": write_voc,
    "camvid": write_camvid,
    "segnet": write_segnet,
    "lip": write_lip,
    "coco_stuff": write_coco_stuff,
    "folder": write_folder,
}


def numbered(splits, count):
    """(split, scene number): no scene stands in two splits."""
    return [(split, number * count + k) for number, split in enumerate(splits) for k in range(count)]


def lookup(values):
    """Table of 256 entries from scene labels to file values; classes that are not named become 0."""
    table = np.zeros(256, np.uint8)
    for number, name in enumerate(dataset.NAMES):
        table[number] = values.get(name, 0)
    table[dataset.IGNORE] = values["void"]
    return table


def write(path, picture, **options):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
