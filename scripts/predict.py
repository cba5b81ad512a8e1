#!/usr/bin/env python3
"""Segment images: colour map, overlay with legend and label PNG of each file; and videos, frame by frame.

    python scripts/predict.py --restore-from runs/demo/CS_scenes_500.npz --input photo.jpg holiday/ --save-dir out
    python scripts/predict.py --restore-from CS_scenes_60000.pth --input drive.mp4 --save-dir out

Writes NAME_label.png (pixels are class numbers), NAME_color.png, NAME_overlay.png; of a video NAME_overlay.mp4; of a
georeferenced TIFF also NAME_label.tif. PNG and TIFF images larger than memory are read and written by rows. Files that
cannot be read are reported and skipped; the exit code is then 1. A network of clips (train.py --frames) sees each frame
with its neighbours in the video, or among the images of one folder whose names differ in their last number alone.
"""

import argparse
import functools
import itertools
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets import DATASETS  # noqa: E402
from models import MODELS, build_model  # noqa: E402
from utils import runtime  # noqa: E402
from utils.evaluation import protocol as protocols  # noqa: E402
from utils.options import evaluate as eval_options  # noqa: E402
from utils.options import gpus  # noqa: E402


def parse_args(argv=None):
    shared = eval_options.inference_parser(sorted(MODELS))
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser("predict.py", parents=[shared], description=about)
    add = parser.add_argument_group("images").add_argument
    add("--input", nargs="+", required=True, metavar="PATH", help="images, folders of images, videos (required)")
    add("--save-dir", required=True, metavar="DIR", help="folder of results (required)")
    text = "class names and colours of this dataset (default: recorded in the checkpoint)"
    add("--dataset", choices=sorted(DATASETS), help=text)
    text = "opacity of the overlay (default: %(default)s)"
    add("--opacity", type=eval_options.fraction, default=0.55, metavar="X", help=text)
    text = "also write NAME_probability_CLASS.png, 255 = 1.0, of these classes, or of all (default: none)"
    add("--probability", nargs="?", const="all", metavar="CLASS,..", help=text)
    text = (
        "also write NAME_confidence.png, the largest probability, 16 bit, and NAME_confidence_heat.png (default: off)"
    )
    add("--confidence", action="store_true", help=text)
    text = "void where the largest probability is below X: the ignore label, not tinted (default: off)"
    add("--min-confidence", type=eval_options.fraction, metavar="X", help=text)
    text = (
        "read and write PNG and TIFF images by rows: auto if they need over half of the memory (default: %(default)s)"
    )
    add("--by-rows", choices=("auto", "always", "never"), default="auto", help=text)
    add = parser.add_argument_group("machine").add_argument
    backends = ("auto", "reference", "fused")
    add("--cca-backend", default="auto", choices=backends, help="attention backend (default: auto)")
    add("--device", choices=runtime.DEVICES, default="auto", help="device to run on (default: %(default)s)")
    gpus.add_workspace(add)
    add("--verbose", action="store_true", help="print the output of Jittor and its compiler (default: off)")
    return parser.parse_args(argv)


def class_numbers(text, names):
    """--probability -> class numbers."""
    wanted = list(names) if text == "all" else [part.strip() for part in (text or "").split(",") if part.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"--probability {unknown[0]!r} is not a class here; choose from {', '.join(names)}")
    return [list(names).index(name) for name in wanted]


def find_inputs(args, endings):
    """-> ([(path, name of the files to write)], other files in the folders)"""
    from utils import media

    if any(media.same(given, args.save_dir) for given in args.input):
        raise ValueError(
            f"--save-dir {args.save_dir} is an input folder, too: results would be read as input; choose another"
        )
    files, others = media.find(args.input, args.save_dir, endings)
    if not files:
        endings = " ".join((*media.IMAGES, *media.VIDEOS))
        raise ValueError(f"--input {' '.join(args.input)} holds no image or video ({endings})")
    return files, others


def load(args, machine):
    """-> model, its metadata, inference settings, the line of the protocol"""
    import jittor

    from models.layers.fold import fold
    from utils.training import amp
    from utils.weights import network

    if args.amp:
        amp.check(args.amp, machine["device"], runtime.compute_capabilities())
    if jittor.in_mpi:
        raise ValueError("predict.py is one process: start it without mpirun (evaluate.py shares images over ranks)")
    flags = {key: vars(args)[key] for key in eval_options.NETWORK_FLAGS}
    options = {"source": args.source, "cca_backend": args.cca_backend}
    simplify = amp.simplify(args.amp, None if args.no_fold else fold)
    model, meta = network.load_network(args.restore_from, build_model, flags, simplify, **options)
    settings, meta["protocol"], line = eval_options.inference_arguments(
        args, meta, getattr(model, "align_corners", True)
    )
    return model, meta, settings, line


def report(args, machine, meta, settings, protocol, look, videos, others):
    """The lines before the first image."""
    from models.cca.functional import resolve

    print(runtime.describe(machine, resolve(args.cca_backend)))
    print(f"{meta['model']}, R = {meta['recurrence']}, {len(look.names)} classes")
    remarks = eval_options.remarks(args, machine["device"], parallel=False)
    for line in (protocol, *eval_options.describe(settings), *meta["remarks"], *remarks):
        print(line)
    if args.amp:
        print(meta["simplified"])
    for flag in [flag for flag in ("probability", "confidence") if vars(args)[flag] and videos]:
        print(f"--{flag} has no effect on videos")
    if others:
        print(f"{len(others)} other files in the folders are left alone, such as {others[0]}")


def unsuited(args, settings, facts, frames):
    """Why no image can be read by rows, or None."""
    if frames > 1:
        return "clips are read whole"
    if facts:
        return "only images of three channels can be read by rows"
    if args.scales != (1.0,) or args.probability or settings["short_side"]:
        return "--scales, --short-side and --probability need the whole image"
    return None


def main():
    args = parse_args()
    eval_options.check_inference(args)
    eval_options.before_jittor()
    visible = {"gpu": args.gpu, "cudnn_workspace": args.cudnn_workspace}
    machine = runtime.start(args.device, args.verbose, **visible)

    from datasets.classes import classes_of
    from datasets.reading import bands
    from utils import media
    from utils.evaluation import large, result_files

    model, meta, settings, protocol = load(args, machine)
    facts = bands.facts_of(meta["normalisation"])  # of images of another number of channels than three
    files, others = find_inputs(args, (*media.IMAGES, ".npy") if facts else media.IMAGES)
    names, palette, settings["flip_pairs"] = classes_of(meta, args.dataset)
    void = 255 if meta.get("ignore_label") is None else meta["ignore_label"]
    look = result_files.Appearance(names, palette, args.opacity, args.min_confidence, void, args.confidence)
    probability = class_numbers(args.probability, names)
    images = [file for file in files if not media.is_video(file[0])]
    videos = [file for file in files if media.is_video(file[0])]
    if facts and videos:
        raise ValueError(f"{meta['checkpoint']} is not for images of three channels, and {videos[0][0]} is a video")
    report(args, machine, meta, settings, protocol, look, videos, others)
    frames = protocols.clip(meta["protocol"])
    whole, rows, failed = large.choose(images, args.by_rows, unsuited(args, settings, facts, frames["frames"]))
    failed += run(args, model, meta["normalisation"], frames, (whole, rows, videos), look, settings, probability)
    print(f"{len(files) - len(failed)} of {len(files)} files done, in {args.save_dir}")
    if failed:
        raise ValueError(f"{len(failed)} of {len(files)} files could not be read; they are named above")


def clip_reader(paths, frames, frame_stride, read_image):
    """-> a function path -> image, or for a network of clips the clip around it, (T, H, W, C)."""
    from datasets import clips

    if frames == 1:
        return read_image
    around = clips.of_files(paths, frames, frame_stride)
    alone = sum(len(set(names)) == 1 for names in around.values())
    if alone:
        print(f"{alone} of {len(paths)} images have no neighbours in a sequence of their folder: each is repeated")
    read_once = functools.lru_cache(min((frames - 1) * frame_stride + 1, 32))(read_image)
    return lambda path: clips.stack([read_once(name) for name in around[path]], around[path])


def run(args, model, normalisation, frames, files, look, settings, probability):
    """`files`: images, images by rows, videos; (path, name) each. -> messages about those that could not be read"""
    from datasets import clips, transforms
    from datasets.reading import bands, workers
    from utils import media
    from utils.evaluation import segment

    whole, rows, videos = ([(path, os.path.join(args.save_dir, name)) for path, name in group] for group in files)
    read_image = media.reader(bands.read, bands.facts_of(normalisation))
    read_image = clip_reader([path for path, _ in whole], **frames, read_image=read_image)

    def normalise(image):
        return transforms.on_device(image, normalisation)

    def normalise_rows(rows):
        return transforms.normalise(rows, normalisation)

    def read(file):
        return read_image(file[0]), None

    def read_video(function, tasks):
        images = itertools.takewhile(
            lambda image: image is not None, workers.run(function, tasks, min(args.num_workers, 1), ahead=4)
        )
        return clips.sliding(images, **frames) if frames["frames"] > 1 else images

    samples = zip(whole, workers.run(read, whole, args.num_workers, return_errors=True))
    failed = segment.images(model, samples, len(whole), normalise, look, settings, probability)
    for path, base in rows + videos:
        try:
            if media.is_video(path):
                segment.video(model, path, base, read_video, normalise, look, settings)
            else:
                segment.by_rows(model, path, base, normalise_rows, look, settings)
        except ValueError as error:
            failed.append(str(error))
            print(f"skipped: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    runtime.run(main, "predict.py")
