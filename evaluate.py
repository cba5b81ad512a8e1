"""Evaluate a checkpoint: per-class tables, result.json, pictures, files for test servers.

    python evaluate.py --restore-from runs/demo/CS_scenes_500.npz --save-dir runs/demo
    python evaluate.py --restore-from CS_scenes_60000.pth --data-dir cityscapes --input-size 769,769 --flip
    python evaluate.py --restore-from CS_scenes_60000.pth --data-dir cityscapes --split test --export cityscapes
    mpirun -np 4 python evaluate.py ...          # each picture on exactly one rank, the same result

Model, classes, recurrence, normalisation and the folder of the data come from the checkpoint; a flag that contradicts
the network is an error, and --data-dir names other data.
"""

import json
import os

from datasets import CHOICES, build_dataset
from models import MODELS, build_model
from utils import runtime
from utils.options import evaluate as eval_options
from utils.options import shared


def parse_args(argv=None):
    return eval_options.parse(argv, sorted(MODELS), CHOICES, runtime.DEVICES, __doc__.split("\n")[0])


def open_data(args, meta):
    """-> the dataset that the flags name or the checkpoint records, with the checkpoint's classes; lines to print."""
    from datasets.find import recorded_place

    if args.cache != "off":
        raise ValueError("--cache has nothing to keep here, every picture is read once: leave it out")
    place, line = recorded_place(meta, meta["checkpoint"], args.dataset, args.data_dir, args.scene_size)
    source = {**{name: vars(args)[name] for name in shared.SOURCE}, **place}
    source.update(num_classes=meta["num_classes"], num_workers=0)  # ADE20K has 150 or 151, CamVid 11 or 32
    if args.ignore_label is None:
        source.update(ignore_label=meta["ignore_label"], grey_labels=meta.get("grey_labels"))
    data = build_dataset(split=args.split, **source)
    lines = [line] * bool(line) + shared.unused_data_flags(args, place["name"])
    other = [(k, *pair) for k, pair in enumerate(zip(meta.get("names", ()), data.names)) if len(set(pair)) > 1]
    if other:
        lines.append("class {} is {!r} in the checkpoint and {!r} in this data set".format(*other[0]))
    return data, lines


def main():
    args = parse_args()
    how = eval_options.inference_arguments(args)  # what makes no sense together ends here, before anything is loaded
    eval_options.before_jittor()
    machine = runtime.start(args.device, args.verbose, gpu=args.gpu)  # Jittor is imported here, and not before

    import numpy as np
    from tqdm import tqdm

    from datasets import transforms
    from datasets.reading import workers
    from datasets.reading.image_io import DataError
    from models.cca.functional import resolve
    from models.layers.fold import fold
    from utils.distributed import all_sum, is_main, shard, spread
    from utils.drawing import figures
    from utils.drawing.confusion_figure import confusion_figure
    from utils.evaluation import cityscapes, exports, stream
    from utils.evaluation.boundary import BoundaryScore
    from utils.evaluation.gallery import Gallery, thumbnail
    from utils.evaluation.scores import Scores
    from utils.pages.report import write_report
    from utils.training.logger import write_json
    from utils.weights import network

    asked = {key: vars(args)[key] for key in ("model", "num_classes", "recurrence", "van_size")}
    simplify = None if args.no_fold else fold
    chosen = {"source": args.source, "cca_backend": args.cca_backend}
    model, meta = network.load_network(args.restore_from, build_model, asked, simplify, **chosen)
    data, lines = open_data(args, meta)
    kind = data.dataset_name
    count = min(args.max_images or data.total_len, data.total_len)
    save_dir = args.save_dir or os.path.join(os.path.dirname(meta["checkpoint"]), "outputs")
    if is_main():
        print(runtime.describe(machine, resolve(args.cca_backend)))
        about = (
            f"{meta['model']}, R = {meta['recurrence']}, {meta['num_classes']} classes, {eval_options.describe(how)}"
        )
        print(
            f"{about}; {meta['normalisation']['channels']} minus {meta['normalisation']['mean']}; {meta['simplified']}"
        )
        for remark in (*meta["remarks"], *lines, *eval_options.remarks(args, machine["device"])):
            print(remark)
    os.makedirs(os.path.join(save_dir, "predictions" if args.save_predictions else ""), exist_ok=True)
    samples = [data.sample_name(index) for index in range(count)]
    if args.export and args.export != kind:
        raise ValueError(
            f"--export {args.export} is for that data set, and this is {kind}; leave it out, or see --dataset"
        )
    if args.split == "test" and not (data.read(0)[1] != data.ignore_label).any():
        if args.min_miou is not None or args.boundary is not None:
            raise ValueError(f"--split test of {kind} has no labels to score: leave out --min-miou and --boundary")
        if not args.export and not args.save_predictions:
            raise ValueError(f"--split test of {kind} has no labels to score: add --export or --save-predictions")
    export = exports.Export(args.export, save_dir, args.split, meta["num_classes"], samples) if args.export else None
    if export and count < data.total_len and is_main():
        print(f"only {count} of {data.total_len} files will be exported (--max-images); the server wants all of them")
    how["flip_pairs"] = getattr(data, "flip_pairs", ())

    instances = [None] * count
    if kind == "cityscapes" and hasattr(data, "pairs"):  # a packed one has no files of instances
        instances = [cityscapes.instance_file(label) for _, label in data.pairs[:count]]
    elif kind == "cityscapes" and is_main():
        print("no iIoU: a packed folder has no instance files; for it, evaluate on the original folder")
    scores = Scores(
        data.names,
        data.ignore_label,
        count,
        categories=cityscapes.CATEGORIES if kind == "cityscapes" else None,
        instance=cityscapes.instance_score() if all(instances) else None,
        boundary=None if args.boundary is None else BoundaryScore(len(data.names), data.ignore_label, args.boundary),
    )
    gallery, rows = Gallery(args.examples, data.palette, data.ignore_label), []

    def read(index):
        """Picture, label and instances; runs in a process of its own."""
        objects = cityscapes.read_instances(instances[index]) if scores.instance else None
        return (*data.read(index), objects)

    def normalise(image):
        return transforms.normalise(image, meta["normalisation"])

    def left_out(index, error):
        if args.on_bad_sample == "error" or not isinstance(error, DataError):
            raise error
        data.report((), [(index, str(error))])  # an error when there are too many
        scores.leave_out(index)
        bar.update(1)

    mine = shard(count)
    shown = spread(mine, args.sheet_rows) if is_main() else ()
    bar = tqdm(total=len(mine), desc="evaluate", unit="image", disable=not is_main(), dynamic_ncols=True)
    read_ahead = zip(mine, workers.run(read, mine, args.num_workers, return_errors=True))
    for index, (image, label, objects), prediction in stream.predictions(model, read_ahead, normalise, left_out, **how):
        if export:
            export.write(samples[index], prediction)
        if args.save_predictions:
            exports.save_label(prediction, data.palette, os.path.join(save_dir, "predictions", f"{samples[index]}.png"))
        score = scores.update(index, label, prediction, objects)
        gallery.offer(index, score, image, label, prediction)
        if index in shown:
            rows.append([thumbnail(panel, 384) for panel in gallery.panels(image, label, prediction)[:3]])
        bar.update(1)
        bar.set_postfix_str(f"mIoU {100 * scores.matrix.miou:.2f}", refresh=False)
    bar.close()
    scores.reduce(all_sum)
    data.check_share(int(scores.left_out[0]), "on all ranks together")
    if scores.matrix.counts.any():
        gallery.write(os.path.join(save_dir, "examples"), scores.ranking())
    all_sum(np.zeros(1))  # the report below shows what all ranks have written
    if not is_main():
        return

    titles = ("picture", "truth", "prediction")
    if rows:
        figures.contact_sheet(rows, titles, data.names, data.palette).save(os.path.join(save_dir, "sheet.png"))
    if export:
        print(f"{count} files for the {args.export} server in {export.folder}")
    if not scores.matrix.counts.any():
        print(f"{count} images without a labelled pixel: nothing to score; sheet.png in {save_dir}")
        return
    print(scores.table())
    result, palette = scores.result(), [[int(part) for part in colour] for colour in data.palette]
    settings = {"checkpoint": meta["checkpoint"], "step": meta.get("step"), "model": meta["model"], "dataset": kind}
    settings.update(recurrence=meta["recurrence"], normalisation=meta["normalisation"], how=how)
    settings.update(split=args.split, options=vars(args), machine=machine)
    left = int(scores.left_out[0])
    result.update(images=count - left, left_out=left, palette=palette, settings=settings)
    write_json(os.path.join(save_dir, "result.json"), result)
    with open(os.path.join(save_dir, "result.txt"), "w") as file:
        json.dump(scores.official(), file)
    scores.write_tables(save_dir, samples)
    confusion_figure(scores.matrix.counts, data.names).save(os.path.join(save_dir, "confusion.png"))
    print(f"{count - left} images: mean IoU {scores.matrix.miou:.4f}; tables and sheet.png in {save_dir}")
    print(f"report: {write_report(save_dir)}")
    if args.min_miou is not None and not scores.matrix.miou >= args.min_miou:
        raise ValueError(f"mean IoU is {scores.matrix.miou:.4f}, below --min-miou {args.min_miou}")


if __name__ == "__main__":
    runtime.run(main, "evaluate.py")
