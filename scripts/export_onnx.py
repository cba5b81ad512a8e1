#!/usr/bin/env python3
"""Write a network as an ONNX file, for onnxruntime, OpenCV and other programs that run such files.

    python scripts/export_onnx.py --restore-from runs/demo/CS_scenes_500.npz --out net.onnx
    python scripts/export_onnx.py --restore-from CS_scenes_60000.pth --out net.onnx --size 769,769 --labels

Input `image`: (N, 3, H, W) float32, RGB, 0..255. Output: `logits` (N, K, H, W) at the size of the image; with --softmax
`probabilities`; with --labels `labels`, (N, H, W) int64. Normalisation and resizing are inside. scripts/predict_onnx.py
runs the file without Jittor; class names and colours are in its metadata. Needs the package onnx.
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

TOLERANCE = {False: 1e-4, True: 2e-2}  # of --check, a share of the range of the logits; True: float16


def parse_args(argv=None):
    parser = argparse.ArgumentParser("export_onnx.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--restore-from", required=True, metavar="FILE", help="any file of weights that evaluate.py reads")
    add("--out", required=True, metavar="FILE.onnx")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--size", type=shared.size, metavar="H,W", help="images of this size only; OpenCV needs it")
    size.add_argument("--dynamic", action="store_true", help="any number of images of any size (the default)")
    add("--batch-size", type=shared.positive, metavar="N", help="with --size: images in one call (default: 1)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--softmax", action="store_true", help="the output is probabilities, not logits")
    output.add_argument("--labels", action="store_true", help="the output is the class of each pixel")
    add("--float16", action="store_true", help="weights and arithmetic in float16; input and output stay float32")
    add("--check", action="store_true", help="compare with onnxruntime first; too large a difference ends the export")
    add("--model", choices=sorted(MODELS), help="default: what the checkpoint says")
    add("--van-size", metavar="NAME", help="default: what the checkpoint says")
    add("--num-classes", type=shared.positive, help="default: what the checkpoint says")
    add("--recurrence", type=shared.whole, help="passes through the attention (default: as recorded, else 2)")
    add("--dataset", choices=sorted(DATASETS), help="whose class names and colours (default: what the checkpoint says)")
    return parser.parse_args(argv)


def check_arguments(args):
    """What cannot work ends here, before anything is loaded."""
    if not args.out.endswith(".onnx"):
        raise ValueError(f"--out {args.out} must end in .onnx")
    if os.path.isdir(args.out):
        raise ValueError(f"--out {args.out} is a folder; name a file in it")
    if args.batch_size and not args.size:
        raise ValueError("--batch-size is for a fixed size: add --size H,W, or leave it out (any number is taken then)")
    for package in ("onnx", *(["onnxruntime"] if args.check else [])):
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"{package} is not installed: pip install {package} (requirements-dev.txt has the version)"
            )


def facts(args, meta, names, palette, output):
    """What a program needs that runs the file, and where the file comes from."""
    how = meta["normalisation"]
    mean = list(how["mean"][::-1] if how["channels"] == "bgr" else how["mean"])
    weights = {key: value for key, value in (meta.get("provenance") or {}).items() if isinstance(value, str)}
    return {
        "names": list(names),
        "palette": [list(map(int, colour)) for colour in palette],
        "ignore_label": meta["ignore_label"],
        "input": {
            "layout": "NCHW",
            "channels": "rgb",
            "range": [0, 255],
            "batch": (args.batch_size or 1) if args.size else None,
            "size": args.size,
            "padding": mean,  # the colour that is 0 to the network
        },
        "output": output,
        "normalisation": how,
        "provenance": {
            "file": os.path.basename(args.restore_from),
            "sha256": hashlib.sha256(Path(args.restore_from).read_bytes()).hexdigest(),
            "weights": weights,
            **{key: meta.get(key) for key in ("model", "van_size", "recurrence", "model_options", "dataset", "step")},
            "commit": meta.get("commit"),
            "float16": args.float16,
        },
    }


def difference(model, data, normalisation, output, size, batch):
    """The largest distance between onnxruntime's output and ours, for random pixels. -> a share of our range."""
    import jittor as jt
    import numpy as np
    import onnxruntime

    from datasets import transforms
    from utils.evaluation.inference import resize

    size = size or (65, 97)
    images = np.random.default_rng(0).integers(0, 256, (batch, *size, 3)).astype(np.uint8)  # BGR
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rgb = np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    (theirs,) = session.run(None, {"image": rgb})
    with jt.no_grad():
        logits = model(jt.array(np.stack([transforms.normalise(image, normalisation) for image in images])))[0]
        ours = np.stack([resize(one, size).numpy() for one in logits])
        if output == "probabilities":
            ours = jt.nn.softmax(jt.array(ours), dim=1).numpy()
    if output == "labels":  # how far the chosen class is from the best
        return float((ours.max(1) - np.take_along_axis(ours, theirs[:, None], 1)[:, 0]).max() / np.ptp(ours))
    return float(np.abs(theirs - ours).max() / np.ptp(ours))


def main():
    args = parse_args()
    check_arguments(args)
    runtime.start("cpu")

    from datasets.classes import classes_of
    from models.export import to_onnx
    from models.layers.fold import fold
    from utils.files import whole_file
    from utils.weights import network as loading

    asked = {key: vars(args)[key] for key in ("model", "num_classes", "recurrence", "van_size")}
    model, meta = loading.load_network(args.restore_from, build_model, asked, lambda net: fold(net, packing=False))
    names, palette, _ = classes_of(meta, args.dataset)
    print(f"{meta['model']}, R = {meta['recurrence']}, {len(names)} classes; {meta['simplified']}")
    for remark in meta.get("remarks", ()):
        print(remark)
    output = "probabilities" if args.softmax else "labels" if args.labels else "logits"
    batch = args.batch_size or 1
    about = facts(args, meta, names, palette, output)
    network = to_onnx(model, meta["normalisation"], args.size, batch, output, args.float16, about)
    data = network.SerializeToString()
    if args.check:
        off = difference(model, data, meta["normalisation"], output, args.size, batch)
        print(f"onnxruntime and this network differ by {off:.1e} of the range of the {output}, at most")
        if not off <= TOLERANCE[args.float16]:
            beyond = "; its values may be beyond float16 (65504): leave --float16 out" if args.float16 else ""
            raise ValueError(f"nothing written: {off:.1e} is more than {TOLERANCE[args.float16]:g}{beyond}")
    os.makedirs(os.path.dirname(args.out) or ".", exist_ok=True)
    with whole_file(args.out, sync=True) as file:
        file.write(data)
    shape = "{} x 3 x {} x {}".format(*((batch, *args.size) if args.size else "NHW"))
    print(f"{args.out}: image {shape}, float32, RGB, 0..255 -> {output}; {len(data):,} bytes")


if __name__ == "__main__":
    runtime.run(main, "export_onnx.py")
