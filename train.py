"""Train CCNet.

    python train.py --model ccnet_r18 --dataset scenes --random-mirror --num-steps 400     # one device
    mpirun -np 4 python train.py ...                                                       # four, the same global batch

Writes into --snapshot-dir: CS_scenes_<step>.npz, log.csv, args.json, loss.png. evaluate.py takes it from there.
"""

import argparse
import json
import math
import os
import sys

from datasets import AUGMENT, CHOICES, training_data
from models import MODELS, build_model
from utils import options, runtime


def parse_args(argv=None):
    shared = options.common_parser(sorted(MODELS), CHOICES, runtime.DEVICES)
    parser = argparse.ArgumentParser("train.py", parents=[shared], description=__doc__.split("\n")[0])
    run = parser.add_argument_group("training")
    run.add_argument("--model", choices=sorted(MODELS), default="ccnet_r18", help="default: %(default)s")
    run.add_argument("--recurrence", type=int, default=2, help="passes through the attention (default: %(default)s)")
    run.add_argument("--num-steps", "--max-iter", type=options.positive, default=40000, help="default: %(default)s")
    run.add_argument("--learning-rate", type=float, default=1e-2, help="at step 0 (default: %(default)s)")
    run.add_argument("--power", type=float, default=0.9, help="of the poly schedule (default: %(default)s)")
    run.add_argument("--optimizer", choices=("sgd", "adamw"), default="sgd", help="default: %(default)s")
    run.add_argument("--momentum", type=float, default=0.9, help="of SGD (default: %(default)s)")
    run.add_argument("--weight-decay", type=float, default=5e-4, help="default: %(default)s")
    run.add_argument(
        "--input-size", type=options.size, default=(769, 769), metavar="H,W", help="crop (default: 769,769)"
    )
    run.add_argument("--split", default="train", help="of the data set (default: %(default)s)")
    run.add_argument("--random-seed", "--seed", type=int, default=12345, help="default: %(default)s")
    run.add_argument("--snapshot-dir", default="./snapshots/", help="default: %(default)s")
    run.add_argument("--save-pred-every", type=options.positive, default=10000, help="steps between checkpoints")
    options.add_augmentation(parser, AUGMENT)
    return parser.parse_args(argv)


def poly_lr(base, step, total, power):
    return base * (1 - step / total) ** power


def main():
    args = parse_args()
    machine = runtime.start(args.device, args.verbose)  # Jittor is imported here, and not before

    import jittor as jt

    from datasets import transforms
    from models.cca.functional import resolve
    from models.losses import segmentation_loss
    from utils import checkpoint, visualize
    from utils.distributed import is_main
    from utils.logger import RunLog, git_commit, read_log, write_json

    if args.batch_size % jt.world_size:
        raise ValueError(f"--batch-size {args.batch_size} does not divide over {jt.world_size} ranks; take a multiple")
    if is_main():
        print(runtime.describe(machine, resolve(args.cca_backend)))
    jt.set_global_seed(args.random_seed)

    data = training_data(
        args.dataset,
        args.split,
        args.input_size,
        seed=args.random_seed,
        batch_size=args.batch_size,
        **{name: vars(args)[name] for name in (*options.SOURCE, *options.AUGMENTATION)},
    )
    num_classes = len(data.names)

    model = build_model(args.model, num_classes, args.recurrence, cca_backend=args.cca_backend)
    if args.optimizer == "sgd":  # decay on every parameter, as the official training does
        optimizer = jt.optim.SGD(model.parameters(), args.learning_rate, args.momentum, args.weight_decay)
    else:  # no decay on norms and biases
        matrices = [p for p in model.parameters() if len(p.shape) > 1]
        vectors = {"params": [p for p in model.parameters() if len(p.shape) <= 1], "weight_decay": 0}
        optimizer = jt.optim.AdamW(matrices, args.learning_rate, weight_decay=args.weight_decay)
        optimizer.add_param_group(vectors)

    record = {
        "model": args.model,
        "num_classes": num_classes,
        "recurrence": args.recurrence,
        "ignore_label": data.ignore_label,
        "normalisation": transforms.CAFFE_BGR,
        "dataset": data.title,
        "commit": git_commit(),
        "options": vars(args),
    }
    log = None
    if is_main():
        os.makedirs(args.snapshot_dir, exist_ok=True)
        write_json(os.path.join(args.snapshot_dir, "args.json"), {**record, "machine": machine, "command": sys.argv})
        print("The first steps compile Jittor's operators: a minute or two on a new machine, then kept.")
        log = RunLog(args.snapshot_dir, args.num_steps, batch_size=args.batch_size)

    batches = data.forever()
    for step in range(args.num_steps):
        batch = next(batches)
        optimizer.lr = poly_lr(args.learning_rate, step, args.num_steps, args.power)
        images = transforms.normalise_batch(batch.images, record["normalisation"], batch.boxes)
        losses = segmentation_loss(model(images), jt.array(batch.labels).int32(), data.ignore_label)
        optimizer.step(losses["loss"])
        jt.sync_all()  # every rank runs its reductions here: left pending, rank 0 alone would wait for them below
        values = {name: float(value.item()) for name, value in losses.items()}
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(
                f"the loss is {values} at step {step}; a lower --learning-rate is the usual remedy"
            )
        done = step + 1
        if is_main():
            log.step(done, optimizer.lr, gamma=float(model.head.cca.gamma.item()), **values)
            if done % args.save_pred_every == 0 or done == args.num_steps:
                path = os.path.join(args.snapshot_dir, f"CS_scenes_{done}.npz")
                checkpoint.save(path, model, {**record, "step": done})

    if is_main():
        log.close()
        rows = read_log(log.path)
        curves = {name: (rows["step"], rows[name]) for name in ("main", "aux")}
        plot = visualize.plot_curves(curves, f"{args.model} on {data.title}: cross entropy", "step", smooth=0.9)
        plot.save(os.path.join(args.snapshot_dir, "loss.png"))
        print(json.dumps({"checkpoint": path, "log": str(log.path), "loss": round(values["loss"], 4)}))


if __name__ == "__main__":
    try:
        main()
    except (runtime.MachineError, ValueError, FileNotFoundError, FloatingPointError) as error:
        runtime.stop(f"train.py: {error}")
