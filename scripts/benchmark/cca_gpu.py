#!/usr/bin/env python3
"""Criss-cross attention on a GPU: Jittor, PyTorch (eager, compiled), non-local attention, and the least possible time.

    python scripts/benchmark/cca_gpu.py                                  # 97x97 and 128x256, batch 1 and 8, all dtypes
    python scripts/benchmark/cca_gpu.py --sizes 97,97 --batch 1 --dtypes float32 --rounds 3
    python scripts/benchmark/cca_gpu.py --modules --sizes 97,97 --batch 1    # RCCA R = 2 with projections: time, memory

"device ms" is the time between CUDA events around many runs, which the host queues while the device computes something
else, so that the time of launches does not count. "host ms" is the wall time of many runs, divided by their number.
PyTorch and Jittor run in separate processes, alternately; results are medians over all rounds.

The floor is the larger of (bytes to move) / (bandwidth of a copy) and (operations) / (rate of a large matrix product of
that dtype), both measured in the same run, float32 without TF32. A multiply-add counts as two operations.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scripts.benchmark import streaming  # noqa: E402
from scripts.benchmark.cca_gpu_worker import BYTES, NAMES, measure_all  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    sizes = [(97, 97), (128, 256)]
    add("--sizes", nargs="+", type=shared.size, default=sizes, metavar="H,W", help="default: 97,97 128,256")
    add("--batch", nargs="+", type=shared.positive, default=[1, 8], help="default: 1 8")
    add("--dtypes", nargs="+", choices=sorted(BYTES), default=list(BYTES), help="default: all three")
    add("--channels", type=shared.positive, default=512, help="default: %(default)s")
    add("--modules", action="store_true", help="with projections and residual, R = 2 (non-local: one pass)")
    add("--only", nargs="+", metavar="NAME", help=f"some of: {' '.join(sum(NAMES.values(), ()))} (default: all)")
    add("--repeats", type=shared.positive, default=20, help="runs in a measurement (default: %(default)s)")
    add("--rounds", type=shared.positive, default=2, help="processes of each framework (default: %(default)s)")
    add("--device", choices=("cuda", "cpu"), default="cuda", help="cpu only tests the script (default: cuda)")
    add("--json", metavar="FILE", help="also write all measurements to this file")
    add("--worker", choices=sorted(NAMES), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def operations_and_bytes(mode, batch, channels, height, width, size):
    """The least for one pass. Backward: energies again, dV, dP, dQ, dK; each map is read or written once."""
    positions, reduced = batch * height * width, channels // 8
    line = 2 * positions * (height + width)
    maps = positions * (2 * reduced + 2 * channels) * size  # q, k, v and out
    statistic = positions * 4  # the log-sum-exp of each pixel, float32
    if mode == "forward":
        return line * (reduced + channels), maps + statistic
    backward = line * (3 * reduced + 2 * channels), positions * (4 * reduced + 4 * channels) * size + 2 * statistic
    return line * (reduced + channels) + backward[0], maps + statistic + backward[1]


def collect(args):
    """Run the workers alternately; each measurement is printed at once.

    -> (versions, {(name, case, mode): {"device": [..], "host": [..], ..}}, errors)
    """
    versions, measured, errors = {}, {}, {}
    command = [sys.executable, __file__, *sys.argv[1:], "--worker"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(args.rounds):
        for framework in sorted(NAMES, reverse=True):
            if args.only and not set(args.only) & set(NAMES[framework]):
                continue
            if framework == "torch" and importlib.util.find_spec("torch") is None:
                errors["torch"] = "not installed: no comparison, no ceilings"
                continue
            failed = []
            for row in streaming.rows([*command, framework], env, failed):
                if "known" in row:
                    versions.update(row["known"])
                elif "error" in row:
                    errors[f"{row['name']} {row['case']}"] = row["error"]
                else:
                    key = (row["name"], tuple(row["case"]), row["mode"])
                    values = measured.setdefault(key, {"device": [], "host": [], "memory": row["memory"]})
                    values["device"].append(row["device"])
                    values["host"].append(row["host"])
                    case = "{}, {}x{}x{}".format(*row["case"])
                    print(f"{row['name']}, {case}, {row['mode']}: {row['device']:.3f} ms", flush=True)
            errors.update(dict.fromkeys([framework] * len(failed), *failed))
    return versions, measured, errors


def print_report(args, versions, measured, errors):
    ceiling, keys = versions.get("ceilings", {}), ("device", "driver", "cuda", "cudnn", "torch", "jittor")
    facts = [f"{key} {versions[key]}" for key in keys if key in versions]
    print(" · ".join([datetime.date.today().isoformat(), *facts, f"python {platform.python_version()}"]))
    if ceiling:
        rates = ", ".join(f"{dtype} {ceiling[dtype] / 1e12:.1f} TFLOP/s" for dtype in args.dtypes)
        print(f"measured here: copy {ceiling['bytes'] / 1e12:.2f} TB/s, products {rates}")
    print(
        f"{args.channels} channels, medians of {args.rounds} rounds{', modules with R = 2' if args.modules else ''}\n"
    )
    print("| dtype | batch | size | pass | implementation | device ms | x floor | floor ms | host ms | extra MB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, case, mode in sorted(measured, key=lambda key: (key[1], key[2] != "forward")):
        values, (dtype, batch, height, width) = measured[name, case, mode], case
        device, host = statistics.median(values["device"]), statistics.median(values["host"])
        floor = ""
        if ceiling and not args.modules and name != "torch-sdpa":
            operations, moved = operations_and_bytes(mode, batch, args.channels, height, width, BYTES[dtype])
            floor = 1e3 * max(operations / ceiling[dtype], moved / ceiling["bytes"])
        cells = [dtype, batch, f"{height}x{width}", mode.replace("both", "forward+backward"), name, f"{device:.3f}"]
        cells += [f"{device / floor:.1f}", f"{floor:.3f}"] if floor else ["", ""]
        cells += [f"{host:.3f}", "" if values["memory"] is None else f"{values['memory'] / 2**20:.0f}"]
        print("| " + " | ".join(map(str, cells)) + " |")
    print()
    for (name, case, mode), values in measured.items():
        fused = measured.get(("fused", case, mode))
        if name == "torch-eager" and fused:
            ratio = statistics.median(values["device"]) / statistics.median(fused["device"])
            print(f"{case[0]}, {case[1]}x{case[2]}x{case[3]}, {mode}: fused is {ratio:.2f}x as fast as eager PyTorch")
    for name, error in errors.items():
        print(f"not measured: {name}: {error}")


def main():
    args = parse_args()
    if args.worker:
        measure_all(args)
        return
    if args.device == "cuda":
        runtime.choose_device("cuda")  # a MachineError without a GPU
    versions, measured, errors = collect(args)
    print_report(args, versions, measured, errors)
    if args.json:
        rows = [{"name": k[0], "case": k[1], "mode": k[2], **v} for k, v in measured.items()]
        Path(args.json).write_text(json.dumps({"known": versions, "rows": rows, "errors": errors}, indent=1) + "\n")
    if not measured:
        sys.exit("cca_gpu.py: nothing was measured")


if __name__ == "__main__":
    runtime.run(main, "cca_gpu.py")
