"""Evaluate a checkpoint: per-class tables, result.json, images with their errors, files for test servers.

    python evaluate.py --restore-from runs/demo/CS_scenes_500.npz --save-dir runs/demo
    python evaluate.py --restore-from CS_scenes_60000.pth --data-dir cityscapes --input-size 769,769 --flip
    python evaluate.py --restore-from CS_scenes_60000.pth --data-dir cityscapes --split test --export cityscapes
    mpirun -np 4 python evaluate.py ...          # each image on exactly one rank, the same result

Model, classes, recurrence, normalisation, the folder of the data and the protocol (whole images or sliding windows,
scaling, align_corners) are recorded in the checkpoint; the protocol is printed. A flag that contradicts the network is
an error; flags change the protocol, --data-dir selects other data.
"""

import json
import os

from datasets import CHOICES, GENERATED, build_dataset
from models import MODELS, build_model
from utils import runtime
from utils.evaluation import protocol as protocols
from utils.options import evaluate as eval_options
from utils.options import shared


def parse_args(argv=None):
    return eval_options.parse(argv, sorted(MODELS), CHOICES, runtime.DEVICES, __doc__.split("\n")[0])


def open_data(args, meta):
    """-> the dataset that the flags name or the checkpoint records, with the checkpoint's classes; lines to print."""
    from datasets.find import recorded_place
    from datasets.reading.bands import facts_of

    if args.cache != "off":
        raise ValueError("--cache has no effect in evaluation, which reads each image once: leave it out")
    place, line = recorded_place(meta, meta["checkpoint"], args.dataset, args.data_dir, args.scene_size)
    source = {**{name: vars(args)[name] for name in shared.SOURCE}, **place}
    source.update({key: value for key, value in facts_of(meta["normalisation"]).items() if source[key] is None})
    source.update(num_classes=meta["num_classes"], num_workers=0)  # ADE20K has 150 or 151, CamVid 11 or 32
    source.update(protocols.clip(meta["protocol"]))
    if args.ignore_label is None:
        source.update(ignore_label=meta["ignore_label"], grey_labels=meta.get("grey_labels"))
    data = build_dataset(split=args.split, **source)
    lines = [line] * bool(line) + shared.unused_data_flags(args, place["name"], GENERATED)
    renamed = [(k, *pair) for k, pair in enumerate(zip(meta.get("names", ()), data.names)) if len(set(pair)) > 1]
    if renamed:
        lines.append("class {} is {!r} in the checkpoint and {!r} in this dataset".format(*renamed[0]))
    return data, lines


def open_network(args, device):
    """-> (the network of --restore-from in evaluation mode, what the file records)"""
    from models.layers.fold import fold
    from utils.training import amp
    from utils.weights import network

    if args.amp:
        amp.check(args.amp, device, runtime.compute_capabilities())
    flags = {key: vars(args)[key] for key in eval_options.NETWORK_FLAGS}
    options = {"source": args.source, "cca_backend": args.cca_backend}
    simplify = amp.simplify(args.amp, None if args.no_fold else fold)
    return network.load_network(args.restore_from, build_model, flags, simplify, **options)


def check_split(args, data):
    """One error for flags that do not fit the dataset or a split without labels."""
    name = data.dataset_name
    if args.export and args.export != name:
        raise ValueError(
            f"--export {args.export} is for another dataset than this one, {name}; leave it out, or see --dataset"
        )
    if args.split == "test" and not (data.read(0)[1] != data.ignore_label).any():
        if args.min_miou is not None or args.boundary is not None:
            raise ValueError(f"--split test of {name} has no labels to score: leave out --min-miou and --boundary")
        if not args.export and not args.save_predictions:
            raise ValueError(f"--split test of {name} has no labels to score: add --export or --save-predictions")


def describe_run(args, machine, meta, settings, data, count, lines):
    """The first lines of an evaluation."""
    from models.cca.functional import resolve

    record = meta["normalisation"]
    network = f"{meta['model']}, R = {meta['recurrence']}, {meta['num_classes']} classes"
    print(runtime.describe(machine, resolve(args.cca_backend)))
    print(f"{network}; {record['channels']} minus {record['mean']}; {meta['simplified']}")
    for line in (
        *lines,
        *eval_options.describe(settings),
        *meta["remarks"],
        *eval_options.remarks(args, machine["device"]),
    ):
        print(line)
    if args.export and count < data.total_len:
        print(f"only {count} of {data.total_len} files will be exported (--eval-images); the server wants all of them")
    if data.instance_remark:
        print(data.instance_remark)


def build_scores(args, data, count):
    """-> (Scores, the instance file of each image or None)"""
    from utils.evaluation.boundary import BoundaryScore
    from utils.evaluation.instances import InstanceScore
    from utils.evaluation.scores import Scores

    files = [data.instance_file(index) for index in range(count)]
    instance = InstanceScore(data.instance_sizes, data.ids, data.categories) if all(files) else None
    boundary = None
    if args.boundary is not None:
        boundary = BoundaryScore(len(data.names), data.ignore_label, args.boundary)
    return Scores(data.names, data.ignore_label, count, data.categories, instance, boundary), files


def main():
    args = parse_args()
    eval_options.check_inference(args)  # contradicting flags are an error before anything is loaded
    eval_options.before_jittor()
    gpus = {"gpu": args.gpu, "cudnn_workspace": args.cudnn_workspace}
    machine = runtime.start(args.device, args.verbose, **gpus)  # Jittor is imported here, and not before

    import numpy as np

    from utils.distributed import all_sum, is_main
    from utils.evaluation.exports import Export, save_label
    from utils.evaluation.gallery import Gallery

    model, meta = open_network(args, machine["device"])
    corners = getattr(model, "align_corners", True)
    settings, meta["protocol"], line = eval_options.inference_arguments(args, meta, corners)
    data, lines = open_data(args, meta)
    count = min(args.eval_images or data.total_len, data.total_len)
    save_dir = args.save_dir or os.path.join(os.path.dirname(meta["checkpoint"]), "outputs")
    if is_main():
        describe_run(args, machine, meta, settings, data, count, [line, *lines])
    check_split(args, data)
    os.makedirs(os.path.join(save_dir, "predictions" if args.save_predictions else ""), exist_ok=True)
    samples = [data.sample_name(index) for index in range(count)]
    export = Export(args.export, save_dir, args.split, meta["num_classes"], samples) if args.export else None
    settings["flip_pairs"] = getattr(data, "flip_pairs", ())

    scores, instance_files = build_scores(args, data, count)
    gallery = Gallery(args.examples, data.palette, data.ignore_label)

    def write(index, prediction):
        if export:
            export.write(samples[index], prediction)
        if args.save_predictions:
            save_label(prediction, data.palette, os.path.join(save_dir, "predictions", f"{samples[index]}.png"))

    rows = score_images(args, model, meta, data, count, settings, scores, instance_files, gallery, write)
    scores.reduce(all_sum)
    data.check_share(int(scores.left_out[0]), "on all ranks together")
    if scores.matrix.counts.any():
        gallery.write(os.path.join(save_dir, "examples"), scores.ranking())
    all_sum(np.zeros(1))  # the report shows what all ranks have written
    if is_main():
        if export:
            print(f"{count} files for the {args.export} server in {export.folder}")
        write_results(args, machine, meta, data, samples, settings, scores, rows, save_dir)


def score_images(args, model, meta, data, count, settings, scores, instance_files, gallery, write):
    """Segment and score this rank's images; `write(index, prediction)` saves files. -> rows of sheet.png"""
    from tqdm import tqdm

    from datasets import transforms
    from datasets.reading import workers
    from datasets.reading.image_io import DataError
    from utils.distributed import is_main, shard, spread
    from utils.evaluation import stream
    from utils.evaluation.gallery import thumbnail
    from utils.evaluation.instances import read_instances

    def read(index):
        """Image, label and instances; called in a worker process."""
        instances = read_instances(instance_files[index]) if scores.instance else None
        return (*data.read(index), instances)

    def normalise(image):
        return transforms.on_device(image, meta["normalisation"])

    def leave_out(index, error):
        if args.on_bad_sample == "error" or not isinstance(error, DataError):
            raise error
        data.report((), [(index, str(error))])  # an error when there are too many
        scores.leave_out(index)
        bar.update(1)

    mine = shard(count)
    shown, rows = spread(mine, args.sheet_rows) if is_main() else (), []
    bar = tqdm(total=len(mine), desc="evaluate", unit="image", disable=not is_main(), dynamic_ncols=True)
    read_ahead = zip(mine, workers.run(read, mine, args.num_workers, return_errors=True))
    results = stream.predictions(model, read_ahead, normalise, leave_out, **settings)
    for index, (image, label, instances), prediction in results:
        write(index, prediction)
        score = scores.update(index, label, prediction, instances)
        gallery.offer(index, score, image, label, prediction)
        if index in shown:
            rows.append([thumbnail(panel, 384) for panel in gallery.panels(image, label, prediction)[:3]])
        bar.update(1)
        bar.set_postfix_str(f"mIoU {100 * scores.matrix.miou:.2f}", refresh=False)
    bar.close()
    return rows


def write_results(args, machine, meta, data, samples, settings, scores, rows, save_dir):
    """Print the tables; write result.json, result.txt, tables, figures and the report. On the main rank."""
    from utils.drawing import figures
    from utils.drawing.confusion_figure import confusion_figure
    from utils.pages.report import write_report
    from utils.training.logger import write_json

    if rows:
        sheet = figures.contact_sheet(rows, ("image", "label", "prediction"), data.names, data.palette)
        sheet.save(os.path.join(save_dir, "sheet.png"))
    if not scores.matrix.counts.any():
        return print(f"{len(samples)} images without a labelled pixel: nothing to score; sheet.png in {save_dir}")
    print(scores.table())
    result, left_out = scores.result(), int(scores.left_out[0])
    recorded = {"checkpoint": meta["checkpoint"], "step": meta.get("step"), "model": meta["model"]}
    recorded.update(dataset=data.dataset_name, recurrence=meta["recurrence"], normalisation=meta["normalisation"])
    recorded.update({"how": settings, "protocol": meta["protocol"], "split": args.split})
    recorded.update(options=vars(args), machine=machine)
    result.update(images=len(samples) - left_out, left_out=left_out, settings=recorded)
    result["palette"] = [[int(part) for part in colour] for colour in data.palette]
    write_json(os.path.join(save_dir, "result.json"), result)
    with open(os.path.join(save_dir, "result.txt"), "w") as file:
        json.dump(scores.official(), file)
    scores.write_tables(save_dir, samples)
    confusion_figure(scores.matrix.counts, data.names).save(os.path.join(save_dir, "confusion.png"))
    print(f"{result['images']} images: mean IoU {scores.matrix.miou:.4f}; tables and sheet.png in {save_dir}")
    print(f"report: {write_report(save_dir)}")
    if args.min_miou is not None and not scores.matrix.miou >= args.min_miou:
        raise ValueError(f"mean IoU is {scores.matrix.miou:.4f}, below --min-miou {args.min_miou}")


if __name__ == "__main__":
    runtime.run(main, "evaluate.py")
