#!/usr/bin/env python3
"""Time and memory of a training step of CCNet (forward, both losses, backward, SGD) in Jittor and in PyTorch.

    python scripts/benchmark/step_gpu.py                              # ResNet-101, 8x3x769x769, float32 and 16 bits
    python scripts/benchmark/step_gpu.py --batch 4 --precision bfloat16 --steps 20
    python scripts/benchmark/step_gpu.py --device cpu --model ccnet_r18 --batch 1 --input-size 65 --only jittor
    python scripts/benchmark/step_gpu.py --count           # needs no GPU: bytes, operations, memory, the least time

PyTorch uses channels_last, autocast with a GradScaler for float16, and cudnn.benchmark. float32 is without TF32 in both
unless --tf32. Each case runs in a separate process. Times are medians over steps, with a wait after each; memory is the
peak of the process on the device. A case that does not fit into memory is reported as such.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scripts.benchmark import streaming  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

PRECISIONS = ("float32", "float16", "bfloat16")
DEPTHS = {"ccnet": 101, "ccnet_large": 101, "ccnet_r50": 50, "ccnet_r18": 18}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", default="ccnet", help="default: %(default)s, the official ResNet-101")
    add("--batch", type=shared.positive, default=8, help="default: %(default)s")
    add("--input-size", type=shared.size, default=(769, 769), metavar="H,W", help="default: 769,769")
    add("--num-classes", type=shared.positive, default=19, help="default: %(default)s")
    add("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="default: all")
    add("--steps", type=shared.positive, default=15, help="timed steps (default: %(default)s)")
    add("--warm", type=int, default=4, help="untimed steps before them (default: %(default)s)")
    add("--tf32", action="store_true", help="let float32 convolutions and products use TF32")
    add("--compile", action="store_true", help="use torch.compile")
    add("--only", nargs="+", choices=("jittor", "torch"), default=["jittor", "torch"], help="default: both")
    add("--device", choices=("cuda", "cpu"), default="cuda", help="default: cuda")
    text = "count bytes and operations from the shapes instead, by group or for each kernel (default: off; groups)"
    add("--count", nargs="?", const="groups", choices=("groups", "kernels"), help=text)
    add("--worker", nargs=2, metavar=("FRAMEWORK", "PRECISION"), help=argparse.SUPPRESS)
    return parser.parse_args()


def batch_of(args):
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.standard_normal((args.batch, 3, *args.input_size), dtype=np.float32)
    labels = rng.integers(0, args.num_classes, (args.batch, *args.input_size)).astype(np.int32)
    labels[:, :3] = 255
    return images, labels


def jittor_step(args, precision):
    runtime.start(args.device)
    import jittor as jt

    from models import build_model
    from models.losses import segmentation_losses
    from utils.training import amp, optim

    # for matrix products; convolutions follow NVIDIA_TF32_OVERRIDE
    jt.flags.use_tensorcore = int(args.tf32 and precision == "float32")
    model = build_model(args.model, args.num_classes)
    parameters = sum(p.numel() for p in model.parameters())
    optimizer = optim.build(model.named_parameters(), "sgd", 1e-3, 0.9, 5e-4)
    scaler = amp.LossScaler(precision)
    if precision != "float32":
        amp.mixed(model, precision)
    images, labels = (jt.array(x) for x in batch_of(args))

    done = itertools.count()

    def step():  # as train.py, which however waits for no step
        loss, number = segmentation_losses(model(images), labels, 255)["loss"], next(done)
        scaler.backward(optimizer, loss)
        norm = optim.gradient_norm(optimizer, scaler.numbers)
        optim.update(optimizer, number, scaler.decide(norm, 1, number + 1))
        jt.sync_all(True)
        return float(loss.item())

    return step, {"jittor": jt.__version__, "parameters": parameters}


def torch_step(args, precision):
    import torch
    from torch.nn import functional

    from scripts.benchmark.torch_models import CCNet

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    torch.backends.cudnn.benchmark = True
    model = CCNet(DEPTHS[args.model], args.num_classes).to(args.device, memory_format=torch.channels_last)
    parameters = sum(p.numel() for p in model.state_dict().values())
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9, weight_decay=5e-4)
    scaler = torch.amp.GradScaler(args.device, enabled=precision == "float16")
    network = torch.compile(model) if args.compile else model
    images, labels = (torch.from_numpy(x).to(args.device) for x in batch_of(args))
    images, labels = images.contiguous(memory_format=torch.channels_last), labels.long()
    dtype = getattr(torch, precision)

    def step():
        with torch.autocast(args.device, dtype=dtype, enabled=precision != "float32"):
            logits = network(images)
        main, aux = (
            functional.interpolate(x.float(), labels.shape[1:], mode="bilinear", align_corners=True) for x in logits
        )
        losses = [functional.cross_entropy(x, labels, ignore_index=255) for x in (main, aux)]
        loss = losses[0] + 0.4 * losses[1]
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return float(loss)  # waits for the device

    versions = {"torch": torch.__version__, "parameters": parameters}
    if args.device == "cuda":
        versions.update(device=torch.cuda.get_device_name(), cuda=torch.version.cuda)
    return step, versions


def worker(args):
    from scripts.benchmark.gpu_clock import free_memory

    framework, precision = args.worker
    cuda = args.device == "cuda"
    step, versions = (jittor_step if framework == "jittor" else torch_step)(args, precision)
    before, lowest = (free_memory(), []) if cuda else (0, [])
    began = time.perf_counter()
    losses = [step() for _ in range(args.warm)]
    warm, seconds = time.perf_counter() - began, []
    for _ in range(args.steps):
        began = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - began)
        lowest += [free_memory()] if cuda else []
    print(json.dumps({**versions, "seconds": seconds, "warm": warm, "losses": losses}), flush=True)
    if cuda:  # both frameworks keep memory that they allocated, so the last reading is the peak
        print(json.dumps({"memory": before - min(lowest)}))


def run_worker(args, framework, precision):
    if framework == "torch" and args.model not in DEPTHS:
        return {"error": f"torch_models.py has no {args.model}"}
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", framework, precision]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if not args.tf32:
        env["NVIDIA_TF32_OVERRIDE"] = "0"
    result, failed = {}, []
    for row in streaming.rows(command, env, failed):
        result.update(row)
    return {**result, "error": failed[0]} if failed else result


def count(args):
    """Print what the kernels of a step must move and compute; nothing runs."""
    if args.model not in DEPTHS:
        raise ValueError(f"--count knows {', '.join(DEPTHS)}, not {args.model}")
    runtime.start("cpu")
    from models import build_model
    from scripts.benchmark import step_count

    shape, labels = (args.batch, 3, *args.input_size), (args.batch, *args.input_size)
    workspace = runtime.CUDNN_WORKSPACE * 80e9
    print(f"{args.model}, {'x'.join(map(str, shape))}, {args.num_classes} classes; cuDNN's workspace: 3% of 80 GB")
    model, each = build_model(args.model, args.num_classes), args.count == "kernels"
    for line in step_count.report(model, shape, labels, args.precision, workspace, each):
        print(line)


def main():
    args = parse_args()
    if args.worker or args.count:
        (worker if args.worker else count)(args)
        return
    if args.device == "cuda":
        runtime.choose_device("cuda")
    shape = f"{args.batch}x3x{args.input_size[0]}x{args.input_size[1]}"
    print(f"{args.model}, {shape}, {args.steps} steps, TF32 {'on' if args.tf32 else 'off'}\n")
    print("| precision | framework | ms a step | images/s | peak GB | warm-up s | first and last loss |")
    print("|---|---|---|---|---|---|---|", flush=True)
    results = {}
    for precision in args.precision:
        for name in args.only:
            results[name, precision] = run_worker(args, name, precision)
            print(table_row(args, name, precision, results[name, precision]), flush=True)
    versions = {key: value for result in results.values() for key, value in result.items()}
    facts = [f"{key} {versions[key]}" for key in ("device", "cuda", "torch", "jittor") if key in versions]
    print("\n" + " · ".join([datetime.date.today().isoformat(), *facts, f"python {platform.python_version()}"]))
    for precision in args.precision:
        jittor, torch = (results.get((name, precision), {}).get("seconds") for name in ("jittor", "torch"))
        if jittor and torch:
            ratio = statistics.median(torch) / statistics.median(jittor)
            print(f"\n{precision}: Jittor is {ratio:.2f}x as fast as PyTorch")
    if all("error" in result for result in results.values()):
        sys.exit("step_gpu.py: nothing ran")


def table_row(args, name, precision, result):
    if "error" in result:
        return f"| {precision} | {name} | did not run: {result['error']} | | | | |"
    seconds = statistics.median(result["seconds"])
    memory = f"{result['memory'] / 2**30:.1f}" if "memory" in result else ""
    cells = [precision, name, f"{1e3 * seconds:.1f}", f"{args.batch / seconds:.1f}", memory, f"{result['warm']:.0f}"]
    return "| " + " | ".join(cells) + f" | {result['losses'][0]:.3f} {result['losses'][-1]:.3f} |"


if __name__ == "__main__":
    runtime.run(main, "step_gpu.py")
