"""The flags that train.py and evaluate.py share. Only they see `args`; everything else gets its parts passed in.

The names of the official scripts and of their Jittor ports are kept. Those that never did anything still parse, are
left out of --help, and `legacy_in` tells which were given, so that a run can say so once.
"""

import argparse
import sys

YES, NO = ("1", "true", "yes", "y", "on", "t"), ("0", "false", "no", "n", "off", "f", "none")
DATASET_NAMES = {"cityscape": "cityscapes"}  # what the Jittor scripts say
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
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected H,W or one number, for example 769,769 or 512")
    return (numbers[0], numbers[-1])


def positive(text):
    number = whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 1")
    return number


def whole(text):
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 0")
    return number


def boolean(text):
    """The original's `type=bool` took any word for true, "False" too; here a word means what it says."""
    word = text.lower()
    if word in YES or word == "ture":  # as a published command has it
        return True
    if word in NO:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no; expected one of {', '.join(YES + NO)}")


def dataset_name(text):
    return DATASET_NAMES.get(text, text)


def flag(group, name, help):
    """A yes/no flag: --name, --name 1, --name False."""
    group.add_argument(name, nargs="?", type=boolean, const=True, default=False, metavar="yes|no", help=help)


def common_parser(models, datasets, devices):
    """A parent parser; `models` and `datasets` are lists of names."""
    parser = argparse.ArgumentParser(add_help=False)
    network = parser.add_argument_group("network")
    network.add_argument(
        "--cca-backend", default="auto", choices=("auto", "reference", "fused"), help="attention (default: auto)"
    )
    network.add_argument(
        "--van-size", metavar="NAME", help="van_tiny, van_small, van_base (default), van_large; b0 .. b6"
    )
    network.add_argument("--drop-path", type=float, metavar="P", help="of VAN in training (default: that of its size)")
    data = parser.add_argument_group("data")
    data.add_argument("--data-dir", metavar="DIR", help="where the data set lies")
    data.add_argument("--data-list", metavar="FILE", help="its list of pictures (default: found there)")
    data.add_argument("--num-workers", type=whole, default=8, metavar="N", help="processes that read (default: 8)")
    data.add_argument(
        "--dataset", type=dataset_name, choices=datasets, default="scenes", help="default: %(default)s, drawn by rule"
    )
    data.add_argument("--ignore-label", type=int, help="label value that counts nowhere (default: the data set's)")
    data.add_argument("--batch-size", type=positive, default=8, help="over all ranks (default: %(default)s)")
    scenes = parser.add_argument_group("drawn scenes")
    scenes.add_argument("--scene-size", type=size, default=(128, 256), metavar="H,W", help="default: 128,256")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", choices=devices, default="auto", help="default: %(default)s")
    machine.add_argument("--gpu", metavar="0,1", help="GPUs to see, as CUDA_VISIBLE_DEVICES; one process uses one")
    machine.add_argument("--verbose", action="store_true", help="let Jittor speak")
    for name, how in LEGACY.items():
        parser.add_argument(name, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **how)
    return parser


def legacy_in(argv=None):
    """The flags without effect that this command line has."""
    words = [word.split("=", 1)[0] for word in (sys.argv[1:] if argv is None else argv)]
    return [name for name in LEGACY if name in words]
