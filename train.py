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
from utils import runtime
from utils.options import shared
from utils.options import train as train_options


def parse_args(argv=None):
    return train_options.parse(argv, sorted(MODELS), CHOICES, runtime.DEVICES, __doc__.split("\n")[0])


def main():
    args = parse_args()
    machine = runtime.start(args.device, args.verbose, gpu=args.gpu)  # Jittor is imported here, and not before

    import jittor as jt

    from models.cca.functional import resolve
    from utils import distributed
    from utils.training import amp, class_counts, earlier_run, interrupt, logger, optim, postmortem, resume
    from utils.training.schedule import poly
    from utils.training.snapshots import Snapshots

    distributed.local_batch(args.batch_size, args.accumulate)  # does it divide?
    jt.set_global_seed(args.random_seed)
    if args.amp:
        amp.check(args.amp, machine["device"], runtime.compute_capabilities())
    if distributed.is_main():
        print(runtime.describe(machine, resolve(args.cca_backend)))
        for line in train_options.remarks(args, machine["device"]):
            print(line)

    counted = {"step": args.start_iters, "samples": args.start_iters * args.batch_size}
    older = None
    if distributed.is_main():
        about = (args.resume, args.overwrite, args.start_iters, args.restore_from)
        older = earlier_run.in_the_way(args.snapshot_dir, *about)
    begin = resume.starting_point(args.snapshot_dir, args.resume, args.restore_from, vars(args), **counted)
    args.model, args.recurrence = begin["network"]["model"], begin["network"]["recurrence"]
    data, pictures, info = build_data(args, begin)
    model = build_network(args, info)
    criterion = build_criterion(args, info, model)
    optimizer, scaler = build_optimizer(args, model, criterion), amp.LossScaler(args.amp)
    scaler.load_state(begin["meta"].get("loss_scale"))
    resume.load(begin, model, criterion, optimizer)
    first, samples, best = begin["step"], begin["samples"], begin["best"]
    if first >= args.last_step:
        return print(f"{begin['source']} is at step {first} of {args.last_step}: nothing to do")

    missing = look(args, data, model, machine["device"])
    record = {**info, "model": args.model, "recurrence": args.recurrence, "options": vars(args)}
    record["commit"], log = logger.git_commit(), None
    if distributed.is_main():
        say(earlier_run.clear(args.snapshot_dir, older, first))
        title = f"{args.model} on {data.title}"
        log = logger.RunLog(args.snapshot_dir, title, args.last_step, first, args.batch_size, args.print_frequency)
        log.begin({**record, "machine": machine})
        say(interrupt.advice(args.save_every_minutes) if interrupt.under_mpirun() else ())
    interrupt.listen()
    snapshots = Snapshots(args.snapshot_dir, args.save_every_minutes, args.keep_last, begin)

    counts = class_counts.FirstEpoch(data.names, data.total_len, missing)
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
        save = interrupt.checkpoint_asked() or (distributed.is_main() and snapshots.due())
        values = distributed.means({**losses, "stop": interrupt.asked(), "save": save})
        if moves and not all(map(math.isfinite, values.values())):
            batch = [(images.numpy(), *rest) for images, *rest in batch]
            postmortem.stop(args.snapshot_dir, model, {"step": step, "lr": lr}, losses, values, batch, vars(args))
        if moves:
            optim.update(optimizer, step - scaler.skipped)

        done, samples = step + 1, samples + args.batch_size
        stop, save = (values.pop(name) > 0 for name in ("stop", "save"))  # of any rank
        last, score = done == args.last_step, None
        if log:
            epoch = samples // data.total_len
            log.step(done, lr, time.time() - asked, waited, epoch=epoch, gamma=gamma(model), **values)
        lines = counts.add(batch, args.batch_size) + (counts.end() if last else [])
        say(lines if log else ())
        if args.eval_every and (last or done % args.eval_every == 0):
            score = evaluate(args, model, pictures, info, log, done)
        better = score is not None and score > best["miou"]
        if better:
            best = {"miou": score, "step": done}
        stays = last or stop or better or done % args.save_pred_every == 0
        if stays or save:
            if log:
                epoch, position = divmod(samples, data.total_len)
                place = {"step": done, "samples": samples, "epoch": epoch, "position": position, "best": best}
                place.update(seed=args.random_seed, loss_scale=scaler.state())
                state = resume.state(optimizer, criterion)
                path = snapshots.save(done, model, {**record, **place}, state, stays, better)
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


def say(lines):
    for line in lines:
        print(line, flush=True)


def build_data(args, begin):
    """-> training data, validation pictures, and what a checkpoint says about both."""
    from datasets.find import locate, record, recorded_place
    from models.tables import CAFFE_BGR, IMAGENET_RGB
    from utils import distributed
    from utils.training import limits

    named = (args.dataset, args.data_dir, args.scene_size)
    place, line = recorded_place(begin["meta"], begin["source"], *named) if begin["resumed"] else locate(*named)
    remarks = [line] * bool(line) + shared.unused_data_flags(args, place["name"])
    if distributed.is_main():
        say(remarks)
    source = {name: vars(args)[name] for name in shared.SOURCE} | place
    name = source.pop("name")
    augmentation = {name: vars(args)[name] for name in shared.AUGMENTATION}
    rules = {"seed": args.random_seed, "batch_size": args.batch_size // args.accumulate}
    data = training_data(name, args.split, args.input_size, **rules, **source, **augmentation)
    limits.check_crop(args.input_size, distributed.local_batch(rules["batch_size"]), len(data.names))
    source.update(data_list=None, cache="off")
    pictures = build_dataset(name, "val", **source) if args.eval_every else None
    usual = IMAGENET_RGB if args.model == "van" or "mmseg" in args.model else CAFFE_BGR
    info = {
        "dataset": data.kind,
        "data": record({**place, "scene_size": getattr(data, "scene_size", None)}),
        "num_classes": len(data.names),
        "ignore_label": data.ignore_label,
        "grey_labels": getattr(data, "grey_labels", None),
        "normalisation": begin["meta"].get("normalisation") or usual,
        "model_options": begin["network"]["options"],
        "names": list(data.names),
        "palette": [[int(part) for part in colour] for colour in data.palette],
        "flip_pairs": [list(pair) for pair in data.flip_pairs],
    }
    return data, pictures, info


def look(args, data, model, device):
    """Lines before the first step about settings of no use and about memory. -> classes that no label of the training
    split has, if the split is small enough to be read here."""
    from utils import distributed
    from utils.training import class_counts, limits, memory

    crops = args.batch_size // args.accumulate
    mine, size = distributed.local_batch(crops), args.input_size
    if not distributed.is_main():
        return []
    say(limits.useless_ohem(args.ohem_keep, crops, size) if args.ohem else ())
    sizes, pixels = class_counts.sample(lambda index: data.open_pair(index)[1], data.total_len)
    say(limits.padded_crops(size, sizes, data.transform.scale))
    missing = [] if pixels is None else class_counts.absent(pixels, data.names)
    say([class_counts.warning(missing, f"the {data.total_len} labels of --split {args.split}")] if missing else ())
    weights = sum(math.prod(p.shape) for p in model.parameters())
    need = memory.estimate(
        args.model, args.van_size or "van_base", weights, mine * math.prod(size), len(data.names), args.optimizer
    )
    say(memory.warning(need, memory.available(device), memory.ranks_here(device), (mine, *size)))
    return missing


def stream(data, how, start):
    """This rank's part of each piece of a batch, for ever, from piece `start` on: images (B, 3, H, W) on the device,
    labels, names."""
    from datasets.transforms import normalise_batch

    for batch in data.forever(start):
        images = normalise_batch(batch.images, how, batch.boxes)
        yield images, batch.labels.astype("int32"), [data.sample_name(index) for index in batch.indices]


def build_network(args, info):
    from models.layers.batch_norm import freeze
    from utils.training import amp

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
    from utils.training import optim

    named = [*model.named_parameters(), *((f"criterion.{name}", p) for name, p in criterion.named_parameters())]
    rates = (args.learning_rate, args.momentum, args.weight_decay, args.head_lr_factor)
    return optim.build(named, args.optimizer, *rates)


def gradients(args, model, criterion, scaler, optimizer, batch, step):
    """-> losses of this rank's part of the batch, {"loss": Var, ..}; the optimiser has their gradients."""
    import jittor as jt

    from models.layers import dropout

    labels, sums, total = [jt.array(labels) for _, labels, _ in batch], {}, None
    if len(batch) > 1:  # a pixel counts the same in every piece
        total = sum(criterion.total_weight(label) for label in labels) / len(batch)
    for k, (images, *_) in enumerate(batch):
        dropout.at(args.random_seed, step, (k * jt.world_size + jt.rank) * len(images))
        losses = criterion(model(images), labels[k], total)
        scaler.backward(optimizer, losses["loss"] / len(batch))
        sums = {name: sums.get(name, 0) + value / len(batch) for name, value in losses.items()}
        jt.sync_all()  # frees the memory of this piece; and the update starts from finished gradients, always the same
    return sums


def gamma(model):
    return float(model.head.cca.gamma.item())


def evaluate(args, model, pictures, info, log, step):
    """Mean IoU on the validation pictures; a line, a row and a sheet of predictions on the main rank."""
    from datasets import transforms
    from utils.drawing import figures
    from utils.training.validation import validate

    rules = (info["num_classes"], info["ignore_label"], args.eval_images)
    matrix, shown = validate(model, pictures, lambda x: transforms.normalise(x, info["normalisation"]), *rules, show=6)
    if log:
        rows = [[image[:, :, ::-1], *(figures.colourise(x, pictures.palette) for x in maps)] for image, *maps in shown]
        log.validation(step, matrix.miou, matrix.pixel_accuracy)
        log.sheet(rows, ("picture", "truth", f"step {step}"), pictures.names, pictures.palette)
    return matrix.miou


if __name__ == "__main__":
    runtime.run(main, "train.py")
