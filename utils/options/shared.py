"""The flags that train.py and evaluate.py share. Only they see `args`; everything else gets its parts passed in.

The names of the official scripts and of their Jittor ports are kept. Those that never did anything still parse, are
left out of --help, and `legacy_in` tells which were given, so that a run can say so once.
"""

import argparse
import math
import shlex
import shutil
import sys

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


def minutes(text):
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected minutes, 0 or more, for example 15")
    return number


def boolean(text):
    """The original's `type=bool` took any word for true, "False" too; here a word means what it says."""
    word = text.lower()
    if word in YES or word == "ture":  # as a published command has it
        return True
    if word in NO:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no; expected one of {', '.join(YES + NO)}")


def flag(group, name, help):
    """A yes/no flag: --name, --name 1, --name False."""
    group.add_argument(name, nargs="?", type=boolean, const=True, default=False, metavar="yes|no", help=help)


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


# What train.py and evaluate.py hand on to the data set, by name, and what only training does with it.
SOURCE = (
    "data_dir data_list num_classes ignore_label num_workers on_bad_sample on_bad_label resize_labels cache".split()
)
SOURCE += ["scene_size"]
AUGMENTATION = "augment random_scale random_mirror short_side scale_range color_jitter cat_max_ratio".split()


def add_augmentation(parser):
    """The flags of training that say how pictures are varied."""
    group = parser.add_argument_group("augmentation")
    add = group.add_argument
    add(
        "--augment", choices=("fast", "official"), default="fast", help="official: scale all, then crop (default: fast)"
    )
    flag(group, "--random-scale", "as usual for the data set (Cityscapes: 0.7, 0.8 .. 2.1)")
    flag(group, "--random-mirror", "left to right, one time in two")
    add("--short-side", type=numbers, metavar="N,N..", help="scale the short side to one of these")
    add("--scale-range", type=span, metavar="LOW,HIGH", help="scale by something between")
    add("--color-jitter", action="store_true", help="vary brightness, contrast, saturation and hue")
    add("--cat-max-ratio", type=float, metavar="X", help="draw crops again while one class has more of it")


def add_source(add):
    """For programs that read weights of other code; the meaning is that of scripts/convert_weights.py."""
    names = ("auto", *SOURCES)
    text = f"whose code the weights are of: {', '.join(names)} (default: detected from the keys)"
    add("--source", choices=names, default="auto", metavar="NAME", help=text)


def add_conversion(parser):
    """The flags of the scripts that prepare data."""
    parser.add_argument("--workers", type=whole, help="processes (default: the cores)")
    parser.add_argument("--force", action="store_true", help="write files again that are there")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and stop")


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
    add = data.add_argument
    add("--data-dir", metavar="DIR", help="the dataset, a folder that holds it, or one inside it")
    add("--data-list", metavar="FILE", help="pictures and labels, a pair a line (default: the whole split)")
    text = f"{', '.join(datasets)} (default: detected from --data-dir, the checkpoint, or the current folder)"
    add("--dataset", choices=datasets, default="auto", metavar="NAME", help=text)
    add("--num-classes", type=positive, help="default: those of the data set")
    data.add_argument("--ignore-label", type=int, help="label value that counts nowhere (default: the data set's)")
    data.add_argument("--batch-size", type=positive, default=8, help="over all ranks (default: %(default)s)")
    add(
        "--num-workers", type=whole, metavar="N", help="processes that load, on each rank (default: with a GPU up to 8)"
    )
    add(
        "--on-bad-sample",
        choices=("error", "skip"),
        default="error",
        help="skip: leave out unreadable images, one, or 1 in 100 of more than 100 (default: error)",
    )
    add("--on-bad-label", choices=("error", "ignore"), default="error", help="for values that are no class")
    add("--resize-labels", action="store_true", help="to the size of their pictures, where they differ")
    add("--cache", choices=("off", "ram"), default="off", help="keep decoded pictures (default: off)")
    scenes = parser.add_argument_group("drawn scenes")
    scenes.add_argument("--scene-size", type=size, metavar="H,W", help="default: that of the checkpoint, else 128,256")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", choices=devices, default="auto", help="default: %(default)s")
    machine.add_argument("--gpu", metavar="0,1", help="GPUs to see, as CUDA_VISIBLE_DEVICES; one process uses one")
    machine.add_argument("--verbose", action="store_true", help="let Jittor speak")
    for name, how in LEGACY.items():
        parser.add_argument(name, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **how)
    return parser


def given(name, argv=None):
    """Is this flag on the command line, whatever its value?"""
    return name in [word.split("=", 1)[0] for word in (sys.argv[1:] if argv is None else argv)]


def legacy_in(argv=None):
    """The flags without effect that this command line has."""
    return [name for name in LEGACY if given(name, argv)]


def gpu_remarks(gpu, ranks, device, argv=None, parallel=True):
    """Lines about a --gpu that does not do what it seems to say. `parallel`: can mpirun start this program?"""
    if not gpu or gpu.lower() == "none":
        return []
    if ranks > 1:
        return [f"--gpu {gpu} is not used under mpirun: each rank takes a GPU of its own"]
    names = [name for name in gpu.split(",") if name.strip()]
    lines = [f"--gpu {gpu} has no effect on the CPU"] if device == "cpu" else []
    if len(names) > 1 and not parallel:
        lines += [f"--gpu {gpu} names {len(names)} GPUs; this program is one process and uses the first"] * (not lines)
    elif len(names) > 1:
        where = "one process uses one of them" if device == "cuda" else "where these GPUs are"
        lines.append(f"--gpu {gpu} names {len(names)} GPUs; {where}: {mpirun(names, argv)}")
    return lines


def mpirun(gpus, argv=None):
    """The command that does on several GPUs, one process each, what this command line does in one process."""
    kept, skip = [], False
    for word in sys.argv[1:] if argv is None else argv:
        if not skip and word.split("=", 1)[0] not in ("--gpu", "--device"):
            kept.append(word)
        skip = word in ("--gpu", "--device")  # the value is the next word
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    visible = f"CUDA_VISIBLE_DEVICES={','.join(name.strip() for name in gpus)}"
    return shlex.join(["mpirun", "-np", str(len(gpus)), "-x", "PATH", "-x", visible, python, sys.argv[0], *kept])


def unused_data_flags(args, dataset):
    """Lines about flags that do nothing for this data set: of drawn scenes every sample and label is good."""
    usual = {"on_bad_sample": "error", "on_bad_label": "error", "resize_labels": False}
    found = [name for name, value in usual.items() if dataset == "scenes" and getattr(args, name) != value]
    return [f"--{name.replace('_', '-')} has no effect with --dataset {dataset}" for name in found]
