#!/usr/bin/env python3
"""Turn weights of other code into ours, or ours into PyTorch's, with a report of every key.

    python scripts/convert_weights.py CS_scenes_60000.pth ccnet.npz
    python scripts/convert_weights.py resnet101-imagenet.pth backbone.npz --allow-missing
    python scripts/convert_weights.py runs/demo/CS_scenes_500.npz for_pytorch.pth --to pytorch

SRC: .pth .pt .pth.tar .bin of PyTorch, .pkl of Jittor, .safetensors, .npz of ours; its keys tell what it is, and
nothing in it is executed. DST: .npz (evaluate.py and train.py take it), .safetensors, or PyTorch under the names of the
code that the weights came from. Exit code 1, and no file, if the network lacks anything; --allow-missing: all the same.
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from models import MODELS, build_model  # noqa: E402
from utils import runtime  # noqa: E402
from utils.weights import any_file  # noqa: E402
from utils.weights.sources import SOURCES  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("src", metavar="SRC")
    parser.add_argument("dst", metavar="DST")
    known = "\n".join(f"{name}: {what}" for name, what in SOURCES.items())
    text = f"the other code: of SRC, or, where SRC is ours, of DST (default: auto)\n{known}"
    parser.add_argument("--source", choices=("auto", *SOURCES), default="auto", help=text)
    parser.add_argument("--to", choices=("npz", "safetensors", "pytorch"), help="default: what the ending of DST says")
    parser.add_argument("--model", choices=sorted(MODELS), help="the network to fit (default: told by the keys)")
    parser.add_argument("--van-size", metavar="NAME", help="van_tiny .. van_large, van_b0 .. b6 (default: likewise)")
    parser.add_argument("--num-classes", type=int, help="of a network whose head is not in the file (default: 19)")
    parser.add_argument("--recurrence", type=int, help="passes through the attention, to be recorded (default: 2)")
    parser.add_argument("--allow-missing", action="store_true", help="write although arrays are missing: a backbone")
    return parser.parse_args()


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main():
    args = parse_args()
    to = args.to or any_file.kind_of(args.dst)
    runtime.start("cpu")
    ours = any_file.is_ours(args.src)
    arrays, meta = any_file.read(args.src, args.source)
    notes = meta.get("provenance") or {}
    if args.model:
        if (args.model == "van") != (meta["model"] == "van"):
            raise ValueError(f"{args.src} is of {meta['model']}, which --model {args.model} cannot hold")
        meta["model"] = args.model
    if args.van_size:
        if meta["model"] != "van":
            raise ValueError(f"--van-size {args.van_size}: {args.src} is of {meta['model']}; leave it out")
        meta.setdefault("model_options", {})["van_size"] = args.van_size
    if ours and args.source != "auto" and to != "pytorch":
        print(f"--source {args.source} has no effect: SRC is a file of this project, and DST is {to}")
    assumed = meta.setdefault("assumed", [])  # names of what the file does not tell
    if args.recurrence is not None:
        meta["recurrence"] = args.recurrence
        assumed[:] = [name for name in assumed if name != "recurrence"]
    if args.num_classes and meta["num_classes"] not in (None, args.num_classes):
        raise ValueError(f"--num-classes {args.num_classes}: {args.src} has {meta['num_classes']}; leave it out")
    chosen = "".join(f" {name}={value}" for name, value in meta.get("model_options", {}).items())
    print(f"{args.src}: {'ours' if ours else notes['source']}, as {meta['model']}{chosen}")

    classes = meta["num_classes"] or args.num_classes or 19
    network = build_model(meta["model"], classes, meta["recurrence"], **meta.get("model_options", {}))
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if ours and meta["num_classes"] is None:  # a backbone, as was settled when it was made
        shapes = {key: shape for key, shape in shapes.items() if not key.startswith(any_file.HEADS)}
    text, found = any_file.report(arrays, {} if ours else notes, shapes)
    print(text)
    taken = {**meta, **meta.get("model_options", {})}
    remarks = [f"{name.replace('_', ' ')} is not in the file: {taken[name]} taken" for name in assumed]
    for remark in (*meta.pop("remarks", ()), *remarks):
        print(f"note: {remark}")
    if found["wrong shape"]:
        raise ValueError("nothing written: arrays of a wrong shape; is --model, --van-size or --source another one?")
    if found["missing"] and not args.allow_missing:
        backbone = "it is a backbone; --allow-missing writes it, for training to start from"
        raise ValueError(f"nothing written: {backbone if meta['num_classes'] is None else 'arrays are missing'}")
    arrays = {key: array for key, array in arrays.items() if key in shapes}
    if not ours:
        notes["sha256"] = sha256(args.src)
    any_file.write(args.dst, arrays, meta, to, None if args.source == "auto" else args.source)
    print(f"{args.dst}: {to}, {len(arrays)} arrays, {os.path.getsize(args.dst):,} bytes")


if __name__ == "__main__":
    runtime.run(main, "convert_weights.py")
