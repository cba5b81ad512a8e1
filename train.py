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

from datasets import CHOICES, build_dataset, training_data
from models import MODELS, build_model
from utils import options, runtime, train_options


def parse_args(argv=None):
    return train_options.parse(argv, sorted(MODELS), CHOICES, runtime.DEVICES, __doc__.split("\n")[0])


def main():
    args = parse_args()
    machine = runtime.start(args.device, args.verbose, gpu=args.gpu)  # Jittor is imported here, and not before

    import jittor as jt

    from models.cca.functional import resolve
    from utils import amp, checkpoint, distributed, interrupt, logger, optim, postmortem, resume
    from utils.schedule import poly

    distributed.local_batch(args.batch_size, args.accumulate)  # does it divide?
    jt.set_global_seed(args.random_seed)
    if args.amp:
        amp.check(args.amp, machine["device"], runtime.compute_capabilities())
    if distributed.is_main():
        print(runtime.describe(machine, resolve(args.cca_backend)))
        for line in train_options.remarks(args):
            print(line)

    counted = {"step": args.start_iters, "samples": args.start_iters * args.batch_size}
    begin = resume.starting_point(args.snapshot_dir, args.resume, args.restore_from, vars(args), **counted)
    data, pictures, info = build_data(args, begin["meta"])
    model = build_network(args, info)
    criterion = build_criterion(args, info, model)
    optimizer, scaler = build_optimizer(args, model, criterion), amp.LossScaler(args.amp)
    scaler.load_state(begin["meta"].get("loss_scale"))
    resume.load(begin, model, criterion, optimizer)
    first, samples, best = begin["step"], begin["samples"], begin["best"]
    if first >= args.last_step:
        return print(f"{begin['source']} is at step {first} of {args.last_step}: nothing to do")

    record = {**info, "model": args.model, "recurrence": args.recurrence, "options": vars(args)}
    record["commit"], log = logger.git_commit(), None
    if distributed.is_main():
        title = f"{args.model} on {data.title}"
        log = logger.RunLog(args.snapshot_dir, title, args.last_step, first, args.batch_size, args.print_frequency)
        log.begin({**record, "machine": machine})
    interrupt.listen()

    pieces = stream(data, info["normalisation"], samples * args.accumulate // args.batch_size)
    for step in range(first, args.last_step):
        asked = time.time()
        batch = [next(pieces) for _ in range(args.accumulate)]  # each (images, labels, names)
        waited = time.time() - asked
        lr = poly(args.learning_rate, step, args.num_steps, args.power, args.warmup_steps)
        optim.set_lr(optimizer, lr)
        losses = gradients(args, model, criterion, scaler, optimizer, batch, step)
        moves = scaler.ready(optimizer)  # 16 bits can overflow: the step is left out then
        if moves:
            losses["gradient"] = optim.gradient_norm(optimizer)
        values = distributed.means({**losses, "stop": interrupt.asked()})
        if moves and not all(map(math.isfinite, values.values())):
            batch = [(images.numpy(), *rest) for images, *rest in batch]
            postmortem.stop(args.snapshot_dir, model, {"step": step, "lr": lr}, losses, values, batch, vars(args))
        if moves:
            optim.update(optimizer, step - scaler.skipped)

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
                place.update(seed=args.random_seed, loss_scale=scaler.state())
                checkpoint.save(path, model, {**record, **place}, resume.state(optimizer, criterion))
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
        result = {"checkpoint": path, "log": str(log.path), "loss": round(values["loss"], 4)}
        print(json.dumps({**result, "best": best} if args.eval_every else result))


def build_data(args, meta):
    """-> training data, validation pictures, and what a checkpoint says about both."""
    from datasets.transforms import CAFFE_BGR, IMAGENET_RGB

    source = {name: vars(args)[name] for name in options.SOURCE}
    augmentation = {name: vars(args)[name] for name in options.AUGMENTATION}
    rules = {"seed": args.random_seed, "batch_size": args.batch_size // args.accumulate}
    data = training_data(args.dataset, args.split, args.input_size, **rules, **source, **augmentation)
    source.update(data_list=None, cache="off")
    pictures = build_dataset(args.dataset, "val", **source) if args.eval_every else None
    usual = IMAGENET_RGB if args.model == "van" or "mmseg" in args.model else CAFFE_BGR
    info = {
        "dataset": data.kind,
        "num_classes": len(data.names),
        "ignore_label": data.ignore_label,
        "grey_labels": getattr(data, "grey_labels", None),
        "normalisation": meta.get("normalisation") or usual,
        "model_options": train_options.model_options(args),
        "names": list(data.names),
        "palette": [[int(part) for part in colour] for colour in data.palette],
        "flip_pairs": [list(pair) for pair in data.flip_pairs],
    }
    return data, pictures, info


def stream(data, how, start):
    """This rank's part of each piece of a batch, for ever, from piece `start` on: images (B, 3, H, W) on the device,
    labels, names."""
    from datasets.transforms import normalise_batch

    for batch in data.forever(start):
        images = normalise_batch(batch.images, how, batch.boxes)
        yield images, batch.labels.astype("int32"), [data.sample_name(index) for index in batch.indices]


def build_network(args, info):
    from models.batch_norm import freeze
    from utils import amp

    model = build_model(
        args.model, info["num_classes"], args.recurrence, cca_backend=args.cca_backend, **info["model_options"]
    )
    if args.frozen_bn:
        freeze(model)
    return amp.mixed(model, args.amp) if args.amp else model


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


def gradients(args, model, criterion, scaler, optimizer, batch, step):
    """-> losses of this rank's part of the batch, {"loss": Var, ..}; the optimiser has their gradients."""
    import jittor as jt

    from models import noise

    labels, sums, total = [jt.array(labels) for _, labels, _ in batch], {}, None
    if len(batch) > 1:  # a pixel counts the same in every piece
        total = sum(criterion.total_weight(label) for label in labels) / len(batch)
    for k, (images, *_) in enumerate(batch):
        noise.at(args.random_seed, step, (k * jt.world_size + jt.rank) * len(images))
        losses = criterion(model, images, labels[k], total)
        scaler.backward(optimizer, losses["loss"] / len(batch))
        sums = {name: sums.get(name, 0) + value / len(batch) for name, value in losses.items()}
        jt.sync_all()  # frees the memory of this piece; and the update starts from finished gradients, always the same
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
