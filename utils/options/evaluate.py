"""The flags of evaluate.py. Those of inference are shared by scripts/predict.py and scripts/benchmark/evaluation.py."""

import argparse
import os

from utils import runtime
from utils.options import shared

# oneDNN caches the compiled primitive of each size of a convolution, by default up to 1024. Images of many sizes would
# fill the cache with primitives of tens of MB that are not used again.
FEW_PRIMITIVES = "256"


def fraction(text):
    return shared.parsed(text, float, lambda number: 0 <= number <= 1, "a number from 0 to 1")


def scales(text):
    """ "0.75,1,1.25" -> (0.75, 1.0, 1.25)."""
    expected = "factors from 0.1 to 8 with commas, for example 0.75,1,1.25"
    values = shared.parsed(text, shared.floats, lambda values: all(0.1 <= value <= 8 for value in values), expected)
    if len(set(values)) < len(values):
        raise argparse.ArgumentTypeError(f"{text!r} has the same scale twice; give each once")
    return values


def parse(argv, models, datasets, devices, description):
    parents = [shared.common_parser(models, datasets, devices), inference_parser(models)]
    parser = argparse.ArgumentParser(
        "evaluate.py", parents=parents, description=description, conflict_handler="resolve"
    )
    add = parser.add_argument_group("evaluation").add_argument
    add("--split", default="val", metavar="NAME", help="split to evaluate (default: %(default)s)")
    add("--max-images", type=shared.positive, metavar="N", help="evaluate the first N images (default: all)")
    text = "boundary IoU and F-score, within X of the image diagonal; 0.02 if X is not given (default: off)"
    add("--boundary", nargs="?", const=0.02, type=fraction, metavar="X", help=text)
    add("--min-miou", type=fraction, metavar="X", help="exit code 1 if the mean IoU is below X, 0 to 1 (default: off)")
    add = parser.add_argument_group("output").add_argument
    text = "folder of results (default: outputs, beside the checkpoint)"
    add("--save-dir", "--Output", metavar="DIR", help=text)
    text = "write the files of this test server (default: none)"
    add("--export", choices=("cityscapes", "ade20k", "voc"), help=text)
    text = "write a PNG of class indices with a palette for each image (default: off)"
    add("--save-predictions", action="store_true", help=text)
    text = "images on sheet.png (default: %(default)s)"
    add("--sheet-rows", type=shared.positive, default=6, metavar="N", help=text)
    text = "number of best and of worst images that are written (default: %(default)s)"
    add("--examples", type=shared.whole, default=3, metavar="N", help=text)
    return parser.parse_args(argv)


def inference_parser(models):
    """A parent parser: which checkpoint, and how images are passed through the network."""
    parser = argparse.ArgumentParser(
        add_help=False, conflict_handler="resolve"
    )  # --batch-size has another meaning here
    add = parser.add_argument_group("checkpoint").add_argument
    text = "checkpoint of train.py, or a released PyTorch file (required)"
    add("--restore-from", required=True, metavar="FILE", help=text)
    shared.add_source(add)
    recorded = "default: recorded in the checkpoint"
    add("--model", choices=models, metavar="NAME", help=f"{', '.join(models)} ({recorded})")
    add("--van-size", metavar="NAME", help=f"size of the VAN backbone ({recorded})")
    add("--num-classes", type=shared.positive, metavar="N", help=f"number of classes ({recorded})")
    text = f"passes through the attention ({recorded}, else 2)"
    add("--recurrence", type=shared.whole, metavar="R", help=text)
    add = parser.add_argument_group("inference").add_argument
    text = "one pass for each whole image (default: yes, unless --input-size is given)"
    add("--whole", nargs="?", const=True, type=shared.boolean, metavar="yes|no", help=text)
    text = "sliding windows of this size that overlap by a third (default: whole images)"
    add("--input-size", type=shared.size, metavar="H,W", help=text)
    text = "average over these image scales, for example 0.75,1,1.25 (default: 1)"
    add("--scales", type=scales, default=(1.0,), metavar="S,S..", help=text)
    text = "average over the image and its horizontal flip (default: off)"
    add("--flip", action="store_true", help=text)
    text = "what windows, scales and flip average (default: logits)"
    add("--average", choices=("logits", "probabilities"), help=text)
    text = "windows in one pass (default: as many as have the pixels of 1024x2048)"
    add("--batch-size", type=shared.positive, metavar="N", help=text)
    text = "pad whole images to multiples of N, so that cuDNN tunes fewer sizes (default: 1, no padding)"
    add("--pad-multiple", type=shared.positive, metavar="N", help=text)
    text = "worker processes that read images (default: %(default)s)"
    add("--num-workers", type=shared.whole, default=1, metavar="N", help=text)
    text = "do not fold BatchNorm into the convolutions: slower, the same results (default: fold)"
    add("--no-fold", action="store_true", help=text)
    shared.add_amp(add)
    text = "visible GPU, as in the official script; sets CUDA_VISIBLE_DEVICES (default: all)"
    add("--gpu", metavar="N", help=text)
    return parser


def before_jittor():
    """Set the environment variables of oneDNN, which it reads once."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", FEW_PRIMITIVES)


def inference_arguments(args):
    """-> the inference settings, keyword arguments of utils.evaluation.inference.predict. Raises for contradictions."""
    if args.whole and args.input_size:
        raise ValueError("--whole and --input-size contradict each other: leave one out (--input-size slides windows)")
    if args.whole is False and not args.input_size:
        raise ValueError("--whole no needs the size of the sliding windows: add --input-size, for example 769,769")
    if args.pad_multiple and args.input_size:
        raise ValueError(
            "--pad-multiple is for whole images, but --input-size slides windows of one size: leave one of them out"
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


def describe(settings):
    """ "sliding 769x769, scales 0.75 1 1.25, mirrored, logits averaged"."""
    tile, scales = settings["tile"], settings["scales"]
    parts = [f"sliding {tile[0]}x{tile[1]}" if tile else "whole images"]
    if scales != (1.0,):
        parts.append("scales " + " ".join(f"{scale:g}" for scale in scales))
    parts += ["mirrored"] * settings["flip"]
    if tile or settings["flip"] or len(scales) > 1:
        parts.append(f"{settings['average']} averaged")
    if settings["pad_multiple"] > 1:
        parts.append(f"padded to multiples of {settings['pad_multiple']}")
    return ", ".join(parts)


def remarks(args, device, argv=None, parallel=True):
    """Lines about flags that have no effect. `parallel`: can mpirun start this program?"""
    lines = [f"{name} has no effect; it is accepted for old command lines" for name in shared.legacy_in(argv)]
    lines += shared.gpu_remarks(args.gpu, runtime.mpi_size(), device, argv, parallel)
    if getattr(args, "drop_path", None) is not None:
        lines.append("--drop-path has no effect on evaluation")
    return lines
