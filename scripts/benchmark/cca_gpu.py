#!/usr/bin/env python3
"""Criss-cross attention on a GPU: ours against PyTorch (eager, compiled) and non-local attention, beside the floor.

    python scripts/benchmark/cca_gpu.py                                  # 97x97 and 128x256, batch 1 and 8, three types
    python scripts/benchmark/cca_gpu.py --sizes 97,97 --batch 1 --dtypes float32 --rounds 3
    python scripts/benchmark/cca_gpu.py --modules --sizes 97,97 --batch 1    # RCCA R = 2 with projections: time, memory

The device's time: events around many runs, which the host queues while the device is busy with something else, so that
launching does not count. "host" is the time of a run as a program sees it that waits for nothing but the end of many.
PyTorch and Jittor run in turns, in processes of their own; figures are medians over all rounds.

The floor is the larger of (bytes that must move) / (bandwidth of a copy) and (operations) / (rate of a large matrix
product of that type), both measured here in the same run, float32 without TF32. Two operations a multiply-add.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scripts.benchmark.gpu_clock import Clock, busy_with, driver, free_memory  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

NAMES = {
    "jittor": ("fused", "reference"),
    "torch": ("torch-eager", "torch-compile", "torch-sdpa"),
}
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", type=shared.size, default=[(97, 97), (128, 256)], metavar="H,W")
    parser.add_argument("--batch", nargs="+", type=shared.positive, default=[1, 8], help="default: 1 8")
    parser.add_argument("--dtypes", nargs="+", choices=sorted(BYTES), default=["float32", "float16", "bfloat16"])
    parser.add_argument("--channels", type=shared.positive, default=512, help="default: %(default)s")
    parser.add_argument("--modules", action="store_true", help="with projections and residual, R = 2 (non-local: once)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of: {' '.join(sum(NAMES.values(), ()))}")
    parser.add_argument("--repeats", type=shared.positive, default=20, help="runs in a measurement (default: 20)")
    parser.add_argument("--rounds", type=shared.positive, default=2, help="turns of each process (default: 2)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the script out")
    parser.add_argument("--json", help="also write all figures to this file")
    parser.add_argument("--worker", choices=sorted(NAMES), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


# ------------------------------------------------------------------------------------------------------- the floor


def work(mode, batch, channels, height, width, size):
    """(operations, bytes) of one pass. Backward: energies again, dV, dP, dQ, dK; each map is read or written once."""
    positions, few = batch * height * width, channels // 8
    line = 2 * positions * (height + width)
    maps = positions * (2 * few + 2 * channels) * size  # q, k, v and out
    statistic = positions * 4  # one float32 number a pixel to come back to
    if mode == "forward":
        return line * (few + channels), maps + statistic
    backward = line * (3 * few + 2 * channels), positions * (4 * few + 4 * channels) * size + 2 * statistic
    return line * (few + channels) + backward[0], maps + statistic + backward[1]


# ------------------------------------------------------------------------------------------------------ the cases


def arrays(batch, channels, height, width):
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = [(batch, n, height, width) for n in (channels // 8, channels // 8, channels, channels)]
    return [rng.standard_normal(shape, dtype=np.float32) * 0.2 for shape in shapes]


def jittor_worker(args):
    runtime.start(args.device)
    import jittor as jt

    from models.cca import RCCA, criss_cross_attention, kernels

    cuda = args.device == "cuda"
    side = jt.randn(4096 if cuda else 64, 4096 if cuda else 64)

    def product():
        jt.sync([side @ side])

    clock = Clock(cuda, busy_with(product, lambda: jt.sync_all(True)), lambda: jt.sync_all(True), args.repeats)
    own = getattr(kernels, "FusedCUDA" if cuda else "FusedCPU", None)

    def make(name, dtype, case):
        q, k, v, g = (jt.array(x).cast(dtype) for x in arrays(*case))
        block = RCCA(args.channels, 2, name) if args.modules else None
        if block and dtype != "float32":
            from utils.training import amp

            block = amp.mixed(block, dtype)
        jt.sync_all(True)

        def run(mode):
            if block:
                out = block(v)
                results = [out] if mode == "forward" else [out, *jt.grad(out.sum(), [v, *block.parameters()])]
            elif name == "fused" and own and (cuda or dtype == "float32"):  # given the gradient of out, as PyTorch is
                function = own()
                out = function.execute(q, k, v)
                results = [out] if mode == "forward" else [out, *function.grad(g)]
            else:
                out = criss_cross_attention(q, k, v, name)
                results = [out] if mode == "forward" else [out, *jt.grad((out * g).sum(), [q, k, v])]
            jt.sync(results)
            return results

        return run

    def memory(run, mode):
        jt.gc()
        before = free_memory()
        results = run(mode)
        jt.sync_all(True)
        return before - free_memory() - sum(r.numel() * BYTES.get(str(r.dtype), 4) for r in results)

    return clock, make, memory if cuda else None, {"jittor": jt.__version__}


def torch_worker(args):
    import torch

    from scripts.benchmark.torch_models import CrissCross, criss_cross, non_local

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    cuda = args.device == "cuda"
    wait = torch.cuda.synchronize if cuda else lambda: None
    side = torch.randn(4096 if cuda else 64, 4096 if cuda else 64, device=args.device)
    clock = Clock(cuda, busy_with(lambda: side @ side, wait), wait, args.repeats)

    def make(name, dtype, case):
        kind = getattr(torch, dtype)
        q, k, v, g = (torch.from_numpy(x).to(args.device, kind) for x in arrays(*case))
        forward, inputs = non_local if name == "torch-sdpa" else criss_cross, [q, k, v]
        if args.modules:
            block = CrissCross(args.channels, forward, 1 if name == "torch-sdpa" else 2)
            forward, inputs = block.to(args.device, kind), [v]
        if name == "torch-compile":
            torch.compiler.reset()  # each size compiled for itself
            forward = torch.compile(forward, dynamic=False)

        def run(mode):
            if mode == "forward":
                with torch.no_grad():
                    return [forward(*inputs).contiguous()]
            leaves = [x.detach().requires_grad_() for x in inputs]
            out = forward(*leaves).contiguous()  # laid out as the inputs are
            out.backward(g)
            return [out, *(x.grad for x in leaves)]

        return run

    def memory(run, mode):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        results = run(mode)
        wait()
        return torch.cuda.max_memory_allocated() - before - sum(r.numel() * r.element_size() for r in results)

    known = {"torch": torch.__version__, "device": torch.cuda.get_device_name() if cuda else platform.processor()}
    if cuda:
        known.update(driver=driver(), cuda=torch.version.cuda, cudnn=str(torch.backends.cudnn.version()))
    known["ceilings"] = ceilings(torch, clock, args)
    return clock, make, memory if cuda else None, known


def ceilings(torch, clock, args):
    """Bytes a second of a large copy, operations a second of a large product of each type."""
    cuda = args.device == "cuda"
    source = torch.randn(2**29 if cuda else 2**20, device=args.device)  # 2 GB
    target = torch.empty_like(source)
    found = {"bytes": 2 * source.numel() * 4 / (1e-3 * clock(lambda: target.copy_(source))[0])}
    n = 8192 if cuda else 128
    for dtype in args.dtypes:
        a, b = (torch.randn(n, n, device=args.device, dtype=getattr(torch, dtype)) for _ in range(2))
        found[dtype] = 2 * n**3 / (1e-3 * clock(lambda a=a, b=b: a @ b)[0])
    return found


def worker(args):
    """One process: every case of one framework. Prints what it is, then a line of JSON for each figure."""
    clock, make, memory, known = (jittor_worker if args.worker == "jittor" else torch_worker)(args)
    print(json.dumps({"known": known}), flush=True)
    for name in [name for name in NAMES[args.worker] if not args.only or name in args.only]:
        for dtype in args.dtypes:
            for batch in args.batch:
                for height, width in args.sizes:
                    row = {"name": name, "case": [dtype, batch, height, width]}
                    try:
                        run = make(name, dtype, (batch, args.channels, height, width))
                        for mode in ("forward", "both"):
                            device, host = clock(lambda run=run, mode=mode: run(mode))
                            extra = memory(run, mode) if memory else None
                            print(json.dumps({**row, "mode": mode, "device": device, "host": host, "memory": extra}))
                    except Exception as error:  # out of memory, or a compiler that is missing: the other rows go on
                        print(json.dumps({**row, "error": f"{type(error).__name__}: {str(error)[:200]}"}))
                    sys.stdout.flush()


# ------------------------------------------------------------------------------------------------------ reporting


def collect(args):
    """Workers in turns. -> (what they are, {(name, case, mode): {"device": [..], "host": [..], ..}}, errors)"""
    known, figures, errors = {}, {}, {}
    command = [sys.executable, __file__, *sys.argv[1:], "--worker"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(args.rounds):
        for framework in sorted(NAMES, reverse=True):
            if args.only and not set(args.only) & set(NAMES[framework]):
                continue
            if framework == "torch" and importlib.util.find_spec("torch") is None:
                errors["torch"] = "not installed: no comparison, no ceilings"
                continue
            done = subprocess.run([*command, framework], capture_output=True, text=True, env=env)
            if done.returncode:
                errors[framework] = (done.stderr.strip().splitlines() or ["no message"])[-1]
            for line in filter(lambda text: text.startswith("{"), done.stdout.splitlines()):
                row = json.loads(line)
                if "known" in row:
                    known.update(row["known"])
                elif "error" in row:
                    errors[f"{row['name']} {row['case']}"] = row["error"]
                else:
                    key = (row["name"], tuple(row["case"]), row["mode"])
                    one = figures.setdefault(key, {"device": [], "host": [], "memory": row["memory"]})
                    one["device"].append(row["device"])
                    one["host"].append(row["host"])
    return known, figures, errors


def print_report(args, known, figures, errors):
    ceiling = known.get("ceilings", {})
    facts = [f"{key} {known[key]}" for key in ("device", "driver", "cuda", "cudnn", "torch", "jittor") if key in known]
    print(" · ".join([datetime.date.today().isoformat(), *facts, f"python {platform.python_version()}"]))
    if ceiling:
        rates = ", ".join(f"{dtype} {ceiling[dtype] / 1e12:.1f} TFLOP/s" for dtype in args.dtypes)
        print(f"measured here: copy {ceiling['bytes'] / 1e12:.2f} TB/s, products {rates}")
    print(f"{args.channels} channels, medians of {args.rounds} turns{', modules with R = 2' if args.modules else ''}\n")
    print("| type | batch | size | pass | implementation | device ms | x floor | floor ms | host ms | extra MB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, case, mode in sorted(figures, key=lambda key: (key[1], key[2] != "forward")):
        one, (dtype, batch, height, width) = figures[name, case, mode], case
        device, host = statistics.median(one["device"]), statistics.median(one["host"])
        floor = ""
        if ceiling and not args.modules and name != "torch-sdpa":
            operations, moved = work(mode, batch, args.channels, height, width, BYTES[dtype])
            floor = 1e3 * max(operations / ceiling[dtype], moved / ceiling["bytes"])
        cells = [dtype, batch, f"{height}x{width}", mode.replace("both", "forward+backward"), name, f"{device:.3f}"]
        cells += [f"{device / floor:.1f}", f"{floor:.3f}"] if floor else ["", ""]
        cells += [f"{host:.3f}", "" if one["memory"] is None else f"{one['memory'] / 2**20:.0f}"]
        print("| " + " | ".join(map(str, cells)) + " |")
    print()
    for (name, case, mode), one in figures.items():
        ours = figures.get(("fused", case, mode))
        if name == "torch-eager" and ours:
            ratio = statistics.median(one["device"]) / statistics.median(ours["device"])
            print(f"{case[0]}, {case[1]}x{case[2]}x{case[3]}, {mode}: fused is {ratio:.2f}x eager PyTorch")
    for name, error in errors.items():
        print(f"left out: {name}: {error}")


def main():
    args = parse_args()
    if args.worker:
        worker(args)
        return
    if args.device == "cuda":
        runtime.choose_device("cuda")  # a clear error without a GPU
    known, figures, errors = collect(args)
    print_report(args, known, figures, errors)
    if args.json:
        rows = [{"name": k[0], "case": k[1], "mode": k[2], **v} for k, v in figures.items()]
        Path(args.json).write_text(json.dumps({"known": known, "rows": rows, "errors": errors}, indent=1) + "\n")
    if not figures:
        sys.exit("cca_gpu.py: nothing was measured")


if __name__ == "__main__":
    runtime.run(main, "cca_gpu.py")
