#!/usr/bin/env python3
"""Time of the CPU kernels of VAN, of the loss and of the optimizers, beside PyTorch, forward and backward.

    OMP_NUM_THREADS=2 python scripts/benchmark/operators.py
    OMP_NUM_THREADS=1 python scripts/benchmark/operators.py --cases loss --repeats 1      # one of them

Medians of alternating runs in one process, in milliseconds, each after an untimed run. PyTorch is the faster one of its
two layouts, contiguous and channels_last; without PyTorch its columns stay empty. CPU: time of all threads, which is
more reliable on a busy machine.
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

CONVOLUTIONS = ((2, 32, 32, 65, 5, 1), (2, 32, 32, 65, 7, 3), (2, 256, 256, 65, 3, 1), (2, 32, 256, 65, 1, 1))
LOSSES = ((2, 19, 33, 257), (1, 150, 64, 512))  # batch, classes, side of the logits, side of the labels
WEIGHTS = (512, 512, 3, 3)  # and 20 of them


def pytorch():
    """The module torch, or None if it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def convolution(batch, channels, out, side, kernel, dilation):
    """-> {implementation: run()} for a convolution with bias, with all gradients"""
    import jittor as jt

    from models.layers.depthwise import DepthwiseConv2d
    from models.layers.pointwise import PointwiseConv2d

    pad, depthwise = dilation * (kernel // 2), kernel > 1
    layer = DepthwiseConv2d(channels, kernel, 1, pad, dilation) if depthwise else PointwiseConv2d(channels, out)
    x, g = jt.randn(batch, channels, side, side), jt.randn(batch, out, side, side)

    def here():
        y = layer(x)
        jt.sync([y, *jt.grad((y * g).sum(), [x, *layer.parameters()])], True)

    runs, torch = {"here": here}, pytorch()
    if torch is None:
        return runs
    other = torch.nn.Conv2d(channels, out, kernel, 1, pad, dilation, groups=channels if depthwise else 1)
    arrays = [torch.from_numpy(v.numpy()) for v in (x, g)]
    for layout in (torch.contiguous_format, torch.channels_last):
        theirs, given = (v.clone(memory_format=layout) for v in arrays)
        theirs.requires_grad_(True)

        def run(theirs=theirs, given=given):
            theirs.grad = other.weight.grad = other.bias.grad = None
            other(theirs).backward(given)

        runs[str(layout)] = run
    return runs


def loss(batch, classes, small, side):
    import jittor as jt

    from models.losses import cross_entropy

    x, y = jt.randn(batch, classes, small, small), jt.randint(0, classes, (batch, side, side)).int32()

    def here():
        value = cross_entropy(x, y)
        jt.sync([value, jt.grad(value, x)], True)

    torch = pytorch()
    if torch is None:
        return {"here": here}
    theirs, labels = torch.from_numpy(x.numpy()).requires_grad_(True), torch.from_numpy(y.numpy()).long()
    functional = torch.nn.functional

    def run_torch():
        theirs.grad = None
        up = functional.interpolate(theirs, (side, side), mode="bilinear", align_corners=True)
        functional.cross_entropy(up, labels, ignore_index=255).backward()

    return {"here": here, "PyTorch": run_torch}


def optimizer(name):
    import jittor as jt

    from utils.training import optim, step_control

    named = [(f"p{k}", jt.randn(*WEIGHTS)) for k in range(20)]
    ours = optim.build(named, name, 1e-3)
    ours.param_groups[0]["grads"] = [jt.randn(*WEIGHTS) for _ in named]

    def here():
        optim.gradient_norm(ours, step_control.fresh()).item()
        optim.update(ours, 1)
        jt.sync_all(True)

    torch = pytorch()
    if torch is None:
        return {"here": here}
    theirs = [torch.nn.Parameter(torch.from_numpy(p.numpy().copy())) for _, p in named]
    for p in theirs:
        p.grad = torch.randn(WEIGHTS)
    other = torch.optim.SGD(theirs, 1e-3, 0.9, weight_decay=5e-4) if name == "sgd" else torch.optim.AdamW(theirs, 1e-3)

    def run_torch():
        torch.nn.utils.get_total_norm([p.grad for p in theirs]).item()
        other.step()

    return {"here": here, "PyTorch": run_torch}


CASES = {
    "convolution": [
        (f"{v[1]} to {v[2]} channels, {v[4]}x{v[4]}, dilation {v[5]}", convolution, v) for v in CONVOLUTIONS
    ],
    "loss": [(f"resizing and cross entropy, {v[1]} classes, {v[0]}x{v[3]}x{v[3]}", loss, v) for v in LOSSES],
    "optimizer": [(f"{name} and gradient norm, 47 million weights", optimizer, (name,)) for name in ("sgd", "adamw")],
}


def measure(runs, repeats):
    """-> {implementation: (median wall, median CPU)} in milliseconds"""
    times = {label: [] for label in runs}
    for _ in range(repeats):
        for label, run in runs.items():
            run()
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            times[label].append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3))
    return {label: tuple(statistics.median(column) for column in zip(*rows)) for label, rows in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="default: all")
    parser.add_argument("--repeats", type=shared.positive, default=7, help="rounds (default: %(default)s)")
    args = parser.parse_args()
    runtime.start("cpu")
    if pytorch():
        pytorch().set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(f"{os.environ['OMP_NUM_THREADS']} threads · load {os.getloadavg()[0]:.1f}")
    columns = ("case", "here, wall and CPU ms", "PyTorch, wall and CPU ms", "ratio of wall", "ratio of CPU")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for title, build, values in (case for name in args.cases for case in CASES[name]):
        results = measure(build(*values), args.repeats)
        ours = results.pop("here")
        cells = [f"{ours[0]:.1f}, {ours[1]:.1f}", "", "", ""]
        if results:
            best = min(results.values(), key=lambda pair: pair[1])
            cells[1:] = [f"{best[0]:.1f}, {best[1]:.1f}", *(f"{ours[k] / best[k]:.2f}" for k in (0, 1))]
        print(f"| {title} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
