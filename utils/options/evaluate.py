"""The flags of evaluate.py. Those of inference are shared by scripts/predict.py and scripts/benchmark/evaluation.py."""

import argparse
import os

from utils import runtime
from utils.evaluation import protocol as protocols
from utils.options import gpus, shared

# oneDNN caches the compiled primitive of each size of a convolution, by default up to 1024. Images of many sizes would
# fill the cache with primitives of tens of MB that are not used again.
FEW_PRIMITIVES = "256"

NETWORK_FLAGS = ("model", "num_classes", "recurrence", "van_size", "align_corners", "frames")


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
    text = "evaluate the first N images; --max-images is the older name of this option (default: all)"
    add("--eval-images", "--max-images", type=shared.positive, metavar="N", help=text)
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
    shared.add_frames(add)
    add = parser.add_argument_group("inference").add_argument
    protocol = "default: the protocol of the checkpoint"
    text = f"yes: one pass for each whole image; no: sliding windows ({protocol}, else yes)"
    add("--whole", nargs="?", const=True, type=shared.boolean, metavar="yes|no", help=text)
    add("--input-size", type=shared.size, metavar="H,W", help=f"sliding windows of this size ({protocol})")
    text = f"share of a sliding window that it has in common with the next ({protocol}, else a third)"
    add("--overlap", type=shared.share, metavar="X", help=text)
    text = f"scale each image to this short side; 0: do not scale ({protocol}, else not scaled)"
    add("--short-side", type=shared.whole, metavar="N", help=text)
    text = f"scale it less where its long side would exceed N ({protocol}, else four times --short-side)"
    add("--long-side", type=shared.positive, metavar="N", help=text)
    text = f"align_corners of the resizing of logits ({protocol}, else yes)"
    add("--align-corners", nargs="?", const=True, type=shared.boolean, metavar="yes|no", help=text)
    text = "average over these image scales, for example 0.75,1,1.25 (default: 1)"
    add("--scales", type=scales, default=(1.0,), metavar="S,S..", help=text)
    text = f"average over the image and its horizontal flip ({protocol}, else no)"
    add("--flip", nargs="?", const=True, type=shared.boolean, metavar="yes|no", help=text)
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


def check_inference(args):
    """Raise for flags that contradict each other, before anything is loaded."""
    if args.whole and args.input_size:
        raise ValueError("--whole and --input-size contradict each other: leave one out (--input-size slides windows)")
    if args.pad_multiple and args.input_size:
        raise ValueError(
            "--pad-multiple is for whole images, but --input-size slides windows of one size: leave one of them out"
        )
    if args.long_side and args.short_side == 0:
        raise ValueError(f"--long-side {args.long_side} limits --short-side, which is 0: leave one of them out")


def inference_arguments(args, meta, align_corners=True):
    """-> (the inference settings, keyword arguments of utils.evaluation.inference.predict; the protocol; its line).

    They are the protocol of the checkpoint, with the flags that are given. `align_corners`: that of the network.
    """
    labels = {"dataset": meta.get("dataset"), "classes": meta["num_classes"], "ignored": meta["ignore_label"]}
    recorded = meta.get("protocol") or protocols.record(align_corners=align_corners, **labels)
    flags = {name: vars(args)[name] for name in ("whole", "overlap", "short_side", "long_side", "flip", "frame_stride")}
    flags["frames"] = meta.get("model_options", {}).get("frames", 1)
    shared.check_frame_stride(flags["frames"], args.frame_stride)
    protocol, by_flags = protocols.changed(recorded, window=args.input_size, **flags)
    if protocol["align_corners"] != align_corners:
        protocol["align_corners"], by_flags = align_corners, [*by_flags, "align_corners"]
    settings = {**protocols.settings(protocol), "scales": args.scales, "average": args.average or "logits"}
    settings.update(batch=args.batch_size, pad_multiple=args.pad_multiple or 1)
    check_settings(args, settings, protocol)
    origin = "recorded in the checkpoint" if "step" in meta else "of the code that wrote the file"
    origin = origin if meta.get("protocol") else "none is recorded"
    origin += f", changed by flags: {', '.join(by_flags).replace('_', ' ')}" if by_flags else ""
    return settings, protocol, f"protocol: {protocols.describe(protocol)} ({origin})"


def check_settings(args, settings, protocol):
    """Raise for flags that contradict what the checkpoint records."""
    if args.whole is False and not settings["tile"]:
        raise ValueError("--whole no needs the size of the sliding windows: add --input-size, for example 769,769")
    if args.long_side and not settings["short_side"]:
        raise ValueError(f"--long-side {args.long_side} limits --short-side: add it, for example --short-side 512")
    if args.overlap is not None and not settings["tile"]:
        raise ValueError(f"--overlap {args.overlap} is of sliding windows: add --input-size, for example 769,769")
    if args.pad_multiple and settings["tile"]:
        raise ValueError("--pad-multiple is for whole images, and this checkpoint slides windows: add --whole")
    if args.average and not (settings["tile"] or settings["flip"] or len(args.scales) > 1):
        raise ValueError(
            f"--average {args.average} has nothing to average: add --input-size, --scales or --flip, or leave it out"
        )


def describe(settings):
    """["scales 0.75 1 1.25, probabilities averaged"]: a line about what is no part of the protocol, if there is any."""
    scales, parts = settings["scales"], []
    if scales != (1.0,):
        parts.append("scales " + " ".join(f"{scale:g}" for scale in scales))
    if settings["tile"] or settings["flip"] or len(scales) > 1:
        parts.append(f"{settings['average']} averaged")
    if settings["pad_multiple"] > 1:
        parts.append(f"padded to multiples of {settings['pad_multiple']}")
    return [", ".join(parts)] * bool(parts)


def remarks(args, device, argv=None, parallel=True):
    """Lines about flags that have no effect. `parallel`: can mpirun start this program?"""
    lines = [f"{name} has no effect; it is accepted for old command lines" for name in shared.legacy_in(argv)]
    lines += gpus.remarks(args.gpu, runtime.mpi_size(), device, argv, parallel)
    lines += gpus.workspace_remark(device, argv)
    if getattr(args, "drop_path", None) is not None:
        lines.append("--drop-path has no effect on evaluation")
    return lines
