#!/usr/bin/env python3
"""Time, memory and operations of criss-cross attention: reference, fused, non-local, and PyTorch if installed.

    python scripts/benchmark/cca.py                                    # a Markdown table, and runs/cca_cost.svg
    python scripts/benchmark/cca.py --sizes 97,97 128,256 --repeats 15
    python scripts/benchmark/cca.py --modules                          # RCCA against a non-local block, as in the paper

Times are medians of alternating runs in one process, each after an untimed run. Memory is the growth of the peak
resident set above inputs and results, in a separate process. A multiply-add counts as two operations.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scripts.benchmark import cca_cases  # noqa: E402
from scripts.benchmark.cca_cases import operations, projections  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

SIZES = [(33, 33), (65, 65), (97, 97), (129, 129), (128, 256), (129, 257)]


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--sizes", nargs="+", type=shared.size, default=SIZES, metavar="H,W", help="default: 33,33 up to 129,257")
    add("--channels", type=shared.positive, default=512, help="default: %(default)s")
    add("--batch", type=shared.positive, default=1, help="default: %(default)s")
    add("--repeats", type=shared.positive, default=7, help="rounds (default: %(default)s)")
    add(
        "--only",
        nargs="+",
        metavar="NAME",
        help="some of: reference fused non-local torch-cca torch-sdpa (default: all)",
    )
    add("--modules", action="store_true", help="whole modules with projections, R = 2, as in the paper")
    add("--device", choices=runtime.DEVICES, default="auto", help="default: auto")
    add("--max-gflop", type=float, default=150, help="skip cases with more operations (default: %(default)s)")
    add("--plot", default="runs/cca_cost.svg", help="SVG file, for two sizes or more (default: %(default)s)")
    add("--memory-of", nargs=2, metavar=("NAME", "MODE"), help=argparse.SUPPRESS)
    return parser.parse_args()


# ---------------------------------------------------------------------------------------------------------- cases


def make_case(name, batch, channels, height, width):
    """-> run(backward), which waits for the results and returns them."""
    if name.startswith("torch"):
        import torch

        from scripts.benchmark import torch_models

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        *inputs, gradient = (torch.from_numpy(x) for x in cca_cases.arrays(batch, channels, height, width))
        attention = torch_models.criss_cross if name == "torch-cca" else torch_models.non_local
        return cca_cases.torch_attention(attention, inputs, gradient)
    import jittor as jt

    inputs = [jt.array(x) for x in cca_cases.arrays(batch, channels, height, width)]
    jt.sync_all(True)
    return synced(cca_cases.jittor_attention(name, *inputs))


def module_case(name, batch, channels, height, width):
    import jittor as jt

    x, block = jt.randn(batch, channels, height, width), cca_cases.jittor_block(name, channels)
    jt.sync_all(True)
    return synced(cca_cases.jittor_module(block, x))


def synced(run):
    import jittor as jt

    def run_and_wait(backward):
        results = run(backward)
        jt.sync(results, True)
        return results

    return run_and_wait


# ------------------------------------------------------------------------------------------------------ measuring


def timed(run, backward):
    began = time.perf_counter()
    run(backward)
    return time.perf_counter() - began


def resident(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def peak_growth(make, args, name, backward):
    """Bytes above inputs and results. A small run before it compiles, starts threads and allocates their buffers."""
    make(name, 1, args.channels, 9, 9)(backward)
    run = make(name, args.batch, args.channels, *args.sizes[0])
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets the peak
    before = resident("VmRSS")
    results = run(backward)
    size = sum(4 * x.numel() for x in results)
    return resident("VmHWM") - before - size


def memory_in_a_process(args, name, size, backward):
    command = [sys.executable, __file__, "--memory-of", name, "backward" if backward else "forward", "--device", "cpu"]
    command += ["--sizes", "{},{}".format(*size), "--channels", str(args.channels), "--batch", str(args.batch)]
    done = subprocess.run(command + ["--modules"] * args.modules, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def installed(name):
    if not name.startswith("torch"):
        return True
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def measure(args, size, names):
    """-> {name: {"forward": s, "both": s, "gflop": .., "memory": .., "memory_both": ..}}"""
    make = module_case if args.modules else make_case
    rows, cases = {}, {}
    for name in names:
        work = operations(name, args.batch, args.channels, *size) * (2 if args.modules and name != "non-local" else 1)
        if args.modules:
            work += projections(args.batch, args.channels, *size) * (1 if name == "non-local" else 2)
        rows[name] = {"gflop": work / 1e9}
        if work / 1e9 <= args.max_gflop:
            cases[name] = make(name, args.batch, args.channels, *size)
    for mode, backward in (("forward", False), ("both", True)):
        times = {name: [timed(run, backward)] for name, run in cases.items()}  # the first runs compile: not counted
        for _ in range(args.repeats):
            for name, run in cases.items():
                if times[name][-1] < 1:
                    timed(
                        run, backward
                    )  # untimed: threads of the previous case may still spin, its data is in the caches
                if len(times[name]) < 2 or sum(times[name][1:]) < 10:
                    times[name].append(timed(run, backward))
        for name, values in times.items():
            rows[name][mode] = statistics.median(values[1:])
            if runtime.choose_device(args.device)[0] == "cpu":
                rows[name][f"memory_{mode}"] = memory_in_a_process(args, name, size, backward)
    return rows


def print_table(results):
    print(
        "| size | implementation | GFLOP | forward ms | GFLOP/s | forward+backward ms | extra MB | with backward MB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for size, rows in results.items():
        for name, row in rows.items():
            cells = [f"{row['gflop']:.2f}"]
            if "both" in row:
                cells += [
                    f"{1e3 * row['forward']:.1f}",
                    f"{row['gflop'] / row['forward']:.0f}",
                    f"{1e3 * row['both']:.1f}",
                ]
                memory = [row.get(f"memory_{mode}") for mode in ("forward", "both")]
                cells += ["-" if m is None else f"{m / 2**20:.0f}" for m in memory]
            else:
                cells += ["skipped"] + [""] * 4
            print(f"| {size[0]}x{size[1]} | {name} | " + " | ".join(cells) + " |")


def print_ratios(results):
    for size, rows in results.items():
        if {"fused", "torch-cca"} <= set(rows) and all("both" in rows[n] for n in ("fused", "torch-cca")):
            forward, both = (rows["torch-cca"][m] / rows["fused"][m] for m in ("forward", "both"))
            times = f"{forward:.2f}x as fast as eager PyTorch forward, {both:.2f}x with backward"
            print(f"{size[0]}x{size[1]}: fused is {times}")


def cost_plot(results, names, about):
    """SVG: time and extra memory of forward and backward against the number of positions."""
    from utils.drawing.svg_chart import line_chart, standalone

    charts = []
    speed, memory = "Forward and backward, ms", "Extra memory, MB (below 1 drawn as 1)"  # below 1 it is noise
    for key, title, unit, least in (("both", speed, 1e3, 0), ("memory_both", memory, 2**-20, 1)):
        curves = {}
        for name in names:
            measured = [(h * w, rows[name].get(key)) for (h, w), rows in results.items()]
            points = sorted((x, max(unit * y, least)) for x, y in measured if y is not None)
            curves[name] = tuple(zip(*points)) or ((), ())
        chart = line_chart(curves, title, f"positions, H × W ({about})", (520, 330), log=True, markers=True)
        if chart:
            place = f'x="{530 * len(charts)}" y="6" width="520" height="330"'
            charts.append(chart.replace("<svg", f"<svg {place}", 1))
    return standalone("".join(charts), 530 * max(len(charts), 1), 342, "Cost of attention against image size")


def main():
    args = parse_args()
    if not args.plot.endswith(".svg"):
        sys.exit(f"cca.py: --plot {args.plot}: the name must end in .svg")
    machine = runtime.start(args.device)
    make = module_case if args.modules else make_case
    if args.memory_of:
        name, mode = args.memory_of
        print(json.dumps(peak_growth(make, args, name, mode == "backward")))
        return
    names = ["reference", "fused", "non-local"] + ([] if args.modules else ["torch-cca", "torch-sdpa"])
    names = [name for name in args.only or names if installed(name)]
    print(f"{runtime.describe(machine, ', '.join(names))} · batch {args.batch}, {args.channels} channels")
    results = {size: measure(args, size, names) for size in args.sizes}
    print_table(results)
    print_ratios(results)
    if len(args.sizes) > 1:
        os.makedirs(os.path.dirname(args.plot) or ".", exist_ok=True)
        threads = (
            f", {machine['threads']} thread" + "s" * (machine["threads"] > 1) if machine["device"] == "cpu" else ""
        )
        about = f"{args.batch}×{args.channels}×H×W, {machine['device']}{threads}"
        with open(args.plot, "w", encoding="utf-8") as file:
            file.write(cost_plot(results, names, about))
        print(f"plot: {args.plot}")


if __name__ == "__main__":
    main()
