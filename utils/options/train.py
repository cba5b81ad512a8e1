"""The flags of train.py besides the shared ones. Names and defaults are those of the official script, if any."""

import argparse

from utils import runtime
from utils.evaluation import protocol as protocols
from utils.options import gpus
from utils.options import shared as options


def parse(argv, models, datasets, devices, description):
    shared = options.common_parser(models, datasets, devices)
    parser = argparse.ArgumentParser("train.py", parents=[shared], description=description)
    network(parser, models)
    for add_group in (schedule, losses, data, validation, run):
        add_group(parser)
    args = parser.parse_args(argv)
    settle(parser, args)
    return args


def network(parser, models):
    add = parser.add_argument_group("network to train").add_argument
    default = "default: recorded in the checkpoint, else"
    add("--model", choices=models, metavar="NAME", help=f"{', '.join(models)} ({default} ccnet)")
    add("--recurrence", type=options.whole, metavar="R", help=f"passes through the attention ({default} 2)")
    options.add_frames(add)
    text = f"output stride of VAN; multi: features of all stages at stride 8 ({default} multi)"
    add("--output-stride", choices=("multi", "8", "16", "32"), help=text)
    text = f"VAN with output stride 8 or 16: without dilation ({default} dilated)"
    add("--plain-stride", action="store_true", default=None, help=text)
    text = f"stem of the ResNet ({default} v1c for ccnet_mmseg_*, deep for the others)"
    add("--stem", choices=("deep", "v1c", "v1"), help=text)
    text = f"align_corners of the resizing of logits ({default} no for ccnet_mmseg_*, yes for the others)"
    add("--align-corners", nargs="?", const=True, type=options.boolean, metavar="yes|no", help=text)
    text = 'weights to start from, of a backbone or a whole network; "" for random weights (default: random weights)'
    add("--restore-from", metavar="FILE", help=text)
    options.add_source(add)
    text = "BatchNorm keeps its statistics, scales and shifts, for fine-tuning (default: off)"
    add("--frozen-bn", action="store_true", help=text)


def schedule(parser):
    add = parser.add_argument_group("optimization").add_argument
    text = "number of steps of the run and of the learning rate schedule (default: 40000)"
    add("--num-steps", type=options.positive, metavar="N", help=text)
    text = "as --num-steps; if both are given, --num-steps counts from --start-iters (default: --num-steps)"
    add("--max-iter", type=options.positive, metavar="N", help=text)
    add("--start-iters", "--start", type=options.whole, default=0, metavar="N", help="first step (default: 0)")
    text = "initial learning rate (default: %(default)s)"
    add("--learning-rate", "--lr", type=float, default=1e-2, metavar="X", help=text)
    text = "exponent of the poly learning rate schedule (default: %(default)s)"
    add("--power", type=float, default=0.9, metavar="X", help=text)
    text = "steps in which the learning rate rises linearly from 0 (default: %(default)s)"
    add("--warmup-steps", type=options.whole, default=0, metavar="N", help=text)
    text = "the poly schedule ends at this learning rate (default: %(default)s)"
    add("--min-learning-rate", type=float, default=0.0, metavar="X", help=text)
    add("--optimizer", choices=("sgd", "adamw"), default="sgd", help="sgd or adamw (default: %(default)s)")
    add("--momentum", type=float, default=0.9, metavar="X", help="momentum of SGD (default: %(default)s)")
    add(
        "--weight-decay",
        type=float,
        default=5e-4,
        metavar="X",
        help="weight decay; AdamW decays no norms and biases (default: %(default)s)",
    )
    text = "learning rate of the heads and of the squeeze layer of VAN, times X (default: %(default)s)"
    add("--head-lr-factor", type=float, default=1.0, metavar="X", help=text)
    text = "learning rate of gamma, the factor of the attention, which starts at 0, times X (default: %(default)s)"
    add("--gamma-lr-factor", type=float, default=1.0, metavar="X", help=text)
    text = "gradient accumulation: split each batch into N parts (default: %(default)s)"
    add("--accumulate", type=options.positive, default=1, metavar="N", help=text)
    options.add_amp(add)


def losses(parser):
    group = parser.add_argument_group("losses")
    add = group.add_argument
    options.flag(group, "--ohem", "online hard example mining: train the main head on hard pixels only")
    text = "OHEM: a pixel is hard if the probability of its class is below P (default: %(default)s)"
    add("--ohem-thres", type=float, default=0.6, metavar="P", help=text)
    text = "OHEM: smallest number of pixels that are kept in a global batch (default: %(default)s)"
    add("--ohem-keep", type=options.whole, default=200000, metavar="N", help=text)
    text = "weight of the auxiliary loss (default: %(default)s)"
    add("--aux-weight", type=float, default=0.4, metavar="X", help=text)
    text = "weight of the category consistent loss; 1 if X is not given (default: %(default)s)"
    add("--ccl", type=float, nargs="?", const=1.0, default=0.0, metavar="X", help=text)
    text = "weight of each class in the cross entropy; auto: median frequency in the training labels (default: all 1)"
    add("--class-weights", type=class_weights, metavar="W,W,...|auto", help=text)
    text = "weight of a soft Dice loss of the main head, added to the cross entropy (default: %(default)s)"
    add("--dice", type=options.weight, default=0.0, metavar="W", help=text)


def data(parser):
    add = parser.add_argument_group("training data").add_argument
    text = "split to train on, for example trainaug of VOC (default: %(default)s)"
    add("--split", default="train", metavar="NAME", help=text)
    text = "crop size (default: 769,769)"
    add("--input-size", type=options.size, default=(769, 769), metavar="H,W", help=text)
    text = "mean of each channel on the scale 0..255, with --channels (default: measured)"
    add("--channel-mean", type=numbers, metavar="M,M,..", help=text)
    text = "standard deviation of each channel, with --channel-mean (default: measured)"
    add("--channel-std", type=numbers, metavar="S,S,..", help=text)
    options.add_augmentation(parser)


def validation(parser):
    """Validation follows the protocol that the checkpoints record, and that evaluate.py will follow."""
    add = parser.add_argument_group("validation, and the protocol that checkpoints record").add_argument
    add("--eval-every", type=options.positive, metavar="N", help="steps between validations (default: no validation)")
    add("--eval-images", type=options.positive, metavar="N", help="validate on the first N images (default: all)")
    text = "sliding windows of this size (default: whole images)"
    add("--eval-input-size", type=options.size, metavar="H,W", help=text)
    text = "share of a sliding window that it has in common with the next (default: a third)"
    add("--eval-overlap", type=options.share, metavar="X", help=text)
    text = "scale each image to this short side (default: not scaled)"
    add("--eval-short-side", type=options.positive, metavar="N", help=text)
    text = "scale it less where its long side would exceed N (default: four times --eval-short-side)"
    add("--eval-long-side", type=options.positive, metavar="N", help=text)


def run(parser):
    add = parser.add_argument_group("run").add_argument
    add(
        "--random-seed",
        "--seed",
        type=options.whole,
        default=12345,
        metavar="N",
        help="of all random numbers (default: %(default)s)",
    )
    text = "folder of checkpoints, logs and figures (default: %(default)s)"
    add("--snapshot-dir", default="./snapshots/", metavar="DIR", help=text)
    text = "steps between checkpoints (default: %(default)s)"
    add("--save-pred-every", type=options.positive, default=10000, metavar="N", help=text)
    text = (
        "also write a temporary checkpoint every M minutes; the next one replaces it; 0: never (default: %(default)s)"
    )
    add("--save-every-minutes", type=options.minutes, default=15, metavar="M", help=text)
    text = "delete the checkpoints, logs and figures of an earlier run in --snapshot-dir (default: off)"
    add("--overwrite", action="store_true", help=text)
    text = "number of checkpoints to keep, besides best.npz; 0: all (default: %(default)s)"
    add("--keep-last", type=options.whole, default=0, metavar="N", help=text)
    text = "checkpoint to resume from; auto: the newest one in --snapshot-dir (default: start a new run)"
    add("--resume", "--continue", "-c", metavar="FILE", help=text)
    text = "steps between lines where stderr is not a terminal (default: %(default)s)"
    add("--print-frequency", type=options.positive, default=50, metavar="N", help=text)


def numbers(text):
    return list(options.parsed(text, options.floats, lambda values: True, "numbers with commas between them"))


def class_weights(text):
    return text if text == "auto" else numbers(text)


def settle(parser, args):
    """Checks of several flags, and `num_steps`, the length of the schedule, and `last_step`, where this run ends."""
    if args.max_iter and args.num_steps:  # --max-iter 60000 --start 2000 --num-steps 2000: one chunk of a longer run
        args.last_step = min(args.max_iter, args.start_iters + args.num_steps)
    else:
        args.last_step = args.max_iter or args.num_steps or 40000
    args.num_steps = args.max_iter or args.last_step
    if args.overwrite and args.resume == "auto":
        parser.error("--overwrite deletes the run that --resume auto continues: leave one of them out")
    if args.start_iters >= args.last_step:
        parser.error(f"--start-iters {args.start_iters} is not before the last step, {args.last_step}")
    for name, low, high in (
        ("momentum", 0, 1),
        ("learning_rate", 0, 1e9),
        ("weight_decay", 0, 1e9),
        ("power", 0, 99),
        ("min_learning_rate", 0, args.learning_rate),
    ):
        if not low <= getattr(args, name) <= high:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)} is not between {low} and {high:g}")
    if not 0 <= args.ohem_thres <= 1:
        parser.error(f"--ohem-thres {args.ohem_thres} is not a probability; expected 0 to 1")


def remarks(args, device, argv=None):
    """Lines about flags that have no effect, or another meaning than in the official code."""
    lines = [f"{name} has no effect; it is accepted for old command lines" for name in options.legacy_in(argv)]
    lines += gpus.remarks(args.gpu, runtime.mpi_size(), device, argv)
    lines += gpus.workspace_remark(device, argv)
    count = len((args.gpu or "").split(","))
    if count > 1 and runtime.mpi_size() == 1 and args.batch_size % (count * args.accumulate):
        lines.append(f"--batch-size {args.batch_size} is that of all GPUs together: it must be a multiple of {count}")
    if args.ohem:  # the same line for any number of ranks
        text = (
            f"--ohem-keep {args.ohem_keep} counts over the whole batch, on any number of GPUs; the official code counts"
        )
        lines.append(f"{text} on each GPU, and its 100000 on each of 4 GPUs are 400000 here")
    needs = {  # flag -> why it may have no effect, and whether it has one
        "--ohem-thres": ("without --ohem", args.ohem),
        "--ohem-keep": ("without --ohem", args.ohem),
        "--momentum": ("with --optimizer adamw", args.optimizer != "adamw"),
        "--eval-images": ("without --eval-every", args.eval_every),
        "--eval-overlap": ("without --eval-input-size", args.eval_input_size),
        "--eval-long-side": ("without --eval-short-side", args.eval_short_side),
        "--source": ("without --restore-from", args.restore_from),
    }
    unused = [(flag, why) for flag, (why, used) in needs.items() if not used and options.given(flag, argv)]
    lines += [f"{flag} has no effect {why}" for flag, why in unused]
    if args.random_scale and args.scale_range:
        lines.append("--scale-range replaces the scales of --random-scale")
    return lines


NETWORK_FLAGS = ("model", "recurrence", "van_size", "drop_path", "stem", "align_corners", "frames")


def take_network(args, begin):
    """Set the flags of network and clips to what the starting point of the run (training/resume.py) determines."""
    network = begin["network"]
    args.model, args.recurrence = network["model"], network["recurrence"]
    args.frames = network["options"].get("frames", 1)
    options.check_frame_stride(args.frames, args.frame_stride)
    if args.frames > 1 and not args.frame_stride:
        args.frame_stride = protocols.clip(begin["meta"].get("protocol"))["frame_stride"]


def protocol(args, model, info):
    """The protocol of the validations, which the checkpoints record. `info`: the facts about the data."""
    labels = {"dataset": info["dataset"], "classes": info["num_classes"], "ignored": info["ignore_label"]}
    sides = {"short_side": args.eval_short_side, "long_side": args.eval_long_side}
    sides.update(frames=args.frames, frame_stride=args.frame_stride)
    corners = getattr(model, "align_corners", True)
    return protocols.record(
        args.input_size, args.eval_input_size, args.eval_overlap, **sides, align_corners=corners, **labels
    )


def protocol_line(protocol):
    return f"protocol: {protocols.describe(protocol)} (validation follows it, checkpoints record it)"


def network_options(settings):
    """The flags of the network by the names of build_model's arguments; None where a flag is not given."""
    network = {name: settings[name] for name in NETWORK_FLAGS}
    stride = settings["output_stride"]
    network["output_stride"] = int(stride) if stride and stride != "multi" else stride
    return {**network, "dilate": False if settings["plain_stride"] else None}
