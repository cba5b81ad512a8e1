"""Train CCNet.

    python train.py --model ccnet_r18 --dataset scenes --random-mirror --num-steps 400     # one device
    mpirun -np 4 python train.py ...                                                       # four, the same global batch
    python train.py ... --resume auto                                                      # go on where a run stopped

Writes into --snapshot-dir: CS_scenes_<step>.npz, best.npz, log.csv, validation.csv, args.json, loss.png and, at each
validation, sheet.png. evaluate.py takes it from there.
"""

import json
import math
import time

from datasets import DATASETS, dataset_class
from models import MODELS, build_model
from utils import runtime, train_options


def parse_args(argv=None):
    return train_options.parse(argv, sorted(MODELS), sorted(DATASETS), runtime.DEVICES, __doc__.split("\n")[0])


def main():
    args = parse_args()
    machine = runtime.start(args.device, args.verbose, gpu=args.gpu)  # Jittor is imported here, and not before

    import jittor as jt

    from models.cca.functional import resolve
    from utils import checkpoint, distributed, interrupt, logger, optim, postmortem, resume
    from utils.schedule import poly

    distributed.local_batch(args.batch_size, args.accumulate)  # does it divide?
    jt.set_global_seed(args.random_seed)
    if args.amp:
        runtime.mixed_precision(machine)
    if distributed.is_main():
        print(runtime.describe(machine, resolve(args.cca_backend)))
        for line in train_options.remarks(args):
            print(line)

    counted = {"step": args.start_iters, "samples": args.start_iters * args.batch_size}
    begin = resume.starting_point(
        args.snapshot_dir, args.resume, args.restore_from, read_weights, vars(args), **counted
    )
    data, pictures, info = build_data(args, begin["meta"])
    model = build_network(args, info)
    criterion = build_criterion(args, info, model)
    optimizer = build_optimizer(args, model, criterion)
    resume.load(begin, model, criterion, optimizer)
    first, samples, best = begin["step"], begin["samples"], begin["best"]
    if first >= args.last_step:
        return print(f"{begin['source']} is at step {first} of {args.last_step}: nothing to do")

    record = {**info, "model": args.model, "recurrence": args.recurrence, "options": vars(args)}
    log = None
    if distributed.is_main():
        title = f"{args.model} on {args.dataset}"
        log = logger.RunLog(args.snapshot_dir, title, args.last_step, first, args.batch_size, args.print_frequency)
        log.begin({**record, "machine": machine, "commit": logger.git_commit()})
    interrupt.listen()

    batches = stream(data, args, samples // args.batch_size)
    for step in range(first, args.last_step):
        asked = time.time()
        images, labels, names = next(batches)
        waited = time.time() - asked
        lr = poly(args.learning_rate, step, args.num_steps, args.power, args.warmup_steps)
        optim.set_lr(optimizer, lr)
        losses = gradients(args, model, criterion, optimizer, images, labels, step)
        values = distributed.means({**losses, "stop": interrupt.asked()})
        if not math.isfinite(values["loss"]):
            batch = {"images": images, "labels": labels}
            postmortem.stop(
                args.snapshot_dir, model, {"step": step, "lr": lr}, losses, values, batch, names, vars(args)
            )
        optim.update(optimizer, step)

        done, samples, stop = step + 1, samples + args.batch_size, values.pop("stop") > 0
        last, score = done == args.last_step, None
        if log:
            log.step(done, lr, waited, epoch=samples // data.total_len, gamma=gamma(model), **values)
        if args.eval_every and (last or done % args.eval_every == 0):
            score = evaluate(args, model, pictures, info, log, done)
        better = score is not None and score > best["miou"]
        if better:
            best = {"miou": score, "step": done}
        if last or stop or better or done % args.save_pred_every == 0:
            path = checkpoint.path_of(args.snapshot_dir, done)
            if log:
                epoch, position = divmod(samples, data.total_len)
                place = {"step": done, "samples": samples, "epoch": epoch, "position": position, "best": best}
                checkpoint.save(
                    path, model, {**record, **place, "seed": args.random_seed}, resume.state(optimizer, criterion)
                )
                if better:
                    checkpoint.link_best(path)
                checkpoint.prune(args.snapshot_dir, args.keep_last)
                log.draw()
            distributed.wait_for_all()
        if stop:
            if log:
                log.close(f"stopped on request after step {done}, saved as {path}; go on with --resume auto")
            interrupt.leave()

    if log:
        log.close()
        print(json.dumps({"checkpoint": path, "log": str(log.path), "loss": round(values["loss"], 4), "best": best}))


def read_weights(path):
    """Weights of any file that --restore-from may name -> ({key: array}, meta)."""
    from utils import checkpoint

    return checkpoint.load(path)


def build_data(args, meta):
    """-> training data, validation pictures, and what a checkpoint says about both."""
    from datasets import transforms

    kind = dataset_class(args.dataset)
    how = meta.get("normalisation") or transforms.CAFFE_BGR
    info = {
        "dataset": args.dataset,
        "num_classes": args.num_classes or len(kind.names),
        "ignore_label": kind.ignore_label if args.ignore_label is None else args.ignore_label,
        "normalisation": how,
    }
    augment = transforms.TrainTransform(
        args.input_size,
        scales=transforms.CITYSCAPES_SCALES if args.random_scale else None,
        mirror=args.random_mirror,
        how=how,
        ignore=info["ignore_label"],
    )
    data = kind("train", *args.scene_size, transform=augment, seed=args.random_seed, batch_size=args.batch_size)
    return data, kind("val", *args.scene_size), info


def stream(data, args, start):
    """This rank's part of each batch, for ever, from batch `start` on: images, labels, names of the samples.

    Epoch after epoch in one stream that is cut into batches; order and augmentation depend on (seed, epoch, index).
    """
    import numpy as np

    from utils import distributed

    here, position = distributed.local_batch(args.batch_size), start * args.batch_size
    while True:
        samples, names = [], []
        for at in range(position + distributed.rank() * here, position + (distributed.rank() + 1) * here):
            epoch, place = divmod(at, data.total_len)
            data.set_epoch(epoch)
            index = int(np.random.default_rng([args.random_seed, epoch]).permutation(data.total_len)[place])
            samples.append(data[index])
            names.append(data.sample_name(index))
        yield *(np.stack(part) for part in zip(*samples)), names
        position += args.batch_size


def build_network(args, info):
    from models.batch_norm import freeze

    van = {"van_size": args.van_size, "drop_path": args.drop_path} if args.model == "van" else {}
    van = {key: value for key, value in van.items() if value is not None}
    model = build_model(args.model, info["num_classes"], args.recurrence, cca_backend=args.cca_backend, **van)
    if args.frozen_bn:
        freeze(model)
    return model


def build_criterion(args, info, model):
    from models.losses import Criterion

    ohem = {"thresh": args.ohem_thres, "min_kept": args.ohem_keep} if args.ohem else None
    return Criterion(
        model, info["num_classes"], info["ignore_label"], args.aux_weight, ohem, args.class_weights, args.ccl
    )


def build_optimizer(args, model, criterion):
    from utils import optim

    named = [*model.named_parameters(), *((f"criterion.{name}", p) for name, p in criterion.named_parameters())]
    rates = (args.learning_rate, args.momentum, args.weight_decay, args.head_lr_factor)
    return optim.build(named, args.optimizer, *rates)


def gradients(args, model, criterion, optimizer, images, labels, step):
    """Losses of this rank's part of the batch; the optimiser has their gradients. -> {"loss": .., "main": .., ...}"""
    import jittor as jt

    from models import noise

    pieces, sums = args.accumulate, {}
    images, labels = jt.array(images), jt.array(labels)
    each = len(labels) // pieces
    total = criterion.total_weight(labels) / pieces if pieces > 1 else None
    for k in range(pieces):
        rows = slice(k * each, (k + 1) * each)
        noise.at(args.random_seed, step, jt.rank * len(labels) + k * each)
        losses = criterion(model, images[rows], labels[rows], total) if pieces > 1 else criterion(model, images, labels)
        optimizer.backward(losses["loss"] / pieces)
        sums = {name: sums.get(name, 0) + value / pieces for name, value in losses.items()}
        jt.sync_all()  # the memory of this piece is free for the next, and the update starts from finished gradients
    return sums


def gamma(model):
    return float(model.head.cca.gamma.item())


def evaluate(args, model, pictures, info, log, step):
    """Mean IoU on the validation pictures; a line, a row and a sheet of predictions on the main rank."""
    from datasets import transforms
    from utils import visualize
    from utils.validation import validate

    rules = (info["num_classes"], info["ignore_label"], args.eval_images)
    matrix, shown = validate(model, pictures, lambda x: transforms.normalise(x, info["normalisation"]), *rules, show=6)
    if log:
        rows = [
            [image[:, :, ::-1], *(visualize.colourise(x, pictures.palette) for x in maps)] for image, *maps in shown
        ]
        log.validation(step, matrix.miou, matrix.pixel_accuracy)
        log.sheet(rows, ("picture", "truth", f"step {step}"), pictures.names, pictures.palette)
    return matrix.miou


if __name__ == "__main__":
    runtime.run(main, "train.py")
