#!/usr/bin/env python3
"""Evaluation: images per second and peak memory, for whole images, sliding windows and several scales.

    python scripts/benchmark/evaluation.py --model ccnet_r18 --size 512,1024 --images 6
    python scripts/benchmark/evaluation.py --restore-from CS_scenes_60000.pth --size 1024,2048 --ways whole sliding

Generated scenes are written to a temporary folder as PNG files, so that reading has its usual cost. Each case runs in a
process of its own, after one image to warm up. `read ahead` against `read here` shows what overlapping saves.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from models import MODELS, build_model  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import evaluate as eval_options  # noqa: E402
from utils.options import shared

WAYS = {  # name -> arguments of inference.predict; {tile} is --tile
    "whole": {},
    "whole, mirrored": {"flip": True},
    "sliding": {"tile": True},
    "sliding, mirrored": {"tile": True, "flip": True},
    "multi-scale": {"scales": (0.75, 1.0, 1.25), "flip": True},
}


def parse_args(argv=None):
    parser = argparse.ArgumentParser("evaluation.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", choices=sorted(MODELS), help="untrained, without --restore-from (default: ccnet_r18)")
    add("--restore-from", metavar="FILE", help="a checkpoint in place of --model")
    shared.add_source(add)
    add("--num-classes", type=shared.positive, help="default: those of the checkpoint, else 19")
    add("--size", type=shared.size, default=(512, 1024), metavar="H,W", help="size of the images (default: 512,1024)")
    add("--tile", type=shared.size, default=(385, 385), metavar="H,W", help="of sliding windows (default: 385,385)")
    add("--images", type=shared.positive, default=4, metavar="N", help="timed (default: %(default)s)")
    add("--batch-size", type=shared.positive, metavar="N", help="tiles in a network call (default: by size)")
    add(
        "--ways",
        nargs="+",
        choices=WAYS,
        default=["whole", "sliding", "multi-scale"],
        metavar="WAY",
        help=", ".join(WAYS),
    )
    add("--json", metavar="FILE", help="write the figures there, too")
    add("--device", choices=runtime.DEVICES, default="auto", help="default: %(default)s")
    add("--one", help=argparse.SUPPRESS)  # the process that measures: a JSON text
    return parser.parse_args(argv)


def write_scenes(folder, count, size):
    import cv2

    from datasets.scenes.dataset import draw_scene

    for k in range(count):
        image, label, _ = draw_scene(5, k, *size)
        cv2.imwrite(str(folder / f"{k}.png"), image)
        cv2.imwrite(str(folder / f"{k}_label.png"), label)


class PeakMemory:
    """The largest resident size of this process from here on, in MB: the kernel's own high-water mark, reset here."""

    def __enter__(self):
        with contextlib.suppress(OSError):  # where that is not permitted, it is the peak since the process began
            Path("/proc/self/clear_refs").write_text("5")
        return self

    def __exit__(self, *_):
        status = Path("/proc/self/status").read_text()
        self.mb = int(status.split("VmHWM:")[1].split()[0]) / 1024


def gpu_memory():
    """MB in use on the GPU by the driver's count, 0 without one."""
    try:
        text = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True
        ).stdout
        return max(float(line) for line in text.split())
    except (OSError, ValueError):
        return 0.0


def load_model(args):
    """-> (the network of --restore-from, or one with random weights; its normalisation and number of classes)"""
    import jittor as jt

    from models import tables
    from models.layers.fold import fold
    from utils.weights import network

    if args.restore_from:
        flags = {"model": args.model, "num_classes": args.num_classes, "frames": 1}
        model, meta = network.load_network(args.restore_from, build_model, flags, fold, args.source)
        for remark in meta["remarks"]:
            print(remark, file=sys.stderr)
        return model, meta
    jt.set_global_seed(1)
    classes = args.num_classes or 19
    model = build_model(args.model or "ccnet_r18", classes)
    model.eval()
    fold(model)
    return model, {"normalisation": tables.CAFFE_BGR, "num_classes": classes}


def measure(args, folder, way, workers):
    """In a separate process. -> {seconds, read, memory ..}"""
    eval_options.before_jittor()
    machine = runtime.start(args.device)
    import cv2
    import jittor as jt
    import numpy as np

    from datasets import transforms
    from datasets.reading import workers as loaders
    from utils.evaluation import stream
    from utils.evaluation.confusion import ConfusionMatrix

    model, meta = load_model(args)
    settings = {**WAYS[way], "batch": args.batch_size}
    if settings.get("tile"):
        settings["tile"] = args.tile
    matrix = ConfusionMatrix(meta["num_classes"])

    def read(k):
        image, label = (cv2.imread(os.path.join(folder, name), -1) for name in (f"{k}.png", f"{k}_label.png"))
        label[label >= meta["num_classes"]] = 255  # only time is measured: the scenes have other classes
        return image, label

    def normalise(image):
        return transforms.on_device(image, meta["normalisation"])

    def run(indices):
        samples = zip(indices, loaders.run(read, indices, workers, return_errors=True))
        for _, (_, label), prediction in stream.predictions(model, samples, normalise, **settings):
            matrix.update(label, prediction)

    run([0])
    with PeakMemory() as memory, PeakGPUMemory(machine["device"] == "cuda") as gpu:
        began = time.perf_counter()
        run(range(1, args.images + 1))
        jt.sync_all(True)
        seconds = time.perf_counter() - began
    began = time.perf_counter()
    for k in range(1, args.images + 1):
        read(k)
    reading = time.perf_counter() - began
    return {
        "way": way,
        "workers": workers,
        "images_per_s": args.images / seconds,
        "read_share": reading / seconds,
        "peak_mb": memory.mb,
        "peak_gpu_mb": gpu.mb,
        "checksum": int(np.trace(matrix.counts)),
        "machine": machine,
    }


class PeakGPUMemory:
    """The largest GPU memory in use, sampled with nvidia-smi, because Jittor keeps what it has allocated; else 0."""

    def __init__(self, active):
        self.active, self.mb, self.done = active, 0.0, threading.Event()

    def __enter__(self):
        if self.active:
            threading.Thread(target=self.watch, daemon=True).start()
        return self

    def watch(self):
        while not self.done.wait(0.2):
            self.mb = max(self.mb, gpu_memory())

    def __exit__(self, *_):
        self.done.set()
        if self.active:
            self.mb = max(self.mb, gpu_memory())


def main():
    args = parse_args()
    if args.one:
        print(json.dumps(measure(args, **json.loads(args.one))))
        return
    runtime.start("cpu")  # datasets import Jittor
    with tempfile.TemporaryDirectory() as folder:
        write_scenes(Path(folder), args.images + 1, args.size)
        results = []
        for way in args.ways:
            for workers in (1, 0):
                task = json.dumps({"folder": folder, "way": way, "workers": workers})
                command = [sys.executable, __file__, *sys.argv[1:], "--one", task]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
                if done.returncode:
                    raise ValueError(f"{way} did not end well (exit code {done.returncode}); its message stands above")
                results.append(json.loads(done.stdout.strip().splitlines()[-1]))
    name = os.path.basename(args.restore_from) if args.restore_from else args.model or "ccnet_r18"
    machine = results[0]["machine"]
    print(f"{name}, images {args.size[0]}x{args.size[1]}, windows {args.tile[0]}x{args.tile[1]}, {machine['device']}")
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{machine['threads']} threads, Jittor {machine['jittor']}; {load}\n")
    print("| | read ahead: images/s | read here: images/s | reading alone | peak memory |")
    print("|---|---|---|---|---|")
    for ahead, here in zip(results[::2], results[1::2]):
        if ahead["checksum"] != here["checksum"]:
            raise ValueError(f"{ahead['way']}: reading ahead changed the result")
        gpu = f", GPU {ahead['peak_gpu_mb']:.0f} MB" if ahead["peak_gpu_mb"] else ""
        print(
            f"| {ahead['way']} | {ahead['images_per_s']:.3g} | {here['images_per_s']:.3g} | "
            f"{100 * here['read_share']:.1f}% | {ahead['peak_mb']:.0f} MB{gpu} |"
        )
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    runtime.run(main, "evaluation.py")
