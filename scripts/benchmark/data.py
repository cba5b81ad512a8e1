#!/usr/bin/env python3
"""Training samples per second from 2048x1024 PNGs at crop 769 on one core, for several orders of operations.

    python scripts/benchmark/data.py

Draws street scenes in the layout of Cityscapes and uses one core. In every round each way loads the same samples with
the same random choices; medians over the rounds are printed. On a busy machine, trust CPU time
rather than wall time.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=shared.size, default=(1024, 2048), metavar="H,W", help="default: 1024,2048")
    parser.add_argument("--crop", type=shared.size, default=(769, 769), metavar="H,W", help="default: 769,769")
    parser.add_argument("--count", type=shared.positive, default=8, help="scenes (default: %(default)s)")
    parser.add_argument("--rounds", type=shared.positive, default=7, help="default: %(default)s")
    parser.add_argument("--data-dir", help="read the training split of this Cityscapes (default: drawn scenes)")
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    runtime.start("cpu")

    import cv2

    from datasets import training_data
    from datasets.scenes import folders

    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        root = args.data_dir
        if not root:
            root = folders.write_cityscapes(f"{folder}/scenes", args.count, args.size, splits=("train",))
        packed = pack(root, Path(folder) / "packed", args.count)
        common = dict(random_scale=True, random_mirror=True, seed=1)
        fast = training_data("cityscapes", "train", args.crop, data_dir=root, **common)
        official_order = training_data("cityscapes", "train", args.crop, "official", data_dir=root, **common)
        memory = training_data("cityscapes", "train", args.crop, data_dir=root, cache="ram", **common)
        disk = training_data("packed", "train", args.crop, data_dir=packed, **common)
        count = min(args.count, fast.total_len)
        ways = {
            "official order: scale all, float, crop": lambda epoch, k: official(fast.pairs[k], args.crop, epoch, k),
            "--augment official": official_order.augmented,
            "--augment fast (default)": fast.augmented,
            "  with --cache ram": memory.augmented,
            "  from a packed folder": disk.augmented,
        }
        cpu, wall = {name: [] for name in ways}, {name: [] for name in ways}
        for epoch in range(args.rounds + 1):  # the first round fills caches: not counted
            order = list(ways) if epoch % 2 else list(ways)[::-1]
            for name in order:
                began, used = time.perf_counter(), time.process_time()
                for k in range(count):
                    ways[name](epoch, k)
                if epoch:
                    cpu[name].append((time.process_time() - used) / count)
                    wall[name].append((time.perf_counter() - began) / count)
    first = next(iter(ways))
    size = f"{args.size[1]}x{args.size[0]}" if not args.data_dir else "Cityscapes"
    print(f"{size} PNG, crop {args.crop[0]}x{args.crop[1]}, {count} samples x {args.rounds} rounds, one core")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; OpenCV {cv2.__version__}\n")
    print("| way | CPU ms | samples/s of CPU | ratio | wall ms |\n|---|---|---|---|---|")
    for name in ways:
        middle, ratio = statistics.median(cpu[name]), statistics.median(a / b for a, b in zip(cpu[first], cpu[name]))
        row = f"{1e3 * middle:.1f} | {1 / middle:.1f} | {ratio:.2f} | {1e3 * statistics.median(wall[name]):.1f}"
        print(f"| {name} | {row} |")


def official(pair, crop, epoch, index):
    """A sample as the published loader returns it, with our random choices."""
    import numpy as np

    from scripts.benchmark import official_recipe

    rng = np.random.default_rng([1, epoch, index])
    image, label = official_recipe.augment(*official_recipe.load(*pair), crop, rng)
    return image.copy(), np.asarray(label, np.float32).copy()


def pack(root, out, count):
    """Pack the first samples with scripts/data/pack.py. -> the folder."""
    import subprocess

    from datasets import build_dataset

    pairs = out.parent / "pairs.txt"
    data = build_dataset("cityscapes", "train", root)
    pairs.write_text("\n".join(f"{image.resolve()}\t{label.resolve()}" for image, label in data.pairs[:count]))
    script = Path(__file__).resolve().parents[1] / "data" / "pack.py"
    command = [sys.executable, script, "--data-dir", root, "--out", out, "--split", "train", "--data-list", pairs]
    done = subprocess.run([*map(str, command), "--workers", "0"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return out


if __name__ == "__main__":
    main()
