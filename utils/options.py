"""The flags that train.py and evaluate.py share. Only they see `args`; everything else gets its parts passed in."""

import argparse


def size(text):
    """ "769,769" or "769" -> (height, width)."""
    try:
        numbers = [int(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected H,W or one number, for example 769,769 or 512")
    return (numbers[0], numbers[-1])


def positive(text):
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 1")
    return number


def natural(text):
    if text == "0":
        return 0
    return positive(text)


def numbers(text):
    """ "300,375,450" -> (300, 375, 450); also "0.5,2"."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (0.0,)
    if min(values) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers above 0 with commas, for example 300,375,450")
    return tuple(int(value) if value == int(value) else value for value in values)


def span(text):
    values = numbers(text)
    if len(values) != 2 or values[0] > values[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is no range; expected LOW,HIGH, for example 0.5,2")
    return values


# What train.py and evaluate.py hand on to the data set, by name.
SOURCE = (
    "data_dir data_list num_classes ignore_label num_workers on_bad_sample on_bad_label resize_labels cache".split()
)
SOURCE += ["scene_size"]
AUGMENTATION = "augment random_scale random_mirror short_side scale_range color_jitter cat_max_ratio".split()


def add_augmentation(parser, choices):
    """The flags of training alone that say how pictures are varied."""
    group = parser.add_argument_group("augmentation")
    group.add_argument(
        "--augment", choices=choices, default="fast", help="official: scale all, then crop (default: fast)"
    )
    group.add_argument(
        "--random-scale", action="store_true", help="as usual for the data set (Cityscapes: 0.7, 0.8 .. 2.1)"
    )
    group.add_argument("--random-mirror", action="store_true", help="left to right, one time in two")
    group.add_argument("--short-side", type=numbers, metavar="N,N..", help="scale the short side to one of these")
    group.add_argument("--scale-range", type=span, metavar="LOW,HIGH", help="scale by something between")
    group.add_argument("--color-jitter", action="store_true", help="vary brightness, contrast, saturation and hue")
    group.add_argument(
        "--cat-max-ratio", type=float, metavar="X", help="draw crops again while one class has more of it"
    )


def add_conversion(parser):
    """The flags of the scripts that prepare data."""
    parser.add_argument("--workers", type=natural, help="processes (default: the cores)")
    parser.add_argument("--force", action="store_true", help="write files again that are there")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and stop")


def common_parser(models, datasets, devices):
    """A parent parser; `models` and `datasets` are lists of names."""
    parser = argparse.ArgumentParser(add_help=False)
    network = parser.add_argument_group("network")
    network.add_argument(
        "--cca-backend", default="auto", choices=("auto", "reference", "fused"), help="attention (default: auto)"
    )
    data = parser.add_argument_group("data")
    data.add_argument("--data-dir", metavar="DIR", help="the data set, a folder that holds it, or one inside it")
    data.add_argument(
        "--data-list", metavar="FILE", help="pictures and labels, a pair a line (default: the whole split)"
    )
    data.add_argument(
        "--dataset",
        choices=datasets,
        default="auto",
        metavar="NAME",
        help=f"{', '.join(datasets)} (default: told by --data-dir)",
    )
    data.add_argument("--num-classes", type=positive, help="default: those of the data set")
    data.add_argument("--ignore-label", type=int, help="label value that counts nowhere (default: the data set's)")
    data.add_argument("--batch-size", type=positive, default=8, help="over all ranks (default: %(default)s)")
    data.add_argument(
        "--num-workers", type=natural, help="processes that load, on each rank (default: up to 8 with a GPU, else 0)"
    )
    data.add_argument("--on-bad-sample", choices=("error", "skip"), default="error", help="skip: at most 1 in 100")
    data.add_argument(
        "--on-bad-label", choices=("error", "ignore"), default="error", help="for values that are no class"
    )
    data.add_argument("--resize-labels", action="store_true", help="to the size of their pictures, where they differ")
    data.add_argument("--cache", choices=("off", "ram"), default="off", help="keep decoded pictures (default: off)")
    scenes = parser.add_argument_group("drawn scenes")
    scenes.add_argument("--scene-size", type=size, default=(128, 256), metavar="H,W", help="default: 128,256")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", choices=devices, default="auto", help="default: %(default)s")
    machine.add_argument("--verbose", action="store_true", help="let Jittor speak")
    return parser
