#!/usr/bin/env python3
"""Export a network as an ONNX file, for onnxruntime, OpenCV and other ONNX runtimes.

    python scripts/export_onnx.py --restore-from runs/demo/CS_scenes_500.npz --out net.onnx
    python scripts/export_onnx.py --restore-from CS_scenes_60000.pth --out net.onnx --size 769,769 --labels

Input `image`: (N, 3, H, W) float32, RGB, 0..255; of a network that was trained with --channels C: (N, C, H, W), the
bands as they are in the file, on the scale 0..255. Output: `logits` (N, K, H, W) at the size of the image; with
--softmax `probabilities`; with --labels `labels`, (N, H, W) int64. The graph includes normalisation and resizing,
the metadata class names and colours. scripts/predict_onnx.py runs the file without Jittor. Needs the package onnx.
"""

import argparse
import hashlib
import importlib.util
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets import DATASETS  # noqa: E402
from models import MODELS, build_model  # noqa: E402
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

TOLERANCE = {"float32": 1e-4, "float16": 2e-2}  # of --check: largest difference / range of the output


def parse_args(argv=None):
    parser = argparse.ArgumentParser("export_onnx.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add(
        "--restore-from",
        required=True,
        metavar="FILE",
        help="a checkpoint or weights, in any format that evaluate.py reads",
    )
    add("--out", required=True, metavar="FILE.onnx", help="the file to write")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--size", type=shared.size, metavar="H,W", help="fixed image size (required by OpenCV)")
    size.add_argument("--dynamic", action="store_true", help="any batch size and image size (default)")
    add("--batch-size", type=shared.positive, metavar="N", help="batch size, only with --size (default: 1)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--softmax", action="store_true", help="output probabilities (default: logits)")
    output.add_argument("--labels", action="store_true", help="output the class of each pixel (default: logits)")
    add("--float16", action="store_true", help="weights and arithmetic in float16; input and output are float32")
    add("--check", action="store_true", help="compare with onnxruntime before writing; a large difference is an error")
    add("--model", choices=sorted(MODELS), help="default: that of the checkpoint")
    add("--van-size", metavar="NAME", help="default: that of the checkpoint")
    add("--num-classes", type=shared.positive, help="default: that of the checkpoint")
    add("--recurrence", type=shared.whole, help="passes through the attention (default: that of the checkpoint, or 2)")
    add("--dataset", choices=sorted(DATASETS), help="for class names and colours (default: that of the checkpoint)")
    return parser.parse_args(argv)


def check_arguments(args):
    """Raise a ValueError for options that cannot work, before anything is loaded."""
    if not args.out.endswith(".onnx"):
        raise ValueError(f"--out {args.out} must end in .onnx")
    if os.path.isdir(args.out):
        raise ValueError(f"--out {args.out} is a folder; give a file name")
    if args.batch_size and not args.size:
        raise ValueError("--batch-size is for a fixed size: add --size H,W, or omit it to accept any batch size")
    for package in ("onnx", *(["onnxruntime"] if args.check else [])):
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"{package} is not installed: pip install {package} (requirements-dev.txt has the version)"
            )


def metadata(args, meta, names, palette, output):
    """What a program needs to run the file, and the origin of the weights."""
    normalisation = meta["normalisation"]
    mean = list(normalisation["mean"][::-1] if normalisation["channels"] == "bgr" else normalisation["mean"])
    bands = {"channels": "bands", "values": normalisation.get("range")}  # of the files: what becomes 0 and 255
    weights = {key: value for key, value in (meta.get("provenance") or {}).items() if isinstance(value, str)}
    return {
        "names": list(names),
        "palette": [list(map(int, colour)) for colour in palette],
        "ignore_label": meta["ignore_label"],
        "input": {
            "layout": "NCHW",
            **(bands if normalisation["channels"] == "bands" else {"channels": "rgb"}),
            "range": [0, 255],
            "batch": (args.batch_size or 1) if args.size else None,
            "size": args.size,
            "padding": mean,  # of each channel; normalised it is 0
        },
        "output": output,
        "normalisation": normalisation,
        "provenance": {
            "file": os.path.basename(args.restore_from),
            "sha256": hashlib.sha256(Path(args.restore_from).read_bytes()).hexdigest(),
            "weights": weights,
            **{
                key: meta.get(key)
                for key in ("model", "van_size", "recurrence", "model_options", "protocol", "dataset", "step")
            },
            "commit": meta.get("commit"),
            "float16": args.float16,
        },
    }


def difference(model, data, normalisation, output, size, batch):
    """The largest difference between the outputs of onnxruntime and Jittor for random images / their range."""
    import jittor as jt
    import numpy as np
    import onnxruntime

    from datasets import transforms
    from utils.evaluation.resize import resize

    size, corners = size or (65, 97), getattr(model, "align_corners", True)
    channels, bands = len(normalisation["mean"]), normalisation["channels"] == "bands"
    images = np.random.default_rng(0).integers(0, 256, (batch, *size, channels)).astype(np.uint8)  # BGR or bands
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    pixels = np.ascontiguousarray((images if bands else images[..., ::-1]).transpose(0, 3, 1, 2), np.float32)
    (exported,) = session.run(None, {"image": pixels})
    with jt.no_grad():
        logits = model(jt.array(np.stack([transforms.normalise(image, normalisation) for image in images])))[0]
        expected = np.stack([resize(x, size, align_corners=corners).numpy() for x in logits])
        if output == "probabilities":
            expected = jt.nn.softmax(jt.array(expected), dim=1).numpy()
    if output == "labels":  # largest logit minus the logit of the predicted class
        predicted = np.take_along_axis(expected, exported[:, None], 1)[:, 0]
        return float((expected.max(1) - predicted).max() / np.ptp(expected))
    return float(np.abs(exported - expected).max() / np.ptp(expected))


def main():
    args = parse_args()
    check_arguments(args)
    runtime.start("cpu")

    from datasets.classes import classes_of
    from models.export import to_onnx
    from models.layers.fold import fold
    from utils.files import whole_file
    from utils.weights import network as loading

    options = {key: vars(args)[key] for key in ("model", "num_classes", "recurrence", "van_size")}
    model, meta = loading.load_network(args.restore_from, build_model, options, lambda net: fold(net, packing=False))
    names, palette, _ = classes_of(meta, args.dataset)
    print(f"{meta['model']}, R = {meta['recurrence']}, {len(names)} classes; {meta['simplified']}")
    for remark in meta.get("remarks", ()):
        print(remark)
    output = "probabilities" if args.softmax else "labels" if args.labels else "logits"
    batch = args.batch_size or 1
    facts = metadata(args, meta, names, palette, output)
    network = to_onnx(model, meta["normalisation"], args.size, batch, output, args.float16, facts)
    data = network.SerializeToString()
    if args.check:
        distance = difference(model, data, meta["normalisation"], output, args.size, batch)
        tolerance = TOLERANCE["float16" if args.float16 else "float32"]
        print(f"onnxruntime and Jittor differ by at most {distance:.1e} of the range of the {output}")
        if not distance <= tolerance:
            hint = "; values may exceed the range of float16 (65504): omit --float16" if args.float16 else ""
            raise ValueError(f"nothing written: {distance:.1e} is more than {tolerance:g}{hint}")
    os.makedirs(os.path.dirname(args.out) or ".", exist_ok=True)
    with whole_file(args.out, sync=True) as file:
        file.write(data)
    channels, order = len(meta["normalisation"]["mean"]), facts["input"]["channels"].replace("rgb", "RGB")
    number, height, width = (batch, *args.size) if args.size else "NHW"
    shape = f"{number} x {channels} x {height} x {width}"
    print(f"{args.out}: image {shape}, float32, {order}, 0..255 -> {output}; {len(data):,} bytes")


if __name__ == "__main__":
    runtime.run(main, "export_onnx.py")
