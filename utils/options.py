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


def fraction(text):
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 to 1")
    return number


def common_parser(models, datasets, devices):
    """A parent parser; `models` and `datasets` are lists of names."""
    parser = argparse.ArgumentParser(add_help=False)
    network = parser.add_argument_group("network")
    network.add_argument(
        "--cca-backend", default="auto", choices=("auto", "reference", "fused"), help="attention (default: auto)"
    )
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", choices=datasets, default="scenes", help="default: %(default)s, drawn by rule")
    data.add_argument("--ignore-label", type=int, help="label value that counts nowhere (default: the data set's)")
    data.add_argument("--batch-size", type=positive, default=8, help="over all ranks (default: %(default)s)")
    scenes = parser.add_argument_group("drawn scenes")
    scenes.add_argument("--scene-size", type=size, default=(128, 256), metavar="H,W", help="default: 128,256")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", choices=devices, default="auto", help="default: %(default)s")
    machine.add_argument("--verbose", action="store_true", help="let Jittor speak")
    return parser
