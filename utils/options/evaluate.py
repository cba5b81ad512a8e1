"""Inference: the flags that evaluate.py, scripts/predict.py and scripts/benchmark/evaluation.py share."""

import argparse
import os

from utils import runtime
from utils.options import shared

# oneDNN keeps what it compiled for each size of a convolution, up to 1024 of them; pictures of many sizes fill that
# with tens of MB that are never used again.
FEW_PRIMITIVES = "256"


def fraction(text):
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 to 1")
    return number


def scales(text):
    """ "0.75,1,1.25" -> (0.75, 1.0, 1.25)."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (0.0,)
    if not all(0.1 <= value <= 8 for value in values):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected factors from 0.1 to 8 with commas, for example 0.75,1,1.25"
        )
    if len(set(values)) < len(values):
        raise argparse.ArgumentTypeError(f"{text!r} names a scale twice; each counts once")
    return values


def inference_parser(models):
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")  # --batch-size means tiles here
    add = parser.add_argument_group("checkpoint").add_argument
    add("--restore-from", required=True, metavar="FILE", help="of train.py, or a released PyTorch file")
    shared.add_source(add)
    add("--model", choices=models, help="default: what the checkpoint says")
    add("--van-size", metavar="NAME", help="default: what the checkpoint says")
    add("--num-classes", type=shared.positive, help="default: what the checkpoint says")
    add(
        "--recurrence",
        type=shared.whole,
        help="passes through the attention (default: what the checkpoint says, else 2)",
    )
    add = parser.add_argument_group("how pictures are looked at").add_argument
    add(
        "--whole",
        nargs="?",
        const=True,
        type=shared.boolean,
        metavar="BOOL",
        help="whole pictures (default without --input-size)",
    )
    add("--input-size", type=shared.size, metavar="H,W", help="slide windows of this size, a third overlapping")
    add("--scales", type=scales, default=(1.0,), metavar="S,S..", help="average over these, for example 0.75,1,1.25")
    add("--flip", action="store_true", help="average over the picture and its mirror image")
    add("--average", choices=("logits", "probabilities"), help="over tiles, scales and mirror (default: logits)")
    add("--batch-size", type=shared.positive, metavar="N", help="tiles in a network call (default: 1024x2048 pixels)")
    add(
        "--pad-multiple",
        type=shared.positive,
        metavar="N",
        help="pad whole pictures, so that sizes are few (cuDNN tunes each)",
    )
    add(
        "--num-workers",
        type=shared.whole,
        default=1,
        metavar="N",
        help="processes that read ahead (default: %(default)s)",
    )
    add("--no-fold", action="store_true", help="run each BatchNorm by itself: slower, the same results")
    add("--gpu", metavar="N", help="which GPU, as in the official script (sets CUDA_VISIBLE_DEVICES)")
    return parser


def before_jittor():
    """What oneDNN reads once, when it starts."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", FEW_PRIMITIVES)


def inference_arguments(args):
    """-> keyword arguments of utils.evaluation.inference.predict; one error for what makes no sense together."""
    if args.whole and args.input_size:
        raise ValueError("--whole and --input-size contradict each other: leave one out (--input-size slides windows)")
    if args.whole is False and not args.input_size:
        raise ValueError("--whole false slides windows: say how large with --input-size, for example 769,769")
    if args.pad_multiple and args.input_size:
        raise ValueError(
            "--pad-multiple is for whole pictures; windows have one size already: leave out one of the two"
        )
    if args.average and not (args.input_size or args.flip or len(args.scales) > 1):
        raise ValueError(
            f"--average {args.average} has nothing to average: add --input-size, --scales or --flip, or leave it out"
        )
    return {
        "tile": args.input_size,
        "scales": args.scales,
        "flip": args.flip,
        "average": args.average or "logits",
        "batch": args.batch_size,
        "pad_multiple": args.pad_multiple or 1,
    }


def describe(how):
    """ "sliding 769x769, scales 0.75 1 1.25, mirrored, logits averaged"."""
    tile, scales = how["tile"], how["scales"]
    parts = [f"sliding {tile[0]}x{tile[1]}" if tile else "whole pictures"]
    if scales != (1.0,):
        parts.append("scales " + " ".join(f"{scale:g}" for scale in scales))
    parts += ["mirrored"] * how["flip"]
    if tile or how["flip"] or len(scales) > 1:
        parts.append(f"{how['average']} averaged")
    if how["pad_multiple"] > 1:
        parts.append(f"padded to multiples of {how['pad_multiple']}")
    return ", ".join(parts)


def remarks(args, device, argv=None, parallel=True):
    """Lines printed once: what was given and has no effect. `parallel`: can mpirun start this program?"""
    lines = [f"{name} has no effect; it is there for old command lines" for name in shared.legacy_in(argv)]
    lines += shared.gpu_remarks(args.gpu, runtime.mpi_size(), device, argv, parallel)
    if getattr(args, "drop_path", None) is not None:
        lines.append("--drop-path has no effect on evaluation")
    return lines
