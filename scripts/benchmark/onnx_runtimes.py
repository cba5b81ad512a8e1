#!/usr/bin/env python3
"""Time of one network in Jittor, onnxruntime and OpenCV on the CPU.

    OMP_NUM_THREADS=2 python scripts/benchmark/onnx_runtimes.py      # ccnet_r50, 1x3x513x513, random weights
    python scripts/benchmark/onnx_runtimes.py --model van --van-size van_tiny --size 257 --repeats 9
    python scripts/benchmark/onnx_runtimes.py --restore-from runs/demo/CS_scenes_500.npz --size 256,512

From pixels (0..255) to logits at the size of the image. Medians of alternating runs in one process, each after an
untimed run; wall time, and CPU time of all threads, which is more reliable on a busy machine. All use OMP_NUM_THREADS
threads.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from models import MODELS, build_model  # noqa: E402
from models.tables import IMAGENET_RGB  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser("onnx_runtimes.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", choices=sorted(MODELS), help="network with random weights (default: ccnet_r50)")
    add("--van-size", metavar="NAME", help="size of --model van (default: van_base)")
    add("--recurrence", type=shared.whole, help="passes through the attention (default: that of the checkpoint, or 2)")
    add("--restore-from", metavar="FILE", help="weights (default: random)")
    add("--size", type=shared.size, default=(513, 513), metavar="H,W", help="default: 513,513")
    add("--batch-size", type=shared.positive, default=1, metavar="N", help="default: %(default)s")
    add("--repeats", type=shared.positive, default=5, metavar="N", help="rounds (default: %(default)s)")
    return parser.parse_args()


def network(args):
    """-> (function that builds the network for evaluation, not folded; its normalisation record; its name)."""
    import jittor as jt

    from utils.weights import network as loading

    options = {"model": args.model, "num_classes": None, "recurrence": args.recurrence, "van_size": args.van_size}
    if args.restore_from:
        _, meta = loading.load_network(args.restore_from, build_model, options)
        return (
            lambda: loading.load_network(args.restore_from, build_model, options)[0],
            meta["normalisation"],
            meta["model"],
        )
    if args.van_size and args.model != "van":
        raise ValueError(f"--van-size {args.van_size} is for --model van")
    name, van = args.model or "ccnet_r50", {"van_size": args.van_size} if args.van_size else {}
    recurrence = 2 if args.recurrence is None else args.recurrence

    def build():
        jt.sync_all()  # Jittor draws random numbers lazily: draw all that are pending before the seed is set
        jt.set_global_seed(0)
        model = build_model(name, 19, recurrence, **van)
        model.head.cca.gamma.assign(jt.array([0.5]))
        jt.sync_all()
        model.eval()
        return model

    return build, IMAGENET_RGB, args.van_size or name


def make_runs(build, normalisation, size, batch, threads):
    """-> {implementation: run(uint8 BGR images (B, H, W, 3)) -> logits (B, K, H, W)}."""
    import cv2
    import jittor as jt
    import numpy as np
    import onnxruntime as ort

    from datasets import transforms
    from models.export import to_onnx
    from models.layers.fold import fold
    from utils.evaluation.resize import resize

    exported = build()
    fold(exported, packing=False)
    data = to_onnx(exported, normalisation, size, batch).SerializeToString()
    model = build()
    label = f"Jittor ({fold(model)})"

    def run_jittor(images):
        x = jt.array(np.stack([transforms.normalise(image, normalisation) for image in images]))
        with jt.no_grad():
            return np.stack([resize(logits, size, align_corners=model.align_corners).numpy() for logits in model(x)[0]])

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))

    def pixels(images):
        return np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2), np.float32)

    return {
        label: run_jittor,
        f"onnxruntime {ort.__version__}": lambda images: session.run(None, {"image": pixels(images)})[0],
        f"OpenCV {cv2.__version__}": lambda images: net.setInput(pixels(images)) or net.forward(),
    }


def main():
    args = parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    machine = runtime.start("cpu")
    import numpy as np

    build, normalisation, name = network(args)
    runs = make_runs(build, normalisation, args.size, args.batch_size, machine["threads"])
    images = np.random.default_rng(0).integers(0, 256, (args.batch_size, *args.size, 3)).astype(np.uint8)
    results = {label: run(images).copy() for label, run in runs.items()}
    wall, cpu = ({label: [] for label in runs} for _ in range(2))
    for _ in range(args.repeats):
        for label, run in runs.items():
            began, used = time.perf_counter(), time.process_time()
            run(images)
            wall[label].append(time.perf_counter() - began)
            cpu[label].append(time.process_time() - used)
    first, *_ = runs
    shape = "x".join(map(str, (args.batch_size, 3, *args.size)))
    print(f"{name}, {shape}, {machine['threads']} threads, median of {args.repeats}\n")
    print("| runtime | wall s | CPU s | wall, relative | largest difference / range |\n|---|---|---|---|---|")
    for label in runs:
        seconds, used = statistics.median(wall[label]), statistics.median(cpu[label])
        ratio = seconds / statistics.median(wall[first])
        difference = np.abs(results[label] - results[first]).max() / np.ptp(results[first])
        print(f"| {label} | {seconds:.3f} | {used:.3f} | {ratio:.2f} | {difference:.1e} |")


if __name__ == "__main__":
    runtime.run(main, "onnx_runtimes.py")
