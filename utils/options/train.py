"""The flags of train.py beside the shared ones. Names and defaults are the official script's where it had them."""

import argparse

from utils import runtime
from utils.options import shared as options


def parse(argv, models, datasets, devices, description):
    shared = options.common_parser(models, datasets, devices)
    parser = argparse.ArgumentParser("train.py", parents=[shared], description=description)
    network(parser, models)
    for group in (schedule, losses, data, run):
        group(parser)
    args = parser.parse_args(argv)
    settle(parser, args)
    return args


def network(parser, models):
    add = parser.add_argument_group("network to train").add_argument
    usual = "default: that of --restore-from, else"
    add("--model", choices=models, metavar="NAME", help=f"{', '.join(models)} ({usual} ccnet)")
    add("--recurrence", type=options.whole, help=f"passes through the attention ({usual} 2)")
    add("--output-stride", choices=("multi", "8", "16", "32"), help="of VAN; multi (default): its stages together at 8")
    add("--plain-stride", action="store_true", default=None, help="of VAN at 8 or 16: do not dilate")
    add(
        "--stem",
        choices=("deep", "v1c", "v1"),
        help=f"of ResNet ({usual} that of the model)",
    )
    add("--restore-from", metavar="FILE", help='weights to start from: a backbone or a whole network; "": random')
    options.add_source(add)
    add("--frozen-bn", action="store_true", help="BatchNorm keeps its statistics and scales (fine-tuning)")


def schedule(parser):
    add = parser.add_argument_group("optimisation").add_argument
    add(
        "--num-steps", type=options.positive, metavar="N", help="where the schedule, and the run, ends (default: 40000)"
    )
    add("--max-iter", type=options.positive, metavar="N", help="the same; with both, --num-steps counts from --start")
    add("--start-iters", "--start", type=options.whole, default=0, metavar="N", help="first step (default: 0)")
    add("--learning-rate", "--lr", type=float, default=1e-2, metavar="X", help="at step 0 (default: %(default)s)")
    add("--power", type=float, default=0.9, metavar="X", help="of the poly schedule (default: %(default)s)")
    add("--warmup-steps", type=options.whole, default=0, metavar="N", help="of linear rise before it (default: 0)")
    add("--optimizer", choices=("sgd", "adamw"), default="sgd", help="default: %(default)s")
    add("--momentum", type=float, default=0.9, metavar="X", help="of SGD (default: %(default)s)")
    add("--weight-decay", type=float, default=5e-4, metavar="X", help="default: %(default)s")
    add("--head-lr-factor", type=float, default=1.0, metavar="X", help="head and dsn learn so much faster (default: 1)")
    add("--accumulate", type=options.positive, default=1, metavar="N", help="cut a batch in N pieces, to save memory")
    add("--amp", nargs="?", const="float16", choices=("float16", "bfloat16"), help="16 bits where safe; on a GPU")


def losses(parser):
    group = parser.add_argument_group("losses")
    add = group.add_argument
    options.flag(group, "--ohem", "train the main head on hard pixels only")
    add("--ohem-thres", type=float, default=0.6, metavar="P", help="probability below which a pixel is hard")
    add("--ohem-keep", type=options.whole, default=200000, metavar="N", help="least number kept in a global batch")
    add("--aux-weight", type=float, default=0.4, metavar="X", help="of the auxiliary loss (default: %(default)s)")
    add("--ccl", type=float, nargs="?", const=1.0, default=0.0, metavar="X", help="category consistent loss, times X")
    add("--class-weights", type=numbers, metavar="W,W,...", help="a weight for each class in the cross entropy")


def data(parser):
    group = parser.add_argument_group("training data")
    add = group.add_argument
    add("--split", default="train", metavar="NAME", help="of the data set, as trainaug of VOC (default: %(default)s)")
    add("--input-size", type=options.size, default=(769, 769), metavar="H,W", help="crop (default: 769,769)")
    options.add_augmentation(parser)


def run(parser):
    add = parser.add_argument_group("run").add_argument
    add("--random-seed", "--seed", type=options.whole, default=12345, help="default: %(default)s")
    add("--snapshot-dir", default="./snapshots/", metavar="DIR", help="default: %(default)s")
    add("--save-pred-every", type=options.positive, default=10000, metavar="N", help="steps between checkpoints")
    add(
        "--save-every-minutes",
        type=options.minutes,
        default=15,
        metavar="M",
        help="a checkpoint as well whenever so much time has passed; the next one replaces it (0: never; default: 15)",
    )
    add("--overwrite", action="store_true", help="delete the checkpoints, logs and figures of an earlier run first")
    add("--keep-last", type=options.whole, default=0, metavar="N", help="checkpoints to keep, best.npz aside (0: all)")
    add("--eval-every", type=options.positive, metavar="N", help="steps between validations (default: none)")
    add("--eval-images", type=options.positive, metavar="N", help="validate on the first so many only")
    add("--resume", "--continue", "-c", metavar="FILE", help="go on from a checkpoint of a run; `auto`: its newest one")
    add("--print-frequency", type=options.positive, default=50, metavar="N", help="steps between lines in a log file")


def numbers(text):
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers with commas between them") from None


def settle(parser, args):
    """What follows from several flags. `num_steps` is the length of the schedule, `last_step` where this run stops."""
    if args.max_iter and args.num_steps:  # --max-iter 60000 --start 2000 --num-steps 2000: one chunk of a longer run
        args.last_step = min(args.max_iter, args.start_iters + args.num_steps)
    else:
        args.last_step = args.max_iter or args.num_steps or 40000
    args.num_steps = args.max_iter or args.last_step
    if args.overwrite and args.resume == "auto":
        parser.error("--overwrite deletes the run that --resume auto goes on with: leave one of them out")
    if args.start_iters >= args.last_step:
        parser.error(f"--start-iters {args.start_iters} is not before the last step, {args.last_step}")
    for name, low, high in (("momentum", 0, 1), ("learning_rate", 0, 1e9), ("weight_decay", 0, 1e9), ("power", 0, 99)):
        if not low <= getattr(args, name) <= high:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)} is not between {low} and {high:g}")
    if not 0 <= args.ohem_thres <= 1:
        parser.error(f"--ohem-thres {args.ohem_thres} is no probability; expected 0 to 1")


def remarks(args, device, argv=None):
    """Lines that a run prints once: what was given and has no effect, and what means something else than elsewhere."""
    lines = [f"{name} has no effect; it is there for old command lines" for name in options.legacy_in(argv)]
    lines += options.gpu_remarks(args.gpu, runtime.mpi_size(), device, argv)
    gpus = len((args.gpu or "").split(","))
    if gpus > 1 and runtime.mpi_size() == 1 and args.batch_size % (gpus * args.accumulate):
        lines.append(f"--batch-size {args.batch_size} is that of all GPUs together: {gpus} need a multiple")
    if args.ohem and runtime.mpi_size() > 1:
        text = f"--ohem-keep {args.ohem_keep} counts over the batch of all {runtime.mpi_size()} ranks"
        lines.append(f"{text}; the official code counts on each GPU: multiply it by their number for its results")
    needs = {  # flag -> what it is for, and whether that is there
        "--ohem-thres": ("without --ohem", args.ohem),
        "--ohem-keep": ("without --ohem", args.ohem),
        "--momentum": ("with --optimizer adamw", args.optimizer != "adamw"),
        "--eval-images": ("without --eval-every", args.eval_every),
        "--source": ("without --restore-from", args.restore_from),
    }
    found = [(flag, why) for flag, (why, used) in needs.items() if not used and options.given(flag, argv)]
    lines += [f"{flag} has no effect {why}" for flag, why in found]
    if args.random_scale and args.scale_range:
        lines.append("--scale-range takes the place of the scales of --random-scale")
    return lines


def network_options(settings):
    """What the flags say of the network, by the names of build_model's arguments; None where they say nothing."""
    said = {name: settings[name] for name in ("model", "recurrence", "van_size", "drop_path", "stem")}
    stride = settings["output_stride"]
    said["output_stride"] = int(stride) if stride and stride != "multi" else stride
    return {**said, "dilate": False if settings["plain_stride"] else None}


NETWORK = ("recurrence", "drop_path", "num_classes", "optimizer", "ccl", "frozen_bn")  # changed: no way to go on
SETTLED = (
    "model",
    "van_size",
    "output_stride",
    "plain_stride",
    "stem",
)  # utils/weights/network.py compares them with the file
RECORDED = ("data_dir", "scene_size")  # where no flag says it, the checkpoint does
INCIDENTAL = (
    "resume",
    "restore_from",
    "source",
    "snapshot_dir",
    "device",
    "gpu",
    "verbose",
    "last_step",
    "keep_last",
    "save_every_minutes",
    "overwrite",
    "eval_images",
    "num_workers",
    "cache",
    "start_iters",
)


def compare(now, then, source):
    """Options of this run against those of the checkpoint it resumes: another network is an error, others are lines."""
    differ = {key: (then[key], now[key]) for key in now if key in then and plain(then[key]) != plain(now[key])}
    for key in NETWORK:
        if key in differ and not (key in ("recurrence", "drop_path") and now[key] is None):
            was, has = differ[key]
            raise ValueError(
                f"{source} is of a run with --{key.replace('_', '-')} {was}, this one has {has}: no way to go on"
            )
    return [
        f"--{key.replace('_', '-')} was {was} in the run that is resumed, now {has}"
        for key, (was, has) in differ.items()
        if key not in (*NETWORK, *SETTLED, *INCIDENTAL) and not (has is None and key in RECORDED)
    ]


def plain(value):
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value
