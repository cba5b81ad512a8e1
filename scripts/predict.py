#!/usr/bin/env python3
"""Segment images: colour map, overlay with legend and label PNG of each file; and videos, frame by frame.

    python scripts/predict.py --restore-from runs/demo/CS_scenes_500.npz --input photo.jpg holiday/ --save-dir out
    python scripts/predict.py --restore-from CS_scenes_60000.pth --input drive.mp4 --save-dir out

Writes NAME_label.png (pixels are class numbers), NAME_color.png, NAME_overlay.png; of a video NAME_overlay.mp4; of a
georeferenced TIFF also NAME_label.tif. PNG and TIFF images larger than memory are read and written by rows. Files that
cannot be read are reported and skipped; the exit code is then 1.
"""

import argparse
import itertools
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets import DATASETS  # noqa: E402
from models import MODELS, build_model  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import evaluate as eval_options  # noqa: E402


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


def main():
    args = parse_args()
    eval_options.check_inference(args)
    eval_options.before_jittor()
    machine = runtime.start(args.device, args.verbose, gpu=args.gpu)

    import jittor

    from datasets.classes import classes_of
    from datasets.reading.bands import facts_of
    from models.cca.functional import resolve
    from models.layers.fold import fold
    from utils import media
    from utils.evaluation import large, result_files
    from utils.training import amp
    from utils.weights import network

    if args.amp:
        amp.check(args.amp, machine["device"], runtime.compute_capabilities())
    if jittor.in_mpi:
        raise ValueError("predict.py is one process: start it without mpirun (evaluate.py shares images over ranks)")
    flags = {key: vars(args)[key] for key in ("model", "num_classes", "recurrence", "van_size", "align_corners")}
    options = {"source": args.source, "cca_backend": args.cca_backend}
    simplify = amp.simplify(args.amp, None if args.no_fold else fold)
    model, meta = network.load_network(args.restore_from, build_model, flags, simplify, **options)
    settings, _, protocol = eval_options.inference_arguments(args, meta, getattr(model, "align_corners", True))
    facts = facts_of(meta["normalisation"])  # of images of another number of channels than three
    files, others = find_inputs(args, (*media.IMAGES, ".npy") if facts else media.IMAGES)
    names, palette, settings["flip_pairs"] = classes_of(meta, args.dataset)
    void = 255 if meta.get("ignore_label") is None else meta["ignore_label"]
    look = result_files.Appearance(names, palette, args.opacity, args.min_confidence, void, args.confidence)
    probability = class_numbers(args.probability, names)
    images = [file for file in files if not media.is_video(file[0])]
    videos = [file for file in files if media.is_video(file[0])]
    print(runtime.describe(machine, resolve(args.cca_backend)))
    print(f"{meta['model']}, R = {meta['recurrence']}, {len(names)} classes")
    for remark in (
        protocol,
        *eval_options.describe(settings),
        *meta["remarks"],
        *eval_options.remarks(args, machine["device"], parallel=False),
    ):
        print(remark)
    if args.amp:
        print(meta["simplified"])
    for flag in [flag for flag in ("probability", "confidence") if vars(args)[flag] and videos]:
        print(f"--{flag} has no effect on videos")
    if others:
        print(f"{len(others)} other files in the folders are left alone, such as {others[0]}")
    whole_only = args.scales != (1.0,) or args.probability or settings["short_side"]
    unsuited = "--scales, --short-side and --probability need the whole image" if whole_only else None
    if facts:
        unsuited = "only images of three channels can be read by rows"
        if videos:
            raise ValueError(f"{meta['checkpoint']} is not for images of three channels, and {videos[0][0]} is a video")
    whole, by_rows, failed = large.choose(images, args.by_rows, unsuited)
    failed += segment_images(args, model, meta, whole, look, probability, settings)
    for path, name in by_rows + videos:
        try:
            one = segment_video if media.is_video(path) else segment_by_rows
            one(args, model, meta, path, name, look, settings)
        except ValueError as error:
            failed.append(str(error))
            print(f"skipped: {error}", file=sys.stderr)
    print(f"{len(files) - len(failed)} of {len(files)} files done, in {args.save_dir}")
    if failed:
        raise ValueError(f"{len(failed)} of {len(files)} files could not be read; they are named above")


def segment_images(args, model, meta, files, look, probability, settings):
    """Segment and write each file. -> messages about those that could not be read"""
    from tqdm import tqdm

    from datasets import transforms
    from datasets.reading import bands, workers
    from utils import media
    from utils.evaluation import inference, result_files, stream

    failed = []
    bar = tqdm(total=len(files), desc="predict", unit="image", dynamic_ncols=True, disable=not files)

    def normalise(image):
        return transforms.normalise(image, meta["normalisation"])

    read_image = media.reader(bands.read, bands.facts_of(meta["normalisation"]))

    def read(file):
        return read_image(file[0]), None

    def skip(_, error):
        failed.append(str(error))
        bar.write(f"skipped: {error}", file=sys.stderr)
        bar.update(1)

    samples = zip(files, workers.run(read, files, args.num_workers, return_errors=True))

    def write(name, path, image, label, sure):
        result_files.write(os.path.join(args.save_dir, name), image, label, look, sure, result_files.reference_of(path))
        bar.update(1)

    if probability:
        for file, sample in samples:
            if isinstance(sample, Exception):
                skip(file, sample)
                continue
            image, _ = sample
            label, scores = inference.predict_probabilities(model, normalise(image), **settings)
            write(file[1], file[0], image, label, scores.max(0))
            result_files.write_probabilities(os.path.join(args.save_dir, file[1]), scores, probability, look.names)
            stream.release_memory()
    else:
        options = {"on_error": skip, "confidence": look.wants_confidence, **settings}
        for (path, name), (image, _), found in stream.predictions(model, samples, normalise, **options):
            write(name, path, image, *(found if look.wants_confidence else (found, None)))
    bar.close()
    return failed


def segment_by_rows(args, model, meta, path, name, look, settings):
    """An image larger than memory: windows, and all files written from top to bottom."""
    import numpy as np
    from tqdm import tqdm

    from datasets import transforms
    from utils.evaluation import large, result_files
    from utils.raster import open_rows

    source = open_rows(path)
    settings = {**settings, "tile": settings["tile"] or large.TILE}
    print(
        f"{path} is read by rows, in windows of {settings['tile'][0]}x{settings['tile'][1]}; its overlay has no legend"
    )

    def normalise(image):
        return transforms.normalise(image, meta["normalisation"])

    base, reference = os.path.join(args.save_dir, name), result_files.reference_of(path)
    dtype = np.uint8 if len(look.names) <= 256 else np.uint16
    with result_files.Bands(base, source.size, dtype, look, reference) as files:
        with tqdm(total=source.size[0], desc=name, unit="row", dynamic_ncols=True) as bar:
            for image, label, sure in large.predict_rows(model, source, normalise, settings, look.wants_confidence):
                files.write(image, label, sure)
                bar.update(len(label))


def segment_video(args, model, meta, path, name, look, settings):
    """Write NAME_overlay.mp4; an interrupted run leaves NAME_overlay.part.mp4."""
    import numpy as np
    from tqdm import tqdm

    from datasets import transforms
    from datasets.reading import workers
    from utils import media
    from utils.evaluation import stream

    rate, count = media.video_facts(path)
    out, part = (os.path.join(args.save_dir, f"{name}_overlay{end}") for end in (".mp4", ".part.mp4"))
    os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
    frames = workers.run(media.FrameReader(path), itertools.count(), min(args.num_workers, 1), ahead=4)
    frames = ((k, (frame, None)) for k, frame in enumerate(itertools.takewhile(lambda f: f is not None, frames)))
    bar, writer = tqdm(total=count or None, desc=name, unit="frame", dynamic_ncols=True), None

    def normalise(image):
        return transforms.normalise(image, meta["normalisation"])

    try:
        unsure = look.minimum is not None
        for _, (image, _), found in stream.stream(model, frames, normalise, confidence=unsure, **settings):
            overlay = look.overlay(image, look.shown(*(found if unsure else (found, None)))[1])
            writer = writer or media.video_writer(part, overlay.shape[:2], rate)
            writer.write(np.ascontiguousarray(overlay[:, :, ::-1]))
            bar.update(1)
    finally:
        bar.close()
        if writer:
            writer.release()
    if not writer:
        raise ValueError(f"{path} has no frame that can be read")
    os.replace(part, out)


if __name__ == "__main__":
    runtime.run(main, "predict.py")
