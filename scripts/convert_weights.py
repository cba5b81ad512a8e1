#!/usr/bin/env python3
"""Convert weights of other code to ours, or ours to PyTorch's, and report every key.

    python scripts/convert_weights.py CS_scenes_60000.pth ccnet.npz
    python scripts/convert_weights.py resnet101-imagenet.pth backbone.npz --allow-missing
    python scripts/convert_weights.py runs/demo/CS_scenes_500.npz for_pytorch.pth --to pytorch

SRC: .pth .pt .pth.tar .bin of PyTorch, .pkl of Jittor, .safetensors, .npz of ours; the source is detected from its
keys, and nothing in it is executed. DST: .npz (for evaluate.py and train.py), .safetensors, or PyTorch under the names
of the code that the weights came from. Exit code 1, and no file, if an array of the network is missing; --allow-missing
writes the file nevertheless.
"""

import argparse
import hashlib
import os
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from models import MODELS, build_model  # noqa: E402
from utils import runtime  # noqa: E402
from utils.weights import any_file, names  # noqa: E402
from utils.weights.sources import SOURCES  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("src", metavar="SRC", help="file of weights to read")
    parser.add_argument("dst", metavar="DST", help="file to write: .npz, .safetensors, .pth .pt .bin")
    known = "\n".join(f"{name}: {text}" for name, text in SOURCES.items())
    text = f"the other code: of SRC or, if SRC is ours, of DST (default: auto)\n{known}"
    parser.add_argument("--source", choices=("auto", *SOURCES), default="auto", help=text)
    formats = ("npz", "safetensors", "pytorch")
    parser.add_argument("--to", choices=formats, help="file format of DST (default: by its ending)")
    parser.add_argument("--model", choices=sorted(MODELS), help="the network to fit (default: detected from the keys)")
    text = "van_tiny .. van_large, van_b0 .. b6 (default: detected from the keys)"
    parser.add_argument("--van-size", metavar="NAME", help=text)
    parser.add_argument("--num-classes", type=int, help="for a network whose head is not in the file (default: 19)")
    text = "number of passes through the attention, to be recorded (default: 2)"
    parser.add_argument("--recurrence", type=int, help=text)
    parser.add_argument("--allow-missing", action="store_true", help="write a file without all arrays: a backbone")
    return parser.parse_args()


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def report(arrays, notes, shapes):
    """The key report of a conversion; -> (text, the lists of names.compare)."""
    result = names.compare(arrays, shapes)
    lines = [f"{len(result['matched'])} of {len(shapes)} matched"]

    def add(title, items):
        items = list(items)
        if items:
            lines.append(title)
            lines.extend(textwrap.wrap(", ".join(items), 112, initial_indent="    ", subsequent_indent="    "))

    if notes.get("prefix") or notes.get("wrapper"):
        wrapper, prefix = notes.get("wrapper") or "nothing", notes.get("prefix") or "none"
        lines.append(f"unwrapped: {wrapper}; prefix removed: {prefix}")
    renamed = notes.get("renamed", {})
    add(f"renamed, {len(renamed)} prefixes:", [f"{old}* -> {new}*" for old, new in renamed.items()])
    for title, group in (("changed", notes.get("changed", {})), ("dropped", notes.get("dropped", {}))):
        for reason in dict.fromkeys(group.values()):
            keys = [key for key in group if group[key] == reason]
            add(f"{title}, {len(keys)} ({reason}):", names.folded(keys))
    add(f"missing, {len(result['missing'])}:", names.folded(result["missing"]))
    add(f"unexpected, ignored, {len(result['unexpected'])}:", names.folded(result["unexpected"]))
    wrong = [f"{key} {arrays[key].shape} for {tuple(shapes[key])}" for key in result["wrong shape"]]
    add(f"wrong shape, {len(wrong)}:", wrong)
    return "\n".join(lines), result


def main():
    args = parse_args()
    to = args.to or any_file.format_of(args.dst)
    runtime.start("cpu")
    arrays, meta, ours = any_file.read_with_origin(args.src, args.source)
    notes = meta.get("provenance") or {}
    if ours and args.source != "auto" and to != "pytorch":
        print(f"--source {args.source} has no effect: SRC is a file of this project, and DST is {to}")
    apply_flags(args, meta)
    options = meta.get("model_options", {})
    listed = "".join(f" {name}={value}" for name, value in options.items())
    print(f"{args.src}: {'ours' if ours else notes['source']}, as {meta['model']}{listed}")

    network = build_model(meta["model"], meta["num_classes"] or args.num_classes or 19, meta["recurrence"], **options)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if ours and meta["num_classes"] is None:  # a backbone, as accepted when the file was written
        shapes = {key: shape for key, shape in shapes.items() if not key.startswith(any_file.HEADS)}
    text, result = report(arrays, {} if ours else notes, shapes)
    print(text)
    values = {**meta, **options}
    assumed = [f"{name.replace('_', ' ')} is not in the file: using {values[name]}" for name in meta["assumed"]]
    for remark in (*meta.pop("remarks", ()), *assumed):
        print(f"note: {remark}")
    if result["wrong shape"]:
        raise ValueError("nothing written: arrays of a wrong shape; check --model, --van-size and --source")
    if result["missing"] and not args.allow_missing:
        backbone = "it is a backbone; --allow-missing writes it, for training to start from"
        raise ValueError(f"nothing written: {backbone if meta['num_classes'] is None else 'arrays are missing'}")
    arrays = {key: array for key, array in arrays.items() if key in shapes}
    if not ours:
        notes["sha256"] = sha256(args.src)
    any_file.write(args.dst, arrays, meta, to, None if args.source == "auto" else args.source)
    print(f"{args.dst}: {to}, {len(arrays)} arrays, {os.path.getsize(args.dst):,} bytes")


def apply_flags(args, meta):
    """Enter --model, --van-size and --recurrence into `meta`; a ValueError where a flag does not fit the file."""
    if args.model:
        if (args.model == "van") != (meta["model"] == "van"):
            raise ValueError(f"{args.src} has weights of {meta['model']}, which do not fit --model {args.model}")
        meta["model"] = args.model
    if args.van_size:
        if meta["model"] != "van":
            raise ValueError(f"--van-size {args.van_size}: {args.src} has weights of {meta['model']}; leave it out")
        meta.setdefault("model_options", {})["van_size"] = args.van_size
    assumed = meta.setdefault("assumed", [])  # the names of values that the file does not determine
    if args.recurrence is not None:
        meta["recurrence"] = args.recurrence
        assumed[:] = [name for name in assumed if name != "recurrence"]
    if args.num_classes and meta["num_classes"] not in (None, args.num_classes):
        raise ValueError(f"--num-classes {args.num_classes}: {args.src} has {meta['num_classes']}; leave it out")


if __name__ == "__main__":
    runtime.run(main, "convert_weights.py")
