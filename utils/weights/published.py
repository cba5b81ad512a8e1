"""What files of other code do not record: options of their networks, and how that code evaluates them.

official, serge   windows of 769x769 that overlap by a third, align_corners
mmsegmentation    by the name of the config in the file name: crop 769: such windows and align_corners, on images of
                  2049x1025; Cityscapes 512x1024: whole images; ADE20K and VOC: whole images with a short side of 512
Jittor ports      keys as in the official code: windows of 512x512; keys as in mmsegmentation: whole images and their
                  flip, unscaled
"""

import re

from models.tables import RESNET_BLOCKS

DATASETS = {19: "cityscapes", 150: "ade20k", 21: "voc"}


def network_options(layout, source, depth, counts, complete, second_stem=False):
    """Options of models.ccnet.CCNet -> (options, remarks). `counts`: blocks in each stage; `complete`: with a head;
    `second_stem`: the file has a 7x7 convolution beside its stem of three."""
    options, remarks = {}, []
    if counts != RESNET_BLOCKS[depth]:
        options["blocks"] = list(counts)
        remarks.append(f"blocks {', '.join(map(str, counts))} in its stages: a Jittor port's, not a ResNet-{depth}'s")
    if layout == "serge":
        options["activation"] = "relu"
    if layout == "torchvision":
        options["stem"] = "v1"
    if source == "jittor" and layout == "official" and complete:
        options.update(activation="none", whole_softmax=True)
        remarks.append(
            "as that Jittor port: no activation in the heads, and a softmax over the whole image, which makes its "
            "attention nearly the identity"
        )
    if source == "jittor" and layout == "mmseg" and second_stem:
        options["dilations"] = [2, 8]
        remarks.append("as the Jittor port with two stems: layer4 with dilation 8")
    return options, remarks


def mmseg_config(file, classes):
    """-> (crop, dataset, known): from a name such as ccnet_r50-d8_769x769_40k_cityscapes_20200616-ab12cd34.pth or
    ccnet_r50-d8_4xb2-40k_cityscapes-512x1024, else the usual crop of the dataset with so many classes."""
    size = re.search(r"(?<![\da-z])(\d{3,4})x(\d{3,4})(?!\d)", file)
    dataset = re.search(r"cityscapes|ade20k|voc12", file)
    name = {"voc12": "voc"}.get(dataset[0], dataset[0]) if dataset else DATASETS.get(classes)
    usual = {"cityscapes": (512, 1024)}.get(name, (512, 512))
    return (tuple(map(int, size.groups())) if size else usual), name, bool(size)


def protocol(layout, source, file, classes):
    """-> (values of utils.evaluation.protocol.record, remarks)"""
    same = {"dataset": DATASETS.get(classes), "classes": classes}
    if source == "jittor" and layout == "mmseg":
        return {**same, "crop": (512, 512), "flip": True, "align_corners": False}, []
    if source == "jittor" and layout == "official":
        remarks = ["the port's own mean leaves out class 0 and counts only the first 500 images"]
        return {**same, "crop": (512, 512), "window": (512, 512)}, remarks
    if layout in ("official", "serge"):
        return {**same, "crop": (769, 769), "window": (769, 769)}, []
    if layout != "mmseg":
        return same, []
    crop, dataset, known = mmseg_config(file, classes)
    same.update(crop=crop, dataset=dataset, align_corners=crop == (769, 769))
    if crop == (769, 769):
        same.update(window=crop, short_side=1025, long_side=2049)
    elif dataset in ("ade20k", "voc"):
        same.update(short_side=512, long_side=2048)
    remarks = [f"crop size is not in the name of the file: using {crop[0]}x{crop[1]}"] if not known else []
    return same, remarks
