"""Evaluate a checkpoint: per-class table, result.json, result.txt, pictures.

    python evaluate.py --restore-from runs/demo/CS_scenes_400.npz --save-dir runs/demo

Model, classes and normalisation come from the checkpoint. Under mpirun each picture is counted by exactly one rank.
"""

import argparse
import json
import os

from datasets import CHOICES, build_dataset
from models import MODELS, build_model
from utils import options, runtime


def parse_args(argv=None):
    shared = options.common_parser(sorted(MODELS), CHOICES, runtime.DEVICES)
    parser = argparse.ArgumentParser("evaluate.py", parents=[shared], description=__doc__.split("\n")[0])
    run = parser.add_argument_group("evaluation")
    run.add_argument("--restore-from", required=True, metavar="FILE", help="of train.py, PyTorch, Jittor: see README")
    run.add_argument("--save-dir", help="default: <folder of the checkpoint>/outputs")
    run.add_argument("--split", default="val", help="default: %(default)s")
    run.add_argument("--max-images", type=options.positive, help="evaluate only the first so many")
    run.add_argument("--no-fold", action="store_true", help="run each BatchNorm by itself: slower, the same results")
    run.add_argument("--min-miou", type=float, metavar="X", help="fail (exit code 1) below this mean IoU, 0 to 1")
    run.add_argument(
        "--sheet-rows", type=options.positive, default=6, help="pictures on sheet.png (default: %(default)s)"
    )
    return parser.parse_args(argv)


def main():
    args = parse_args()
    machine = runtime.start(args.device, args.verbose)  # Jittor is imported here, and not before

    import numpy as np
    from tqdm import tqdm

    from datasets import transforms
    from models.cca.functional import resolve
    from models.fold import fold
    from utils import checkpoint, visualize, weights
    from utils.distributed import all_sum, is_main, shard
    from utils.inference import predict
    from utils.logger import write_json
    from utils.metrics import ConfusionMatrix

    arrays, meta = weights.read(args.restore_from)
    if is_main():
        print(runtime.describe(machine, resolve(args.cca_backend)))
        for remark in meta.get("remarks", ()):
            print(f"{args.restore_from}: {remark}")
    if meta["num_classes"] is None:
        raise ValueError(f"{args.restore_from} is a backbone without a head: something to train from, not to evaluate")
    source = {name: vars(args)[name] for name in options.SOURCE}
    source["num_classes"] = args.num_classes or meta["num_classes"]  # ADE20K has 150 or 151, CamVid 11 or 32
    if args.ignore_label is None:
        source["ignore_label"] = meta["ignore_label"]
    data = build_dataset(args.dataset, args.split, **source)
    ignore = data.ignore_label
    model = build_model(
        meta["model"],
        meta["num_classes"],
        meta["recurrence"],
        cca_backend=args.cca_backend,
        **meta.get("model_options", {}),
    )
    checkpoint.load_weights(model, arrays, args.restore_from)
    model.eval()
    if not args.no_fold:
        fold(model)

    mine = list(shard(min(args.max_images or data.total_len, data.total_len)))
    matrix, rows = ConfusionMatrix(meta["num_classes"], ignore), []
    bar = tqdm(total=len(mine), desc="evaluate", unit="image", disable=not is_main(), dynamic_ncols=True)
    for first in range(0, len(mine), args.batch_size):
        pairs = [data.read(index) for index in mine[first : first + args.batch_size]]
        images = np.stack([transforms.normalise(image, meta["normalisation"]) for image, _ in pairs])
        predictions = predict(model, images, pairs[0][1].shape)
        for (image, label), prediction in zip(pairs, predictions):
            matrix.update(label, prediction)
            if len(rows) < args.sheet_rows:
                shown = np.where(label == ignore, ignore, prediction)
                rows.append([image[:, :, ::-1], *(visualize.colourise(x, data.palette) for x in (label, shown))])
        bar.update(len(pairs))
        bar.set_postfix_str(f"mIoU {100 * matrix.miou:.2f}", refresh=False)
    bar.close()
    matrix.counts = all_sum(matrix.counts)

    if is_main():
        table = matrix.table(data.names)
        print(table)
        save_dir = args.save_dir or os.path.join(os.path.dirname(args.restore_from), "outputs")
        os.makedirs(save_dir, exist_ok=True)
        result = {
            "miou": matrix.miou,
            "pixel_accuracy": matrix.pixel_accuracy,
            "iou": {name: None if np.isnan(x) else float(x) for name, x in zip(data.names, matrix.iou)},
            "images": min(args.max_images or data.total_len, data.total_len),
            "settings": {
                "checkpoint": args.restore_from,
                "step": meta.get("step"),
                "options": vars(args),
                "machine": machine,
            },
        }
        write_json(os.path.join(save_dir, "result.json"), result)
        with open(os.path.join(save_dir, "result.txt"), "w") as file:  # the two keys of the official script
            json.dump({"meanIU": matrix.miou, "IU_array": np.nan_to_num(matrix.iou).tolist()}, file)
        titles = ("picture", "truth", "prediction")
        visualize.contact_sheet(rows, titles, data.names, data.palette).save(os.path.join(save_dir, "sheet.png"))
        print(f"{result['images']} images: mean IoU {matrix.miou:.4f}; tables and sheet.png in {save_dir}")
        if args.min_miou is not None and not matrix.miou >= args.min_miou:
            raise ValueError(f"mean IoU is {matrix.miou:.4f}, below --min-miou {args.min_miou}")


if __name__ == "__main__":
    try:
        main()
    except (runtime.MachineError, ValueError, FileNotFoundError) as error:
        runtime.stop(f"evaluate.py: {error}")
