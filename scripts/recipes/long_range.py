#!/usr/bin/env python3
"""The table and the figure of scripts/recipes/long_range.sh: accuracy where the answer lies beyond the field of view.

    SEEDS=1 scripts/recipes/long_range.sh && python scripts/recipes/long_range.py snapshots/long_range --no-cost

Evaluates the last checkpoint of each run on both halves of `val`, as evaluate.py --split val_cross and val_anywhere do,
and once more with gamma = 0. Measures which share of the attention of a region lies on its beacon, and time and memory
of a training step. Writes long_range.json and long_range.png into the folder of the runs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

NETWORKS = {  # folder of the run without its seed -> name in the table, model, recurrence
    "r0": ("no attention (R = 0)", "ccnet_shallow", 0),
    "r1": ("criss-cross, R = 1", "ccnet_shallow", 1),
    "r2": ("criss-cross, R = 2", "ccnet_shallow", 2),
    "non_local": ("non-local", "ccnet_shallow_non_local", 1),
}
HALVES = ("cross", "anywhere")
COSTS = ((65, 16), (257, 1))  # side of the images and batch size of the steps that are measured


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", metavar="DIR", help="folder of the runs, OUT of long_range.sh")
    text = "images of each half (default: all)"
    parser.add_argument("--eval-images", type=shared.positive, metavar="N", help=text)
    parser.add_argument("--no-cost", action="store_true", help="do not measure time and memory (default: off)")
    parser.add_argument("--cost-of", nargs=3, metavar=("NETWORK", "SIDE", "BATCH"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def checkpoints(folder):
    """-> {network: {seed: path of the last checkpoint}}, networks and seeds in order."""
    from utils.weights import checkpoint

    paths = {}
    for path in sorted(Path(folder).glob("*_s*")):
        match = re.fullmatch(r"(\w+)_s(\d+)", path.name)
        last = checkpoint.newest(str(path)) if match and match[1] in NETWORKS else None
        if last:
            paths.setdefault(match[1], {})[int(match[2])] = last
    if not paths:
        raise FileNotFoundError(f"no checkpoint in {folder}/r2_s1 or alike; scripts/recipes/long_range.sh writes them")
    return {name: dict(sorted(paths[name].items())) for name in NETWORKS if name in paths}


def load(path):
    from models import build_model
    from utils.weights import network

    return network.load_network(path, build_model, dict.fromkeys(("model", "num_classes", "recurrence", "van_size")))


def accuracy(model, meta, split, count):
    """Correct pixels of the regions, as a fraction."""
    from datasets import build_dataset
    from datasets.transforms import normalise
    from utils.training import validation

    data = build_dataset("beacons", split, scene_size=meta["data"]["scene_size"], num_workers=0)
    rules = (meta["num_classes"], meta["ignore_label"], count, meta["protocol"])
    return validation.validate(model, data, lambda x: normalise(x, meta["normalisation"]), *rules)[0].pixel_accuracy


def measure(path, count):
    """-> accuracy on each half, on both with gamma = 0, gamma, attention at the beacon in each half."""
    import jittor as jt
    import numpy as np

    model, meta = load(path)
    result = {half: accuracy(model, meta, f"val_{half}", count) for half in HALVES}
    gamma = model.head.cca.gamma
    result["gamma"] = value = float(gamma.item())
    if meta["recurrence"] and meta["model"] == "ccnet_shallow":
        result["attention"] = {half: attention_share(model, meta, half, min(count or 30, 30)) for half in HALVES}
    gamma.assign(np.zeros(1, np.float32))
    jt.sync_all()
    result["without"] = accuracy(model, meta, "val", 2 * count if count else None)
    return {**result, "gamma": value}


def attention_share(model, meta, half, count):
    """Which part of the attention of a region's centre is on its beacon or one cell beside it, mean over images."""
    import numpy as np

    from scripts.recipes.long_range_figure import beacon_maps

    shares = []
    for index in range(count):
        _, _, maps, near = beacon_maps(model, meta, half, index)
        shares.append(float(maps[-1][near].sum()))
    return float(np.mean(shares))


# ------------------------------------------------------------------------------------------------- time and memory


def step_cost(name, side, batch):
    """Median CPU time of a training step in ms; growth of the peak resident set in MB above that before the steps.
    The kernel counts pages in lots, so the peak can seem to be a little below."""
    import jittor as jt
    import numpy as np

    from models import build_model
    from models.losses import Criterion
    from scripts.benchmark.cca import resident
    from utils.training import optim

    _, model_name, recurrence = NETWORKS[name]
    model = build_model(model_name, 3, recurrence)
    criterion, optimizer = Criterion(model, 3, aux_weight=0.0), optim.build(model.named_parameters(), "adamw", 1e-3)

    def step(number, side, batch):
        began = time.process_time()
        labels = jt.array(np.zeros((batch, side, side), np.int32))
        optimizer.backward(criterion(model(jt.randn(batch, 3, side, side)), labels)["loss"])
        optim.update(optimizer, number)
        jt.sync_all(True)
        return time.process_time() - began

    for number in range(2):  # compiles
        step(number, 33, 2)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident("VmRSS")
    seconds = sorted(step(2 + number, side, batch) for number in range(5))
    return {"ms": 1e3 * seconds[2], "mb": max(0, resident("VmHWM") - before) / 1e6}


def costs(names):
    """{network: [{"ms", "mb"} for each of COSTS]}, each in a process with one thread."""
    env, results = {**os.environ, "OMP_NUM_THREADS": "1"}, {}
    for name in names:
        for side, batch in COSTS:
            command = [sys.executable, __file__, ".", "--cost-of", name, str(side), str(batch)]
            done = subprocess.run(command, capture_output=True, text=True, env=env)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
            results.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
    return results


# ----------------------------------------------------------------------------------------------------------- output


def span(values):
    """ "33.3", or "99.8 to 100.0": the range over the seeds, in per cent."""
    texts = [f"{100 * value:.1f}" for value in (min(values), max(values))]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)


def table(results, cost):
    heads = ["network", *HALVES, "gamma", "both, with gamma = 0", *(f"attention, {half}" for half in HALVES)]
    heads += [f"step, {batch} of {side}x{side}" for side, batch in COSTS] if cost else []
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, runs in results.items():
        runs = list(runs.values())
        row = [NETWORKS[name][0], *(span([run[half] for run in runs]) for half in HALVES)]
        row += [", ".join(f"{run['gamma']:.2f}" for run in runs), span([run["without"] for run in runs])]
        shares = [run["attention"] for run in runs if "attention" in run]
        row += [span([share[half] for share in shares]) if shares else "" for half in HALVES]
        row += [f"{one['ms']:.0f} ms, {one['mb']:.0f} MB" for one in cost.get(name, ())]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main():
    args = parse_args()
    runtime.start("cpu")
    if args.cost_of:
        name, side, batch = args.cost_of
        return print(json.dumps(step_cost(name, int(side), int(batch))))

    from scripts.recipes.long_range_figure import figure
    from utils.training.logger import write_json

    paths, folder = checkpoints(args.runs), Path(args.runs)
    results = {
        name: {seed: measure(path, args.eval_images) for seed, path in runs.items()} for name, runs in paths.items()
    }
    cost = {} if args.no_cost else costs(paths)
    write_json(folder / "long_range.json", {"results": results, "cost": cost, "steps": COSTS})
    print("accuracy and attention in per cent, range over the seeds; a guess is right for 33.3")
    print(table(results, cost))
    if {"r1", "r2"} <= set(paths):
        figure(folder, paths, load).save(folder / "long_range.png")
        print(f"figure: {folder / 'long_range.png'}")


if __name__ == "__main__":
    runtime.run(main, "long_range.py")
