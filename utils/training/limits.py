"""Crop sizes that are impossible, which are errors, and sizes that make a flag useless, which are lines to print."""

import math

LEAST_SIDE = 8  # pixels: one position at the stride of the networks
LARGEST_ARRAY = 2**31 - 1  # elements: Jittor indexes with 32 bits
STEM_CHANNELS = 32  # the largest array of a network per pixel of the crop: 128 channels at half the size


def check_crop(size, samples, classes, frames=1):
    """`samples`: crops of one rank in one pass through the network, of `frames` frames each. ValueError where the size
    is impossible."""
    text = f"--input-size {size[0]},{size[1]}"
    if min(size) < LEAST_SIDE:
        raise ValueError(
            f"{text} is too small; expected at least {LEAST_SIDE} pixels a side: in a smaller one "
            "the attention has a single position (usual: 512,512 or 769,769)"
        )
    numbers = samples * size[0] * size[1] * max(classes, frames * STEM_CHANNELS)
    if numbers > LARGEST_ARRAY:
        raise ValueError(
            f"{text} is too large: {samples * frames} crops of it at once make an array of {numbers:.2g} elements, and "
            f"Jittor indexes at most {LARGEST_ARRAY:.2g}. Fix: a smaller --input-size (usual: 512,512 or 769,769)"
            + (", a smaller --batch-size, more ranks or --accumulate" if samples > 1 else "")
            + (", fewer --frames" if frames > 1 else "")
        )


def useless_ohem(keep, samples, size, factor=8):
    """Lines for an --ohem-keep that keeps every pixel of a batch. `samples`: of all ranks, in one pass.

    OHEM counts pixels on a grid that is coarser by `factor` (models/losses.py).
    """
    grid = samples * max(round(size[0] / factor), 1) * max(round(size[1] / factor), 1)
    if keep // factor**2 < grid or not keep:
        return []
    pixels = samples * size[0] * size[1]
    return [
        f"--ohem-keep {keep} is not below the {pixels} pixels that are in one batch ({samples} of "
        f"{size[0]}x{size[1]}): every pixel is kept, and --ohem has no effect. Fix: about {pixels // 16}, or no --ohem"
    ]


def padded_crops(size, images, scale=None):
    """Lines for a crop that is larger than every image. `images`: (height, width) of some; `scale`: their random
    scaling (datasets.transforms.Scale), or None."""
    largest = [(height * factor, width * factor) for height, width in images for factor in [most(scale, height, width)]]
    shares = [min(1, height / size[0]) * min(1, width / size[1]) for height, width in largest]
    if not shares or max(shares) >= 1:
        return []
    height, width = images[shares.index(max(shares))]
    scaled = f", scaled up to {most(scale, height, width):.3g} times" if scale else ""
    return [
        f"--input-size {size[0]},{size[1]} is larger than every training image that was read ({len(images)}; the "
        f"largest is {height}x{width}{scaled}): at least {math.ceil(100 * (1 - max(shares)))}% of every crop is "
        "padding, which takes time and is not trained on"
    ]


def most(scale, height, width):
    """The largest factor that `scale` draws for an image of this size."""
    if scale is None:
        return 1.0
    factor = 1.0
    if scale.sides:
        factor = max(scale.sides) / min(height, width)
        if scale.longest:
            factor = min(factor, scale.longest / max(height, width))
    return factor * (max(scale.factors) if scale.factors else 1.0) * (max(scale.span) if scale.span else 1.0)
