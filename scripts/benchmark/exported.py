#!/usr/bin/env python3
"""Time of one network here, in onnxruntime and in OpenCV, on the CPU: one table.

    OMP_NUM_THREADS=2 python scripts/benchmark/exported.py      # ccnet_r50, 1x3x513x513, random weights
    python scripts/benchmark/exported.py --model van --van-size van_tiny --size 257 --repeats 9
    python scripts/benchmark/exported.py --restore-from runs/demo/CS_scenes_500.npz --size 256,512

From 0..255 pixels to logits at the size of the image, medians of alternating runs in one process, each after an untimed
one; wall and CPU time (of all threads): on a busy machine the latter says more. All use OMP_NUM_THREADS threads.
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
    parser = argparse.ArgumentParser("exported.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", choices=sorted(MODELS), help="with random weights (default: ccnet_r50)")
    add("--van-size", metavar="NAME", help="of --model van (default: van_base)")
    add("--recurrence", type=shared.whole, help="passes through the attention (default: as recorded, else 2)")
    add("--restore-from", metavar="FILE", help="a file of weights in place of random ones")
    add("--size", type=shared.size, default=(513, 513), metavar="H,W", help="default: 513,513")
    add("--batch-size", type=shared.positive, default=1, metavar="N", help="default: %(default)s")
    add("--repeats", type=shared.positive, default=5, metavar="N", help="rounds (default: %(default)s)")
    return parser.parse_args()


def network(args):
    """-> (a function that builds the network in evaluation, unfolded; normalisation; its name)."""
    import jittor as jt

    from utils.weights import network as loading

    asked = {"model": args.model, "num_classes": None, "recurrence": args.recurrence, "van_size": args.van_size}
    if args.restore_from:
        _, meta = loading.load_network(args.restore_from, build_model, asked)
        return (
            lambda: loading.load_network(args.restore_from, build_model, asked)[0],
            meta["normalisation"],
            meta["model"],
        )
    if args.van_size and args.model != "van":
        raise ValueError(f"--van-size {args.van_size} is for --model van")
    name, van = args.model or "ccnet_r50", {"van_size": args.van_size} if args.van_size else {}
    recurrence = 2 if args.recurrence is None else args.recurrence

    def build():
        jt.sync_all()  # random numbers are drawn when they are needed: those still owed come before the seed
        jt.set_global_seed(0)
        model = build_model(name, 19, recurrence, **van)
        model.head.cca.gamma.assign(jt.array([0.5]))
        jt.sync_all()
        model.eval()
        return model

    return build, IMAGENET_RGB, args.van_size or name


def runs_of(build, how, size, batch, threads):
    """-> {implementation: run(uint8 BGR images) -> logits (B, K, H, W)}; what is not installed is left out."""
    import cv2
    import jittor as jt
    import numpy as np
    import onnxruntime as ort

    from datasets import transforms
    from models.export import to_onnx
    from models.layers.fold import fold
    from utils.evaluation.inference import resize

    plain = build()
    fold(plain, packing=False)
    data = to_onnx(plain, how, size, batch).SerializeToString()
    fast = build()
    label = f"Jittor ({fold(fast)})"

    def ours(images):
        x = jt.array(np.stack([transforms.normalise(image, how) for image in images]))
        with jt.no_grad():
            return np.stack([resize(one, size).numpy() for one in fast(x)[0]])

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    session = ort.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))

    def pixels(images):
        return np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2), np.float32)

    return {
        label: ours,
        f"onnxruntime {ort.__version__}": lambda images: session.run(None, {"image": pixels(images)})[0],
        f"OpenCV {cv2.__version__}": lambda images: net.setInput(pixels(images)) or net.forward(),
    }


def main():
    args = parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    machine = runtime.start("cpu")
    import numpy as np

    build, how, name = network(args)
    runs = runs_of(build, how, args.size, args.batch_size, machine["threads"])
    images = np.random.default_rng(0).integers(0, 256, (args.batch_size, *args.size, 3)).astype(np.uint8)
    results = {label: run(images).copy() for label, run in runs.items()}
    wall, cpu = ({label: [] for label in runs} for _ in range(2))
    for _ in range(args.repeats):
        for label, run in runs.items():
            begin, spent = time.perf_counter(), time.process_time()
            run(images)
            wall[label].append(time.perf_counter() - begin)
            cpu[label].append(time.process_time() - spent)
    first, *_ = runs
    shape = "x".join(map(str, (args.batch_size, 3, *args.size)))
    print(f"{name}, {shape}, {machine['threads']} threads, median of {args.repeats}\n")
    print("| in | wall s | CPU s | ratio of wall | largest difference, of the range |\n|---|---|---|---|---|")
    for label in runs:
        seconds, spent = statistics.median(wall[label]), statistics.median(cpu[label])
        ratio = seconds / statistics.median(wall[first])
        off = np.abs(results[label] - results[first]).max() / np.ptp(results[first])
        print(f"| {label} | {seconds:.3f} | {spent:.3f} | {ratio:.2f} | {off:.1e} |")


if __name__ == "__main__":
    runtime.run(main, "exported.py")
