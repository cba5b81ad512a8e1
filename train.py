"""Train CCNet.

    python train.py --model ccnet_r18 --dataset scenes --random-mirror --num-steps 400     # one device
    mpirun -np 4 python train.py ...                                                       # four, the same global batch
    python train.py ... --resume auto                                                      # continue a run that stopped

Writes into --snapshot-dir: CS_scenes_<step>.npz, best.npz, log.csv, validation.csv, args.json, loss.png and sheet.png.
"""

import json
import time

from datasets import CHOICES, GENERATED, build_dataset, training_data
from models import MODELS, build_model
from utils import runtime
from utils.options import resumed, shared
from utils.options import train as train_options


def parse_args(argv=None):
    return train_options.parse(argv, sorted(MODELS), CHOICES, runtime.DEVICES, __doc__.split("\n")[0])


def main():
    args = parse_args()
    machine = runtime.start(args.device, args.verbose, gpu=args.gpu, cudnn_workspace=args.cudnn_workspace)

    from utils import distributed
    from utils.training import amp, class_counts, interrupt, late, resume, snapshots

    begin, earlier_files = prepare(args, machine)
    data, val_data, info = build_data(args, begin)
    model = build_network(args, info)
    criterion = build_criterion(args, info, model, data, begin)
    optimizer, scaler = build_optimizer(args, model, criterion), amp.LossScaler(args.amp)
    scaler.load_state(begin["meta"].get("loss_scale"))
    resume.load(begin, model, criterion, optimizer)
    first, samples, best = begin["step"], begin["samples"], begin["best"]
    if first >= args.last_step:
        return print(f"{begin['source']} is at step {first} of {args.last_step}: nothing to do")
    info["protocol"] = train_options.protocol(args, model, info)
    counts = class_counts.FirstEpoch(data.names, data.total_len, check_data(args, info, data, model, machine["device"]))
    record, log = start_log(args, info, machine, f"{args.model} on {data.title}", earlier_files, first)
    interrupt.listen()
    saver = snapshots.Snapshots(args.snapshot_dir, args.save_every_minutes, args.keep_last, begin)
    rows = late.Rows(args.snapshot_dir, vars(args), model, scaler, saver.due, log)
    batches = stream(data, info["normalisation"], samples * args.accumulate // args.batch_size)
    for step in range(first, args.last_step):
        started = time.time()
        batch = [next(batches) for _ in range(args.accumulate)]  # each (images, labels, names)
        done, samples, last = step + 1, samples + args.batch_size, step + 1 == args.last_step
        facts = {"started": started, "data_time": time.time() - started, "epoch": samples // data.total_len}
        train_step(args, model, criterion, scaler, optimizer, rows, batch, step, facts)

        due = last or done % args.save_pred_every == 0
        stop, save = rows.read(due or validation_due(args, done))  # of the step before; of this one, too, if it is due
        distributed.print_main(counts.add(batch, args.batch_size) + (counts.end() if last else []))
        score = evaluate(args, model, val_data, info, log, done)  # None where no validation is due
        improved = score is not None and score > best["miou"]
        best = {"miou": score, "step": done} if improved else best
        keep = due or stop or improved
        if keep or save:
            if log:
                place = resume.position(done, samples, data.total_len, best, args.random_seed, scaler.state())
                state = resume.state(optimizer, criterion)
                path = saver.save(done, model, {**record, **place}, state, keep, improved)
                log.draw()
            distributed.wait_for_all()
        if stop:
            if log:
                log.close(f"stopped on request after step {done}, saved as {path}; continue with --resume auto")
            interrupt.leave()

    if log:
        result = {"checkpoint": path, "log": str(log.path), "loss": round(rows.last["loss"], 4)}
        log.close(json.dumps({**result, "best": best} if args.eval_every else result))


def prepare(args, machine):
    """Checks, seed, first lines. -> the starting point (its network is set in `args`); files of an earlier run."""
    import jittor as jt

    from models.cca.functional import resolve
    from utils import distributed
    from utils.training import amp, earlier_run, resume

    distributed.local_batch(args.batch_size, args.accumulate)  # raises where it does not divide
    jt.set_global_seed(args.random_seed)
    if args.amp:
        amp.check(args.amp, machine["device"], runtime.compute_capabilities())
    first_line = runtime.describe(machine, resolve(args.cca_backend))
    distributed.print_main([first_line, *train_options.remarks(args, machine["device"])])
    flags = (args.resume, args.overwrite, args.start_iters, args.restore_from)
    earlier_files = earlier_run.conflicts(args.snapshot_dir, *flags) if distributed.is_main() else []
    options = (train_options.network_options(vars(args)), vars(args), resumed.compare)
    start = {"source": args.source, "step": args.start_iters, "samples": args.start_iters * args.batch_size}
    begin = resume.starting_point(args.snapshot_dir, args.resume, args.restore_from, *options, **start)
    train_options.take_network(args, begin)
    return begin, earlier_files


def build_data(args, begin):
    """-> training data, validation data, and the facts about them that a checkpoint records."""
    from datasets.find import locate, record, recorded_place
    from datasets.reading import bands
    from models.tables import default_normalisation
    from utils import distributed
    from utils.training import measured, snapshots

    flags = (args.dataset, args.data_dir, args.scene_size)
    place, line = recorded_place(begin["meta"], begin["source"], *flags) if begin["resumed"] else locate(*flags)
    distributed.print_main([line] * bool(line) + shared.unused_data_flags(args, place["name"], GENERATED))
    source = {name: vars(args)[name] for name in shared.SOURCE} | place | {"cpu_limit": runtime.cpu_limit()}
    name, default = source.pop("name"), begin["meta"].get("normalisation") or default_normalisation(args.model)
    source.update({key: value for key, value in bands.facts_of(default).items() if source[key] is None})
    augmentation = {flag: vars(args)[flag] for flag in shared.AUGMENTATION} | {"seed": args.random_seed}
    crops = args.batch_size // args.accumulate
    data = training_data(name, args.split, args.input_size, batch_size=crops, **source, **augmentation)
    val_data = build_dataset(name, "val", **{**source, "data_list": None, "cache": "off"}) if args.eval_every else None
    given = (begin["network"]["options"], args.channel_mean, args.channel_std)
    info = {
        **snapshots.facts(data),
        "data": record({**place, "scene_size": getattr(data, "scene_size", None)}),
        **bands.for_network(data, default, *given, measured.once),
    }
    return data, val_data, info


def stream(data, normalisation, start):
    """This rank's part of each piece of a batch, from `start` on: images (B, [T *] 3, H, W), labels, sample names."""
    from datasets.transforms import normalise_batch

    for batch in data.forever(start):
        names = [data.sample_name(index) for index in batch.indices]
        yield normalise_batch(batch.images, normalisation, batch.boxes), batch.labels, names


def build_network(args, info):
    from models.layers.batch_norm import freeze
    from utils import distributed
    from utils.training import amp

    options = {"cca_backend": args.cca_backend, **info["model_options"]}
    model = build_model(args.model, info["num_classes"], args.recurrence, **options)
    if args.frozen_bn:
        freeze(model)
    distributed.print_main(amp.compute(model, args.amp) if args.amp else ())
    return model


def build_criterion(args, info, model, data, begin):
    from models.losses import Criterion
    from utils.training import class_weights

    args.auto_class_weights = class_weights.automatic(data, begin) if args.class_weights == "auto" else None  # recorded
    weights = args.auto_class_weights or args.class_weights
    ohem = {"thresh": args.ohem_thres, "min_kept": args.ohem_keep} if args.ohem else None
    numbers = info["num_classes"], info["ignore_label"], args.aux_weight
    return Criterion(model, *numbers, ohem, weights, args.ccl, args.dice)


def build_optimizer(args, model, criterion):
    from utils.training import optim

    named = [*model.named_parameters(), *((f"criterion.{name}", p) for name, p in criterion.named_parameters())]
    rates = args.learning_rate, args.momentum, args.weight_decay, args.head_lr_factor, args.gamma_lr_factor
    return optim.build(named, args.optimizer, *rates)


def check_data(args, info, data, model, device):
    """Check the crop size; print warnings about sizes, labels and memory. -> classes without a pixel (main rank)."""
    from utils.training import checks

    crops, keep = args.batch_size // args.accumulate, args.ohem_keep if args.ohem else None
    settings = (args.model, info["model_options"].get("van_size"), args.optimizer)  # the size can be the file's
    return checks.before_first_step(data, args.split, args.input_size, crops, keep, model, settings, device)


def start_log(args, info, machine, title, earlier_files, first):
    """-> what each checkpoint records about the run, and on the main rank its log, in a folder made ready for it."""
    from utils import distributed
    from utils.training import earlier_run, interrupt, logger

    record = dict(info, model=args.model, recurrence=args.recurrence, options=vars(args), commit=logger.git_commit())
    if not distributed.is_main():
        return record, None
    distributed.print_main(earlier_run.clear(args.snapshot_dir, earlier_files, first))
    log = logger.RunLog(args.snapshot_dir, title, args.last_step, first, args.batch_size, args.print_frequency)
    log.begin({**record, "machine": machine})
    print(train_options.protocol_line(info["protocol"]), flush=True)
    distributed.print_main(interrupt.advice(args.save_every_minutes) if interrupt.under_mpirun() else ())
    return record, log


def train_step(args, model, criterion, scaler, optimizer, rows, batch, step, facts):
    """Queue a step; nothing here waits for the device. `rows` (late.py) reads its numbers after the next one."""
    from utils.training import optim

    lr = optim.poly(args.learning_rate, step, args.num_steps, args.power, args.warmup_steps, args.min_learning_rate)
    optim.set_lr(optimizer, lr)
    losses = gradients(args, model, criterion, scaler, optimizer, batch, step)
    rows.finish(optimizer, losses, {"step": step, "lr": lr}, batch, facts)


def gradients(args, model, criterion, scaler, optimizer, batch, step):
    """-> losses of this rank's part of the batch, {"loss": Var, ..}; their gradients are in the optimizer."""
    import jittor as jt

    from models.layers import dropout

    labels = [jt.array(labels).int32() for _, labels, _ in batch]  # uint8 until they are on the device
    sums, totals = {}, (None, None)
    if len(batch) > 1:  # every pixel has the same weight, whatever its piece
        totals = [sum(values) / len(batch) for values in zip(*map(criterion.totals, labels))]
    for k, (images, *_) in enumerate(batch):
        dropout.at(args.random_seed, step, (k * jt.world_size + jt.rank) * len(images))
        losses = criterion(model(images), labels[k], totals)
        scaler.backward(optimizer, losses["loss"] / len(batch), last=k == len(batch) - 1)
        sums = {name: sums.get(name, 0) + value / len(batch) for name, value in losses.items()}
        jt.sync_all()  # frees the memory of this piece; and the update always starts from finished gradients
    return sums


def validation_due(args, step):
    return bool(args.eval_every) and (step % args.eval_every == 0 or step == args.last_step)


def evaluate(args, model, val_data, info, log, step):
    """-> mean IoU on the validation images if it is due; a line, a row and a sheet of predictions on the main rank."""
    from datasets.transforms import on_device
    from utils.training import validation

    if not validation_due(args, step):
        return None
    rules = (info["num_classes"], info["ignore_label"], args.eval_images, info["protocol"])
    matrix, shown = validation.validate(model, val_data, lambda x: on_device(x, info["normalisation"]), *rules, show=6)
    if log:
        log.validation(step, matrix.miou, matrix.pixel_accuracy)
        titles, palette = ("image", "label", f"step {step}"), val_data.palette
        log.sheet(validation.panels(shown, palette), titles, val_data.names, palette)
    return matrix.miou


if __name__ == "__main__":
    runtime.run(main, "train.py")
