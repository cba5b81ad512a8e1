#!/usr/bin/env python3
"""Time of whole networks in Jittor and PyTorch: a forward pass in evaluation, and a training step.

    python scripts/benchmark/model.py                                  # ResNet-101 forward, ResNet-50 training step
    python scripts/benchmark/model.py --cases forward --model van_tiny --size 257 --repeats 9
    python scripts/benchmark/model.py --cases train --profile          # and the time of each Jittor operator

Medians of alternating runs in one process, each after an untimed run; wall time, and CPU time of all threads, which is
more reliable on a busy machine. PyTorch runs eager, channels_last and compiled (evaluation: with frozen weights), each
in float32 and with bfloat16 autocast; its networks are in torch_models.py, and weights are the same.
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
OURS = ("no-fold", "float32", "bfloat16")
PYTORCH = ("eager", "channels_last", "compile", "bf16", "bf16 channels_last", "bf16 compile")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="default: both")
    parser.add_argument("--model", choices=MODELS, help="default: ccnet forward, ccnet_r50 in training")
    parser.add_argument("--size", type=shared.size, metavar="H,W", help="default: 513,513 forward, 257,257 in training")
    parser.add_argument("--batch", type=shared.positive, help="default: 1 forward, 2 in training")
    parser.add_argument("--repeats", type=shared.positive, default=7, help="rounds (default: %(default)s)")
    text = "implementations that are left out (default: none)"
    parser.add_argument("--skip", nargs="+", choices=OURS + PYTORCH, default=[], metavar="NAME", help=text)
    parser.add_argument("--profile", action="store_true", help="print the slowest Jittor operators")
    parser.add_argument(
        "--device", choices=runtime.DEVICES, default="cpu", help="of Jittor; PyTorch uses the CPU (default: cpu)"
    )
    return parser.parse_args()


def build(name):
    """-> (Jittor network, PyTorch network with the same weights or None if PyTorch is not installed)."""
    import jittor as jt

    from models import build_model
    from models.tables import VAN_SIZES

    jt.sync_all()  # Jittor draws random numbers lazily: draw all that are pending before the seed is set
    jt.set_global_seed(0)
    van = {"van_size": name, "drop_path": 0.0} if name.startswith("van") else {}
    model = build_model("van" if van else name, CLASSES, **van)
    model.head.cca.gamma.assign(jt.array([0.5]))
    jt.sync_all()
    try:
        from scripts.benchmark import torch_models
    except ImportError:
        return model, None
    if van:
        other = torch_models.VANCCNet(*VAN_SIZES[name][:2], CLASSES)
    else:
        other = torch_models.CCNet({"ccnet": 101, "ccnet_r50": 50, "ccnet_r18": 18}[name], CLASSES)
    return model, torch_models.load(other, {key: value.numpy() for key, value in model.state_dict().items()})


def forward_runs(name, images, ways):
    """-> {way: run() -> main logits as numpy}, in the order of `ways`."""
    import jittor as jt

    from models.layers.fold import fold
    from utils.training import amp

    x, runs = jt.array(images), {}
    for way in ways:
        model, other = build(name)
        if way not in OURS:
            runs.update(torch_run("forward", other, way, images))
            continue
        model.eval()
        simplified = amp.simplify(way if way == "bfloat16" else None, None if way == "no-fold" else fold)(model)
        print(f"{way}: {simplified}")

        def run(model=model):
            with jt.no_grad():
                logits = model(x)[0]
                jt.sync([logits], True)
                return logits.numpy()

        runs[way] = run
    return runs


def train_runs(name, images, ways):
    """-> {way: run() -> loss of one step of SGD}."""
    import numpy as np

    labels = np.random.default_rng(1).integers(0, CLASSES, (len(images), *images.shape[2:])).astype(np.int32)
    runs = {}
    for way in ways:
        model, other = build(name)
        if way in OURS:
            runs[way] = jittor_step(model, images, labels, way)
        else:
            runs.update(torch_run("step", other, way, images, labels))
    return runs


def jittor_step(model, images, labels, way):
    import jittor as jt

    from models.losses import segmentation_losses
    from utils.training import amp

    for line in amp.compute(model, way) if way == "bfloat16" else ():
        print(line)
    optimizer = jt.optim.SGD(model.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4)
    x, y = jt.array(images), jt.array(labels)

    def run():
        loss = segmentation_losses(model(x), y)["loss"]
        optimizer.step(loss)
        jt.sync_all(True)
        return loss.item()

    return run


def torch_run(case, network, way, *data):
    """-> {way: run}; {} without PyTorch."""
    if network is None:
        return {}
    from scripts.benchmark import torch_runs

    return {way: getattr(torch_runs, case)(network, *data, way)}


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
                run()  # untimed: threads of the previous case may still spin, its data is in the caches
            times[label].append(timed(run))
    return {label: tuple(statistics.median(column) for column in zip(*rows)) for label, rows in times.items()}


def print_rows(case, results):
    """Ratios are of wall times, to the fastest PyTorch in float32 and to the fastest of all."""
    float32 = [wall for label, (wall, _) in results.items() if label in PYTORCH and "bf16" not in label]
    every = [wall for label, (wall, _) in results.items() if label in PYTORCH]
    for label, (wall, cpu) in results.items():
        label_of = f"PyTorch {label}" if label in PYTORCH else f"here, {label}"
        ratios = " | ".join(f"{wall / min(walls):.2f}" if walls else "-" for walls in (float32, every))
        print(f"| {case} | {label_of} | {wall:.3f} | {cpu:.3f} | {ratios} |", flush=True)


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
    if args.skip:
        print(f"left out: {', '.join(args.skip)}")
    ways = [way for way in OURS + PYTORCH if way not in args.skip]
    tables = []
    for case in args.cases:
        name, batch, size = CASES[case]
        name, batch, size = args.model or name, args.batch or batch, args.size or size
        images = np.random.default_rng(0).standard_normal((batch, 3, *size), dtype=np.float32)
        if case == "forward":
            runs = forward_runs(name, images, ways)
        else:
            runs = train_runs(name, images, [way for way in ways if way != "no-fold"])
        tables.append((f"{name} {case}, {batch}x3x{size[0]}x{size[1]}", measure(runs, args.repeats)))
        if args.profile:
            profile([run for way, run in runs.items() if way in OURS][-1])
    if not any(way in PYTORCH for _, results in tables for way in results):
        print("PyTorch is not installed or left out: no ratios")
    print("\n| case | implementation | wall s | CPU s | to the best PyTorch float32 | to the best PyTorch |")
    print("|---|---|---|---|---|---|")
    for case, results in tables:
        print_rows(case, results)
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
