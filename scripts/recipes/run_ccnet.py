"""Train from the name of an mmsegmentation config: takes the command lines of mmsegmentation model zoos.

    python scripts/recipes/run_ccnet.py --config ../configs/ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py \\
        --launcher pytorch --nproc-per-node 4 --amp --cfg-options train_dataloader.dataset.data_root=CITYSCAPES

Only the name of the config is used: it contains network, batch size, steps, dataset and crop; the scaling of images,
align_corners and the evaluation follow from these. The equivalent command is printed, then run; paths are relative to
the current folder. Further flags go to train.py. Training starts from the ImageNet weights of mmsegmentation in
./dataset; if they are missing, an error names where they are published. --restore-from FILE names other weights.
"""

import argparse
import os
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIG = re.compile(r"ccnet_(r50|r101)-d8_(\d+)xb(\d+)-(\d+)k_(cityscapes|ade20k|voc12aug)-(\d+)x(\d+)")
PRETRAINED = {"r50": "resnet50_v1c-2cccc1ad.pth", "r101": "resnet101_v1c-e67eebb6.pth"}
DATASETS = {"voc12aug": ["--dataset", "voc", "--split", "trainaug"]}


def parse_args(argv=None):
    parser = argparse.ArgumentParser("run_ccnet.py", description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True, help="for example ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py")
    parser.add_argument(
        "--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none",
        help="all but none start mpirun (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--nproc-per-node", "--nproc_per_node", type=int, default=1, metavar="N", help="ranks (default: 1)"
    )
    parser.add_argument("--work-dir", help="same as --snapshot-dir of train.py")
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="only ...data_root=FOLDER is supported"
    )
    return parser.parse_known_args(argv)


def command(args, others):
    """-> (flags of train.py, number of ranks)."""
    match = CONFIG.fullmatch(Path(args.config).stem)
    if not match:
        raise ValueError(f"{args.config} is not named as a CCNet config: ccnet_r50-d8_4xb2-40k_cityscapes-512x1024")
    depth, gpus, batch, thousands, dataset, height, width = match.groups()
    words = ["--model", f"ccnet_mmseg_{depth}", *DATASETS.get(dataset, ["--dataset", dataset])]
    words += ["--batch-size", str(int(gpus) * int(batch)), "--num-steps", f"{thousands}000"]
    words += ["--restore-from", f"./dataset/{PRETRAINED[depth]}", "--input-size", f"{height},{width}"]
    words += ["--random-mirror", "--scale-range", "0.5,2.0", "--cat-max-ratio", "0.75", "--color-jitter"]
    words += ["--learning-rate", "0.01", "--min-learning-rate", "1e-4", "--momentum", "0.9", "--weight-decay", "5e-4"]
    words += sizes(dataset, (height, width))
    roots = {}
    for option in args.cfg_options:
        key, _, value = option.partition("=")
        if not key.endswith("data_root"):
            raise ValueError(f"--cfg-options {option}: only ...data_root=FOLDER is supported; use flags of train.py")
        roots[value] = key
    if len(roots) > 1:
        raise ValueError(f"--cfg-options name {len(roots)} folders ({', '.join(roots)}); give one")
    words += [word for root in roots for word in ("--data-dir", root)]
    words += ["--amp"] * args.amp + (["--snapshot-dir", args.work_dir] if args.work_dir else []) + others
    return words, 1 if args.launcher == "none" else args.nproc_per_node


def sizes(dataset, crop):
    """How images are scaled in training and validation, and align_corners, by the base configs of mmsegmentation."""
    if dataset != "cityscapes":
        return ["--short-side", "512", "--long-side", "2048", "--eval-short-side", "512"]
    if crop == ("769", "769"):  # of 2049x1025
        window = ["--eval-input-size", "769,769", "--eval-short-side", "1025", "--eval-long-side", "2049"]
        return ["--short-side", "1025", "--long-side", "2049", "--align-corners", "yes", *window]
    return []


def remarks(args):
    """Lines about what the command line does not do."""
    lines = []
    if args.launcher == "none" and args.nproc_per_node > 1:
        lines.append(
            f"--nproc-per-node {args.nproc_per_node} has no effect without --launcher: this is one process; for "
            f"{args.nproc_per_node} ranks add --launcher pytorch"
        )
    return lines


def main():
    args, others = parse_args()
    words, ranks = command(args, others)
    for line in remarks(args):
        print(line)
    start = ["mpirun", "-np", str(ranks)] if ranks > 1 else []
    print(shlex.join([*start, "python", str(ROOT / "train.py"), *words]), flush=True)
    os.environ.update(GPUS=str(ranks), VENV=sys.prefix)
    os.execvp(
        "bash",
        ["bash", "-euc", '. "$1"; shift; train "$@"', Path(__file__).name, ROOT / "scripts/recipes/ranks.sh", *words],
    )


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"run_ccnet.py: {error}")
