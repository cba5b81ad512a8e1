#!/usr/bin/env python3
"""Time, memory and operations of criss-cross attention: reference, fused, non-local, and PyTorch where installed.

    python scripts/benchmark/cca.py                                    # a Markdown table, and runs/cca_cost.svg
    python scripts/benchmark/cca.py --sizes 97,97 128,256 --repeats 15
    python scripts/benchmark/cca.py --modules                          # RCCA against a non-local block, as in the paper

Times are medians of alternating runs in one process, each after an untimed one. Memory is the growth
of the peak resident set, in a process of its own, above the inputs and the results. Two operations a multiply-add.
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
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

SIZES = [(33, 33), (65, 65), (97, 97), (129, 129), (128, 256), (129, 257)]


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", type=shared.size, default=SIZES, metavar="H,W")
    parser.add_argument("--channels", type=shared.positive, default=512, help="default: %(default)s")
    parser.add_argument("--batch", type=shared.positive, default=1, help="default: %(default)s")
    parser.add_argument("--repeats", type=shared.positive, default=7, help="rounds (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of: reference fused non-local torch-cca torch-sdpa")
    parser.add_argument("--modules", action="store_true", help="whole modules with projections, R = 2, as in the paper")
    parser.add_argument("--device", choices=runtime.DEVICES, default="auto")
    parser.add_argument(
        "--max-gflop", type=float, default=150, help="leave out what is more work (default: %(default)s)"
    )
    parser.add_argument("--plot", default="runs/cca_cost.svg", help="of two sizes or more (default: %(default)s)")
    parser.add_argument("--memory-of", nargs=2, metavar=("NAME", "MODE"), help=argparse.SUPPRESS)
    return parser.parse_args()


# ---------------------------------------------------------------------------------------------- what is compared


def operations(name, batch, channels, height, width):
    """Of one forward pass, without projections. Every position meets its cross, or everybody."""
    positions = height * width
    partners = positions if name in ("non-local", "torch-sdpa") else height + width
    return 2 * batch * positions * partners * (channels // 8 + channels)


def projections(batch, channels, height, width):
    return 2 * batch * height * width * channels * (2 * (channels // 8) + channels)


def non_local(q, k, v):
    """Everybody looks at everybody. One picture at a time: Jittor hands matrices to oneDNN, but not batches."""
    import jittor as jt

    (_, c, h, w), outs = v.shape, []
    for b in range(v.shape[0]):
        q1, k1, v1 = (x[b].reshape((-1, h * w)) for x in (q, k, v))
        weights = jt.nn.softmax(jt.matmul(q1.transpose(1, 0), k1), dim=-1)  # (HW, HW)
        outs.append(jt.matmul(v1, weights.transpose(1, 0)).reshape((1, c, h, w)))
    return jt.concat(outs, dim=0)


def jittor_case(name, arrays):
    """-> run(backward), which does the work, waits for it, and returns the results."""
    import jittor as jt

    from models.cca import criss_cross_attention
    from models.cca.kernels import FusedCPU, FusedCUDA

    q, k, v, g = (jt.array(x) for x in arrays)
    jt.sync_all(True)

    def run(backward):
        if name == "fused":  # given the gradient of out, as PyTorch is; jt.grad would have to make it from a loss
            function = FusedCUDA() if jt.flags.use_cuda else FusedCPU()
            out = function.execute(q, k, v)
            results = [out, *function.grad(g)] if backward else [out]
        else:
            out = non_local(q, k, v) if name == "non-local" else criss_cross_attention(q, k, v, name)
            results = [out, *jt.grad((out * g).sum(), [q, k, v])] if backward else [out]
        jt.sync(results, True)
        return results

    return run


def torch_case(name, arrays):
    import torch  # through .backward, as a training step does: gradients end up contiguous, as Jittor's are

    from scripts.benchmark import torch_models

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    q, k, v, g = (torch.from_numpy(x) for x in arrays)

    attention = torch_models.criss_cross if name == "torch-cca" else torch_models.non_local

    def run(backward):
        if not backward:
            with torch.no_grad():
                return [attention(q, k, v).contiguous()]
        inputs = [x.detach().requires_grad_() for x in (q, k, v)]
        out = attention(*inputs).contiguous()  # results laid out as the inputs are, here and in .grad
        out.backward(g)
        return [out, *(x.grad for x in inputs)]

    return run


def make_case(name, batch, channels, height, width):
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = [(batch, n, height, width) for n in (channels // 8, channels // 8, channels, channels)]
    arrays = [rng.standard_normal(shape, dtype=np.float32) * 0.2 for shape in shapes]
    return (torch_case if name.startswith("torch") else jittor_case)(name, arrays)


def module_case(name, batch, channels, height, width):
    """The block of the paper's table: projections, residual, R = 2 (non-local: once)."""
    import jittor as jt

    from models.cca import RCCA, CrissCrossAttention

    x = jt.randn(batch, channels, height, width)
    if name == "non-local":

        class NonLocal(CrissCrossAttention):
            def execute(self, x):
                return self.gamma * non_local(self.query_conv(x), self.key_conv(x), self.value_conv(x)) + x

        block = NonLocal(channels)
    else:
        block = RCCA(channels, 2, name)
    jt.sync_all(True)

    def run(backward):
        out = block(x)
        results = [out, *jt.grad(out.sum(), [x, *block.parameters()])] if backward else [out]
        jt.sync(results, True)
        return results

    return run


# ------------------------------------------------------------------------------------------------------ measuring


def timed(run, backward):
    began = time.perf_counter()
    run(backward)
    return time.perf_counter() - began


def resident(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def peak_growth(make, args, name, backward):
    """Bytes above inputs and results. A small run first compiles, starts the threads and fills their scratch memory."""
    make(name, 1, args.channels, 9, 9)(backward)
    run = make(name, args.batch, args.channels, *args.sizes[0])
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    before = resident("VmRSS")
    results = run(backward)
    size = sum(4 * x.numel() for x in results)
    return resident("VmHWM") - before - size


def memory_in_its_own_process(args, name, size, backward):
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
        times = {name: [timed(run, backward)] for name, run in cases.items()}  # these compile, and do not count
        for _ in range(args.repeats):
            for name, run in cases.items():
                if times[name][-1] < 1:
                    timed(run, backward)  # threads of the one before may still spin, and its data fill the caches
                if len(times[name]) < 2 or sum(times[name][1:]) < 10:
                    times[name].append(timed(run, backward))
        for name, values in times.items():
            rows[name][mode] = statistics.median(values[1:])
            if runtime.choose_device(args.device)[0] == "cpu":
                rows[name][f"memory_{mode}"] = memory_in_its_own_process(args, name, size, backward)
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
                cells += ["left out"] + [""] * 4
            print(f"| {size[0]}x{size[1]} | {name} | " + " | ".join(cells) + " |")


def print_ratios(results):
    for size, rows in results.items():
        if {"fused", "torch-cca"} <= set(rows) and all("both" in rows[n] for n in ("fused", "torch-cca")):
            forward, both = (rows["torch-cca"][m] / rows["fused"][m] for m in ("forward", "both"))
            print(f"{size[0]}x{size[1]}: fused is {forward:.2f}x eager PyTorch forward, {both:.2f}x with backward")


def cost_plot(results, names, about):
    """Time and extra memory of forward and backward against the number of positions, as SVG."""
    from utils.drawing.svg_chart import line_chart, standalone

    charts = []
    speed, memory = "Forward and backward, ms", "Extra memory, MB (below 1 drawn as 1)"  # below 1 there is only noise
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
        sys.exit(f"cca.py: --plot {args.plot}: the plot is an SVG; let its name end in .svg")
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
