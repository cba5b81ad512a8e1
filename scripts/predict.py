#!/usr/bin/env python3
"""Segment images: colour map, overlay with legend and label PNG of each file; and videos, frame by frame.

    python scripts/predict.py --restore-from runs/demo/CS_scenes_500.npz --input photo.jpg holiday/ --save-dir out
    python scripts/predict.py --restore-from CS_scenes_60000.pth --input drive.mp4 --save-dir out

Writes NAME_label.png (pixels are class numbers), NAME_color.png, NAME_overlay.png; of a video NAME_overlay.mp4. Files
that cannot be read are reported and skipped; the exit code is then 1.
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


def find_inputs(args):
    """-> ([(path, name of the files to write)], other files in the folders)"""
    from utils import media

    if any(media.same(given, args.save_dir) for given in args.input):
        raise ValueError(
            f"--save-dir {args.save_dir} is an input folder, too: results would be read as input; choose another"
        )
    files, others = media.find(args.input, without=args.save_dir)
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
    from models.cca.functional import resolve
    from models.layers.fold import fold
    from utils import media
    from utils.training import amp
    from utils.weights import network

    if args.amp:
        amp.check(args.amp, machine["device"], runtime.compute_capabilities())
    if jittor.in_mpi:
        raise ValueError("predict.py is one process: start it without mpirun (evaluate.py shares images over ranks)")
    files, others = find_inputs(args)
    flags = {key: vars(args)[key] for key in ("model", "num_classes", "recurrence", "van_size", "align_corners")}
    options = {"source": args.source, "cca_backend": args.cca_backend}
    simplify = amp.simplify(args.amp, None if args.no_fold else fold)
    model, meta = network.load_network(args.restore_from, build_model, flags, simplify, **options)
    corners = getattr(model, "align_corners", True)
    settings, _, protocol = eval_options.inference_arguments(args, meta, corners)
    names, palette, settings["flip_pairs"] = classes_of(meta, args.dataset)
    classes = {"names": names, "palette": palette, "probability": class_numbers(args.probability, names)}
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
    if args.probability and videos:
        print("--probability has no effect on videos")
    if others:
        print(f"{len(others)} other files in the folders are left alone, such as {others[0]}")

    failed = segment_images(args, model, meta, images, classes, settings)
    for path, name in videos:
        try:
            segment_video(args, model, meta, path, name, palette, settings)
        except ValueError as error:
            failed.append(str(error))
            print(f"skipped: {error}", file=sys.stderr)
    print(f"{len(files) - len(failed)} of {len(files)} files done, in {args.save_dir}")
    if failed:
        raise ValueError(f"{len(failed)} of {len(files)} files could not be read; they are named above")


def segment_images(args, model, meta, files, classes, settings):
    """Segment and write each file. -> messages about those that could not be read"""
    from tqdm import tqdm

    from datasets import transforms
    from datasets.reading import workers
    from utils import media
    from utils.evaluation import inference, stream

    failed = []
    bar = tqdm(total=len(files), desc="predict", unit="image", dynamic_ncols=True, disable=not files)

    def normalise(image):
        return transforms.normalise(image, meta["normalisation"])

    def read(file):
        return media.read_upright(file[0]), None

    def skip(_, error):
        failed.append(str(error))
        bar.write(f"skipped: {error}", file=sys.stderr)
        bar.update(1)

    samples = zip(files, workers.run(read, files, args.num_workers, return_errors=True))
    if classes["probability"]:
        for file, sample in samples:
            if isinstance(sample, Exception):
                skip(file, sample)
                continue
            image, _ = sample
            label, probability = inference.predict_probabilities(model, normalise(image), **settings)
            write_image(args, file[1], image, label, classes)
            write_probabilities(args, file[1], probability, classes)
            stream.release_memory()
            bar.update(1)
    else:
        results = stream.predictions(model, samples, normalise, on_error=skip, **settings)
        for (_, name), (image, _), label in results:
            write_image(args, name, image, label, classes)
            bar.update(1)
    bar.close()
    return failed


def write_image(args, name, image, label, classes):
    """NAME_label.png, NAME_color.png, NAME_overlay.png."""
    import numpy as np
    from PIL import Image

    from utils.drawing import figures
    from utils.evaluation.exports import save_png

    names, palette = classes["names"], classes["palette"]
    base = os.path.join(args.save_dir, name)
    os.makedirs(os.path.dirname(base) or ".", exist_ok=True)
    overlay = figures.overlay(image[:, :, ::-1], label, palette, args.opacity)
    indices = label if label.dtype == np.uint8 else label.astype(np.uint16)
    save_png(Image.fromarray(indices), f"{base}_label.png")
    save_png(Image.fromarray(figures.colourise(label, palette)), f"{base}_color.png")
    save_png(figures.with_legend(overlay, label, names, palette), f"{base}_overlay.png")


def write_probabilities(args, name, probability, classes):
    """NAME_probability_CLASS.png of the classes that --probability names."""
    import numpy as np
    from PIL import Image

    from utils.evaluation.exports import save_png

    for k in classes["probability"]:
        level = Image.fromarray((255 * probability[k]).round().astype(np.uint8))
        class_name = classes["names"][k].replace(" ", "_").replace("/", "_")
        save_png(level, os.path.join(args.save_dir, f"{name}_probability_{class_name}.png"))


def segment_video(args, model, meta, path, name, palette, settings):
    """Write NAME_overlay.mp4; an interrupted run leaves NAME_overlay.part.mp4."""
    import numpy as np
    from tqdm import tqdm

    from datasets import transforms
    from datasets.reading import workers
    from utils import media
    from utils.drawing import figures
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
        for _, (image, _), label in stream.stream(model, frames, normalise, **settings):
            overlay = figures.overlay(image[:, :, ::-1], label, palette, args.opacity)
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
