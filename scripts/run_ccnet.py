"""Train from the name of an mmsegmentation config, for command lines that are written that way.

    python scripts/run_ccnet.py --config ../configs/ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py \\
        --launcher pytorch --nproc-per-node 4 --amp --cfg-options train_dataloader.dataset.data_root=CITYSCAPES

Only the name of the config is read; it says network, batch, steps, data set and crop. The command that it stands for is
printed, then run. Further flags go to train.py.
"""

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = re.compile(r"ccnet_(r50|r101)-d8_(\d+)xb(\d+)-(\d+)k_(cityscapes|ade20k|voc12aug)-(\d+)x(\d+)")
DATASETS = {"voc12aug": ["--dataset", "voc", "--split", "trainaug"]}


def parse_args(argv=None):
    parser = argparse.ArgumentParser("run_ccnet.py", description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True, help="as ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py")
    parser.add_argument(
        "--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none", help="mpirun, unless none"
    )
    parser.add_argument("--nproc-per-node", "--nproc_per_node", type=int, default=1, metavar="N", help="ranks")
    parser.add_argument("--work-dir", help="becomes --snapshot-dir")
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="data_root counts, no other")
    return parser.parse_known_args(argv)


def command(args, others):
    """-> the command that does it."""
    found = CONFIG.fullmatch(Path(args.config).stem)
    if not found:
        raise ValueError(f"{args.config} is not named as a CCNet config: ccnet_r50-d8_4xb2-40k_cityscapes-512x1024")
    depth, gpus, each, thousands, data, height, width = found.groups()
    words = [sys.executable, "train.py", "--model", f"ccnet_mmseg_{depth}", *DATASETS.get(data, ["--dataset", data])]
    words += ["--batch-size", str(int(gpus) * int(each)), "--num-steps", f"{thousands}000"]
    words += [
        "--input-size",
        f"{height},{width}",
        "--random-mirror",
        "--scale-range",
        "0.5,2.0",
        "--cat-max-ratio",
        "0.75",
    ]
    words += ["--learning-rate", "0.01", "--momentum", "0.9", "--weight-decay", "5e-4", "--color-jitter"]
    roots = {}
    for option in args.cfg_options:
        key, _, value = option.partition("=")
        if not key.endswith("data_root"):
            raise ValueError(f"--cfg-options {option}: only ...data_root=FOLDER is understood; give flags of train.py")
        roots[value] = key
    if len(roots) > 1:
        raise ValueError(f"--cfg-options name {len(roots)} folders ({', '.join(roots)}); training takes one")
    words += [word for root in roots for word in ("--data-dir", root)]
    words += ["--amp"] * args.amp + (["--snapshot-dir", args.work_dir] if args.work_dir else []) + others
    if args.launcher == "none" or args.nproc_per_node == 1:
        return words
    return [shutil.which("mpirun") or "mpirun", "-np", str(args.nproc_per_node), *words]


def main():
    words = command(*parse_args())
    print(" ".join(words), flush=True)
    os.chdir(ROOT)
    os.execvp(words[0], words)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"run_ccnet.py: {error}")
