"""The flags that train.py and evaluate.py share. Only these programs see `args`; all other code gets single values.

The names of the official scripts and of their Jittor ports are kept. Flags that have no effect are accepted but not
listed by --help; `legacy_in` returns those of a command line, so that a run can report them.
"""

import argparse
import math
import sys

from utils.options import gpus
from utils.weights.sources import SOURCES

YES, NO = ("1", "true", "yes", "y", "on", "t"), ("0", "false", "no", "n", "off", "f", "none")
LEGACY = {  # flag -> arguments of add_argument
    "--is-training": {"action": "store_true"},
    "--not-restore-last": {"action": "store_true"},
    "--save-num-images": {},
    "--local_rank": {},
    "--local-rank": {},
    "--devices": {},
    "-d": {},
    "--ft": {"nargs": "?", "const": "1"},
    "--image-dir": {},
    "--label-dir": {},
}


def size(text):
    """ "769,769" or "769" -> (height, width)."""
    try:
        numbers = [int(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; expected H,W or one number, for example 769,769 or 512"
        )
    return (numbers[0], numbers[-1])


def parsed(text, convert, valid, expected):
    """convert(text); an error of argparse that names what is expected, where the value is not valid."""
    try:
        value = convert(text)
    except ValueError:
        value = None
    if value is None or not valid(value):
        raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}")
    return value


def positive(text):
    return parsed(text, int, lambda number: number >= 1, "a whole number of at least 1")


def whole(text):
    return parsed(text, int, lambda number: number >= 0, "a whole number of at least 0")


def minutes(text):
    return parsed(text, float, lambda number: 0 <= number < math.inf, "minutes, 0 or more, for example 15")


def share(text):
    return parsed(text, float, lambda number: 0 <= number < 1, "a number from 0 to below 1, such as 0.333")


def weight(text):
    return parsed(text, float, lambda number: 0 <= number < math.inf, "a weight, 0 or more, for example 0.5")


def floats(text):
    return tuple(float(part) for part in text.split(","))


def boolean(text):
    """yes or no, unlike `type=bool` of the official code, for which every word is true, "False" as well."""
    word = text.lower()
    if word in YES or word == "ture":  # so in a published command
        return True
    if word in NO:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no; expected one of {', '.join(YES + NO)}")


def flag(group, name, help):
    """A yes/no flag: --name, --name 1, --name False."""
    text = f"{help} (default: no)"
    group.add_argument(name, nargs="?", type=boolean, const=True, default=False, metavar="yes|no", help=text)


def numbers(text):
    """ "300,375,450" -> (300, 375, 450); also "0.5,2"."""
    expected = "numbers above 0 with commas, for example 300,375,450"
    values = parsed(text, floats, lambda values: min(values) > 0, expected)
    return tuple(int(value) if value == int(value) else value for value in values)


def span(text):
    values = numbers(text)
    if len(values) != 2 or values[0] > values[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range; expected LOW,HIGH, for example 0.5,2")
    return values


# Arguments of the datasets: of all, and of the augmentation in training.
SOURCE = (
    "data_dir data_list num_classes ignore_label num_workers on_bad_sample on_bad_label resize_labels cache".split()
)
SOURCE += ["scene_size", "channels", "value_range", "frames", "frame_stride"]
AUGMENTATION = "augment random_scale random_mirror short_side long_side scale_range color_jitter cat_max_ratio".split()


def add_augmentation(parser):
    """The flags of data augmentation."""
    group = parser.add_argument_group("augmentation")
    add = group.add_argument
    text = "official: scale the image, then crop; fast: scale only the crop, the same geometry (default: fast)"
    add("--augment", choices=("fast", "official"), default="fast", help=text)
    flag(group, "--random-scale", "scale by a random factor of the dataset's list, for Cityscapes 0.7, 0.8 .. 2.1")
    flag(group, "--random-mirror", "flip horizontally with probability 0.5")
    add(
        "--short-side",
        type=numbers,
        metavar="N,N..",
        help="scale the short side to one of these lengths (default: off)",
    )
    text = (
        "limit of the long side with --short-side, before --scale-range (default: that of the dataset: 1000 for ADE20K)"
    )
    add("--long-side", type=positive, metavar="N", help=text)
    add("--scale-range", type=span, metavar="LOW,HIGH", help="scale by a random factor of this range (default: off)")
    add("--color-jitter", action="store_true", help="random brightness, contrast, saturation and hue (default: off)")
    text = "crop again, up to 10 times, if one class has a larger share of the crop than X (default: off)"
    add("--cat-max-ratio", type=float, metavar="X", help=text)


def add_amp(add):
    text = (
        "mixed precision: float16 needs a GPU, bfloat16 a GPU or a CPU with AVX512-BF16 or AMX (another CPU computes "
    )
    text += "in float32); float16 if no dtype is given (default: off, float32)"
    add("--amp", nargs="?", const="float16", choices=("float16", "bfloat16"), help=text)


def value_range(text):
    expected = "LOW,HIGH with LOW below HIGH, for example 0,10000"
    return parsed(text, floats, lambda values: len(values) == 2 and values[0] < values[1], expected)


def add_channels(add):
    text = "channels of the images of a folder, .tif or .npy (default: recorded in the checkpoint, else 3)"
    add("--channels", type=positive, metavar="N", help=text)
    text = "values that become 0 and 255, with --channels (default: uint16 0,65535, float 0,1)"
    add("--value-range", type=value_range, metavar="LOW,HIGH", help=text)


def odd(text):
    expected = "an odd number of at least 1, such as 5: the labelled frame is the middle one"
    return parsed(text, int, lambda number: number >= 1 and number % 2, expected)


def add_frames(add):
    text = "frames of a clip, with attention over time, height and width (default: recorded in the checkpoint, else 1)"
    add("--frames", type=odd, metavar="T", help=text)
    text = "by how many frames of the data those of a clip are apart (default: recorded in the checkpoint, else 1)"
    add("--frame-stride", type=positive, metavar="N", help=text)


def check_frame_stride(frames, stride):
    """An error for a --frame-stride of a network for single images."""
    if frames == 1 and stride:
        raise ValueError(f"--frame-stride {stride} is of clips: add --frames, for example --frames 5, or leave it out")


def add_source(add):
    """--source, for programs that read weights of other code; as in scripts/convert_weights.py."""
    names = ("auto", *SOURCES)
    text = f"the code that wrote the weights: {', '.join(names)} (default: auto, detected from the keys)"
    add("--source", choices=names, default="auto", metavar="NAME", help=text)


def add_conversion(parser):
    """The flags of the scripts that prepare data."""
    parser.add_argument("--workers", type=whole, help="number of worker processes (default: the number of cores)")
    parser.add_argument("--force", action="store_true", help="overwrite existing files (default: keep them)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be written, and stop (default: off)")


def common_parser(models, datasets, devices):
    """A parent parser; `models` and `datasets` are lists of names."""
    parser = argparse.ArgumentParser(add_help=False)
    add = parser.add_argument_group("network").add_argument
    backends = ("auto", "reference", "fused")
    add("--cca-backend", default="auto", choices=backends, help="implementation of the attention (default: auto)")
    text = "van_tiny, van_small, van_base, van_large, b0 .. b6 (default: recorded in the checkpoint, else van_base)"
    add("--van-size", metavar="NAME", help=text)
    text = "stochastic depth rate of VAN in training (default: recorded in the checkpoint, else 0.1 to 0.5 by VAN size)"
    add("--drop-path", type=float, metavar="P", help=text)
    add = parser.add_argument_group("data").add_argument
    text = (
        "root of the dataset, its parent or a subfolder (default: recorded in the checkpoint, else the current folder)"
    )
    add("--data-dir", metavar="DIR", help=text)
    add("--data-list", metavar="FILE", help="one image and label path on each line (default: the whole split)")
    text = f"{', '.join(datasets)} (default: auto, detected from --data-dir, the checkpoint, or the current folder)"
    add("--dataset", choices=datasets, default="auto", metavar="NAME", help=text)
    add("--num-classes", type=positive, metavar="N", help="number of classes (default: that of the dataset)")
    add("--ignore-label", type=int, metavar="N", help="label value that is not trained or scored (default: by dataset)")
    add("--batch-size", type=positive, default=8, metavar="N", help="of all ranks together (default: %(default)s)")
    text = "worker processes that load data, on each rank (default: up to 8 with a GPU, else 0)"
    add("--num-workers", type=whole, metavar="N", help=text)
    text = "skip: leave out unreadable images, at most 1, or 1 in 100 of more than 100 (default: error)"
    add("--on-bad-sample", choices=("error", "skip"), default="error", help=text)
    text = "ignore: treat label values that are not a class as ignored (default: error)"
    add("--on-bad-label", choices=("error", "ignore"), default="error", help=text)
    add("--resize-labels", action="store_true", help="resize labels to the size of their images (default: off)")
    add_channels(add)
    add("--cache", choices=("off", "ram"), default="off", help="ram: keep decoded images in memory (default: off)")
    add = parser.add_argument_group("generated scenes").add_argument
    text = "size of the images (default: recorded in the checkpoint, else 128,256 for scenes, 65,65 for beacons)"
    add("--scene-size", type=size, metavar="H,W", help=text)
    gpus.add_machine(parser.add_argument_group("machine").add_argument, devices)
    hidden = dict.fromkeys(("dest", "default", "help"), argparse.SUPPRESS)
    for name, options in LEGACY.items():
        parser.add_argument(name, **hidden, **options)
    return parser


def given(name, argv=None):
    """Is this flag on the command line?"""
    return name in [word.split("=", 1)[0] for word in (sys.argv[1:] if argv is None else argv)]


def legacy_in(argv=None):
    """The flags of this command line that have no effect."""
    return [name for name in LEGACY if given(name, argv)]


def unused_data_flags(args, dataset, generated):
    """Lines about flags without effect on this dataset. `generated`: the datasets without bad samples or labels."""
    defaults = {"on_bad_sample": "error", "on_bad_label": "error", "resize_labels": False}
    unused = [name for name, value in defaults.items() if dataset in generated and getattr(args, name) != value]
    return [f"--{name.replace('_', '-')} has no effect with --dataset {dataset}" for name in unused]
