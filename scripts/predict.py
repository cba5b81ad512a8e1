#!/usr/bin/env python3
"""Segment pictures: colour map, overlay with legend and label PNG of each file; or a video, frame by frame.

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
    add = parser.add_argument_group("pictures").add_argument
    add("--input", nargs="+", required=True, metavar="PATH", help="pictures, folders of pictures, videos")
    add("--save-dir", required=True, metavar="DIR")
    add("--dataset", choices=sorted(DATASETS), help="whose class names and colours (default: what the checkpoint says)")
    add(
        "--opacity", type=eval_options.fraction, default=0.55, metavar="X", help="of the overlay (default: %(default)s)"
    )
    add(
        "--probability",
        nargs="?",
        const="all",
        metavar="CLASS,..",
        help="also NAME_probability_CLASS.png, 255 for certain, of these classes or of all",
    )
    add = parser.add_argument_group("machine").add_argument
    add("--cca-backend", default="auto", choices=("auto", "reference", "fused"), help="attention (default: auto)")
    add("--device", choices=runtime.DEVICES, default="auto", help="default: %(default)s")
    add("--verbose", action="store_true", help="let Jittor speak")
    return parser.parse_args(argv)


def chosen_classes(text, names):
    """--probability -> class numbers."""
    wanted = list(names) if text == "all" else [part.strip() for part in (text or "").split(",") if part.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"--probability {unknown[0]!r} is no class here; choose from {', '.join(names)}")
    return [list(names).index(name) for name in wanted]


def main():
    args = parse_args()
    how = eval_options.inference_arguments(args)
    eval_options.before_jittor()
    machine = runtime.start(args.device, args.verbose, gpu=args.gpu)

    import jittor
    import numpy as np
    from PIL import Image
    from tqdm import tqdm

    from datasets import transforms
    from datasets.classes import classes_of
    from datasets.reading import workers
    from models.cca.functional import resolve
    from models.layers.fold import fold
    from utils import media
    from utils.drawing import figures
    from utils.evaluation import exports, inference, stream
    from utils.weights import network

    if jittor.in_mpi:
        raise ValueError("predict.py is one process: start it without mpirun (evaluate.py shares pictures over ranks)")
    if any(media.same(given, args.save_dir) for given in args.input):
        raise ValueError(
            f"--save-dir {args.save_dir} is an input folder, too: what is written would be read; take another"
        )
    found, others = media.find(args.input, without=args.save_dir)
    if not found:
        endings = " ".join((*media.PICTURES, *media.VIDEOS))
        raise ValueError(f"--input {' '.join(args.input)} holds no picture or video ({endings})")
    asked = {key: vars(args)[key] for key in ("model", "num_classes", "recurrence", "van_size")}
    simplify = None if args.no_fold else fold
    chosen = {"source": args.source, "cca_backend": args.cca_backend}
    model, meta = network.load_network(args.restore_from, build_model, asked, simplify, **chosen)
    names, palette, how["flip_pairs"] = classes_of(meta, args.dataset)
    wanted = chosen_classes(args.probability, names)
    print(runtime.describe(machine, resolve(args.cca_backend)))
    print(f"{meta['model']}, R = {meta['recurrence']}, {len(names)} classes, {eval_options.describe(how)}")
    for remark in (*meta["remarks"], *eval_options.remarks(args, machine["device"], parallel=False)):
        print(remark)
    if wanted and any(media.is_video(path) for path, _ in found):
        print("--probability has no effect on videos")
    if others:
        print(f"{len(others)} other files in the folders are left alone, such as {others[0]}")

    def normalise(image):
        return transforms.normalise(image, meta["normalisation"])

    def write(image, label, name):
        base = os.path.join(args.save_dir, name)
        os.makedirs(os.path.dirname(base) or ".", exist_ok=True)
        colours = figures.colourise(label, palette)
        overlay = figures.overlay(image[:, :, ::-1], label, palette, args.opacity)
        grey = label if label.dtype == np.uint8 else label.astype(np.uint16)
        exports.save_png(Image.fromarray(grey), f"{base}_label.png")
        exports.save_png(Image.fromarray(colours), f"{base}_color.png")
        exports.save_png(figures.with_legend(overlay, label, names, palette), f"{base}_overlay.png")

    def segment_video(path, name):
        rate, count = media.video_facts(path)
        out, part = (os.path.join(args.save_dir, f"{name}_overlay{end}") for end in (".mp4", ".part.mp4"))
        os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
        frames = workers.run(media.FrameReader(path), itertools.count(), min(args.num_workers, 1), ahead=4)
        frames = ((k, (frame, None)) for k, frame in enumerate(itertools.takewhile(lambda f: f is not None, frames)))
        bar, writer = tqdm(total=count or None, desc=name, unit="frame", dynamic_ncols=True), None
        try:
            for _, (image, _), label in stream.stream(model, frames, normalise, **how):
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
        os.replace(part, out)  # what an interrupted run leaves is called .part.mp4

    failed = []
    files = [(path, name) for path, name in found if not media.is_video(path)]
    bar = tqdm(total=len(files), desc="predict", unit="image", dynamic_ncols=True, disable=not files)

    def read(task):
        return media.read_upright(task[0]), None

    def skip(_, error):
        failed.append(str(error))
        bar.write(f"skipped: {error}", file=sys.stderr)
        bar.update(1)

    samples = zip(files, workers.run(read, files, args.num_workers, return_errors=True))
    if wanted:
        for task, sample in samples:
            if isinstance(sample, Exception):
                skip(task, sample)
                continue
            (_, name), (image, _) = task, sample
            label, probability = inference.predict_probabilities(model, normalise(image), **how)
            write(image, label, name)
            for k in wanted:
                level = Image.fromarray((255 * probability[k]).round().astype(np.uint8))
                safe = names[k].replace(" ", "_").replace("/", "_")
                exports.save_png(level, os.path.join(args.save_dir, f"{name}_probability_{safe}.png"))
            stream.release_memory()
            bar.update(1)
    else:
        done = stream.predictions(model, samples, normalise, on_error=skip, **how)
        for (_, name), (image, _), label in done:
            write(image, label, name)
            bar.update(1)
    bar.close()
    for path, name in found:
        if media.is_video(path):
            try:
                segment_video(path, name)
            except ValueError as error:
                failed.append(str(error))
                print(f"skipped: {error}", file=sys.stderr)
    print(f"{len(found) - len(failed)} of {len(found)} files done, in {args.save_dir}")
    if failed:
        raise ValueError(f"{len(failed)} of {len(found)} files could not be read; they are named above")


if __name__ == "__main__":
    runtime.run(main, "predict.py")
