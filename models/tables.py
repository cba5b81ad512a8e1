"""Plain facts that several folders need: network sizes, input normalisation, label ids, colours. Imports nothing."""

# ResNet: depth -> residual blocks in each of the four stages.
RESNET_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

# ResNet: stem -> output channels of its convolutions.
RESNET_STEMS = {
    "deep": (64, 64, 128),  # three 3x3: the official CCNet and MIT's ImageNet weights
    "v1c": (32, 32, 64),  # three 3x3: mmsegmentation
    "v1": (64,),  # one 7x7: torchvision
}

# VAN: size -> (channels of each stage, blocks of each stage, drop path of the published segmentation training).
VAN_SIZES = {
    "van_tiny": ((32, 64, 160, 256), (3, 3, 5, 2), 0.1),
    "van_small": ((64, 128, 320, 512), (2, 2, 4, 2), 0.1),
    "van_base": ((64, 128, 320, 512), (3, 3, 12, 3), 0.1),
    "van_large": ((64, 128, 320, 512), (3, 5, 27, 3), 0.3),
    "van_b4": ((64, 128, 320, 512), (3, 6, 40, 3), 0.4),
    "van_b5": ((96, 192, 480, 768), (3, 3, 24, 3), 0.4),
    "van_b6": ((96, 192, 384, 768), (6, 6, 90, 6), 0.5),
}
VAN_ALIASES = {"van_b0": "van_tiny", "van_b1": "van_small", "van_b2": "van_base", "van_b3": "van_large"}
VAN_MLP_RATIOS = (8, 8, 4, 4)  # hidden channels of the MLP in each stage, as a multiple of the stage's channels

# Input normalisation: (pixel - mean) / std for pixels in 0..255; mean and std in the order of `channels`.
# The official CCNet weights and the ImageNet weights that its training starts from:
CAFFE_BGR = {"channels": "bgr", "mean": [104.00698793, 116.66876762, 122.67891434], "std": [1.0, 1.0, 1.0]}
# VAN, torchvision and mmsegmentation weights:
IMAGENET_RGB = {"channels": "rgb", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}


def default_normalisation(model):
    """The normalisation record of a network, by its name in models.MODELS, that starts from random weights."""
    return IMAGENET_RGB if model == "van" or "mmseg" in model else CAFFE_BGR


# Cityscapes: train id 0..18 -> label id in the files of the dataset and of the benchmark server.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_CATEGORIES = {  # name -> train ids
    "flat": (0, 1),
    "construction": (2, 3, 4),
    "object": (5, 6, 7),
    "nature": (8, 9),
    "sky": (10,),
    "human": (11, 12),
    "vehicle": (13, 14, 15, 16, 17, 18),
}


def devkit_palette(count=256):
    """The first `count` RGB colours of the PASCAL VOC devkit.

    Bits 0, 3, 6 of the class number are the highest bits of red, bits 1, 4, 7 those of green, bits 2, 5 those of blue.
    """
    colours = []
    for number in range(count):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
        colours.append(tuple(rgb))
    return tuple(colours)
