"""Time of whole networks, here and in PyTorch: a forward pass in evaluation, and a training step.

    python scripts/benchmark/model.py                                  # ResNet-101 forward, ResNet-50 training step
    python scripts/benchmark/model.py --cases forward --model van_tiny --size 257 --repeats 9
    python scripts/benchmark/model.py --cases train --profile          # and where Jittor's time goes, by operator

Medians of alternating runs in one process, each after an untimed one, wall and CPU time (user and system, of all
threads): on a busy machine the latter says more. PyTorch's networks are in torch_models.py; weights are the same.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

CASES = {"forward": ("ccnet", 1, (513, 513)), "train": ("ccnet_r50", 2, (257, 257))}
MODELS = ("ccnet", "ccnet_r50", "ccnet_r18", "van_tiny", "van_small", "van_base", "van_large")
CLASSES = 19


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="default: both")
    parser.add_argument("--model", choices=MODELS, help="default: ccnet forward, ccnet_r50 in training")
    parser.add_argument("--size", type=shared.size, metavar="H,W", help="default: 513,513 forward, 257,257 in training")
    parser.add_argument("--batch", type=shared.positive, help="default: 1 forward, 2 in training")
    parser.add_argument("--repeats", type=shared.positive, default=7, help="rounds (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="print Jittor's operators, the slowest first")
    parser.add_argument("--device", choices=runtime.DEVICES, default="cpu", help="PyTorch runs on the CPU anyway")
    return parser.parse_args()


def build(name):
    """-> the network here, and its sibling in PyTorch with the same weights, or None where PyTorch is not installed."""
    import jittor as jt

    from models import build_model
    from models.tables import VAN_SIZES

    jt.sync_all()  # random numbers are drawn when they are needed: those still owed come before the seed
    jt.set_global_seed(0)
    van = {"van_size": name, "drop_path": 0.0} if name.startswith("van") else {}
    model = build_model("van" if van else name, CLASSES, **van)
    model.head.cca.gamma.assign(jt.array([0.5]))
    jt.sync_all()
    try:
        import torch
        import torch_models
    except ImportError:
        return model, None
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if van:
        other = torch_models.VANCCNet(*VAN_SIZES[name][:2], CLASSES)
    else:
        other = torch_models.CCNet({"ccnet": 101, "ccnet_r50": 50, "ccnet_r18": 18}[name], CLASSES)
    return model, torch_models.load(other, {key: value.numpy() for key, value in model.state_dict().items()})


def forward_runs(name, images):
    """-> {implementation: run()}, each returning the main logits as numpy."""
    import jittor as jt

    from models.layers.fold import fold

    x, runs = jt.array(images), {}
    for label, folded in (("Jittor, --no-fold", False), ("Jittor", True)):
        model, other = build(name)
        model.eval()
        if folded:
            label = f"Jittor ({fold(model)})"

        def run(model=model):
            with jt.no_grad():
                logits = model(x)[0]
                jt.sync([logits], True)
                return logits.numpy()

        runs[label] = run
    if other is not None:
        import torch

        other.eval()

        def run_torch():
            with torch.no_grad():
                return other(torch.from_numpy(images))[0].numpy()

        runs["PyTorch"] = run_torch
    return runs


def train_runs(name, images):
    """-> {implementation: run()}, each one step of SGD returning the loss."""
    import jittor as jt
    import numpy as np

    from models.losses import segmentation_loss

    label = np.random.default_rng(1).integers(0, CLASSES, (len(images), *images.shape[2:])).astype(np.int32)
    model, other = build(name)
    optimizer = jt.optim.SGD(model.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4)
    x, y = jt.array(images), jt.array(label)

    def run():
        loss = segmentation_loss(model(x), y)["loss"]
        optimizer.step(loss)
        jt.sync_all(True)
        return loss.item()

    runs = {"Jittor": run}
    if other is not None:
        import torch
        from torch.nn import functional as F

        other.train()
        sgd = torch.optim.SGD(other.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4)
        target = torch.from_numpy(label).long()

        def run_torch():
            sgd.zero_grad()
            logits = other(torch.from_numpy(images))
            logits = [F.interpolate(z, label.shape[1:], mode="bilinear", align_corners=True) for z in logits]
            main, aux = (F.cross_entropy(z, target, ignore_index=255) for z in logits)
            loss = main + 0.4 * aux
            loss.backward()
            sgd.step()
            return loss.item()

        runs["PyTorch"] = run_torch
    return runs


def timed(run):
    cpu, wall = os.times(), time.perf_counter()
    run()
    now = os.times()
    return time.perf_counter() - wall, now.user + now.system - cpu.user - cpu.system


def measure(runs, repeats):
    """-> {implementation: (median wall, median CPU)}"""
    times = {label: [] for label in runs}
    for run in runs.values():
        run()  # compiles
    for _ in range(repeats):
        for label, run in runs.items():
            if repeats > 1:
                run()  # threads of the one before may still spin, and its data fill the caches
            times[label].append(timed(run))
    return {label: tuple(statistics.median(column) for column in zip(*rows)) for label, rows in times.items()}


def profile(run):
    import jittor as jt

    with jt.profile_scope() as report:
        run()
    names, rows = report[0], report[1:]
    name, count, total = (names.index(column) for column in ("Name", "Count", "TotalTime"))
    rows = sorted(rows, key=lambda row: -float(row[total]))[:25]
    print("\n| ms | calls | operator |\n|---|---|---|")
    for row in rows:
        print(f"| {float(row[total]) / 1e6:.1f} | {row[count]} | {row[name].split('hash')[0][:110]} |")


def main():
    args = parse_args()
    machine = runtime.start(args.device)
    import numpy as np

    from models.cca.functional import resolve

    print(f"{runtime.describe(machine, resolve('auto'))} · load {os.getloadavg()[0]:.1f}")
    print("| case | implementation | wall s | CPU s | CPU, of PyTorch's |\n|---|---|---|---|---|")
    for case in args.cases:
        name, batch, size = CASES[case]
        name, batch, size = args.model or name, args.batch or batch, args.size or size
        images = np.random.default_rng(0).standard_normal((batch, 3, *size), dtype=np.float32)
        runs = (forward_runs if case == "forward" else train_runs)(name, images)
        results = measure(runs, args.repeats)
        for label, (wall, cpu) in results.items():
            ratio = f"{cpu / results['PyTorch'][1]:.2f}" if "PyTorch" in results else "-"
            print(f"| {name} {case}, {batch}x3x{size[0]}x{size[1]} | {label} | {wall:.3f} | {cpu:.3f} | {ratio} |")
        if args.profile:
            profile([run for label, run in runs.items() if label.startswith("Jittor")][-1])
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
