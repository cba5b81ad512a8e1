#!/usr/bin/env python3
"""Segment images with a network that export_onnx.py wrote: label PNG, colour map and overlay of each. Copy this file:
it needs numpy, OpenCV and onnxruntime; without onnxruntime, OpenCV runs networks of a fixed size (--size H,W there).

    python scripts/export_onnx.py --restore-from runs/demo/CS_scenes_500.npz --out net.onnx && \\
    python scripts/predict_onnx.py --model net.onnx --input photo.jpg holiday/ --save-dir out
"""

import argparse
import json
import math
import os
import sys
from pathlib import Path

import cv2
import numpy as np

try:
    import onnxruntime as ort
except ImportError:
    ort = None

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".avif")


def load(path, runtime=None):
    """-> (run(images) -> output, what export_onnx.py recorded, the name of the runtime)."""
    data = Path(path).read_bytes()
    key = data.rfind(b"segmentation\x12")  # a key of metadata_props; its value is a JSON object
    if key < 0:
        raise ValueError(f"{path} was not written by export_onnx.py, or it is damaged")
    text = data[data.index(b'{"', key) :].decode("utf-8", "replace")
    facts = json.JSONDecoder().raw_decode(text)[0]
    old = tuple(map(int, cv2.__version__.split(".")[:2])) < (4, 9)  # OpenCV 4.8 computes some networks wrongly
    if (ort is None or runtime == "opencv") and (runtime == "onnxruntime" or old or not facts["input"]["size"]):
        raise ValueError(
            f"{path} needs onnxruntime here: pip install onnxruntime; OpenCV, from 4.9 on (this is {cv2.__version__}), "
            "runs what was exported with --size H,W"
        )
    try:
        if ort is None or runtime == "opencv":
            net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
            return (lambda x: net.setInput(x) or net.forward()), facts, f"OpenCV {cv2.__version__}"
        usable = [name for name in ort.get_available_providers() if name[:4] in ("CUDA", "CPUE")]
        session = ort.InferenceSession(data, providers=usable)
        return (lambda x: session.run(None, {"image": x})[0]), facts, f"onnxruntime {ort.__version__}"
    except Exception as error:  # each runtime has classes of its own
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}") from None


def starts(length, tile):
    """Where windows begin along one side: a third overlaps, the last one ends with the image."""
    stride = math.ceil(tile * (1 - 1 / 3))
    return [max(min(k * stride, length - tile), 0) for k in range(max(math.ceil((length - tile) / stride), 0) + 1)]


def segment(run, facts, image):
    """(H, W, 3) uint8 BGR -> (H, W) class numbers. Where windows overlap, their outputs are averaged."""
    (height, width), classes = image.shape[:2], len(facts["names"])
    tile = facts["input"]["size"] or (max(height, 32), max(width, 32))
    canvas = np.empty((3, max(height, tile[0]), max(width, tile[1])), np.float32)
    canvas[:] = np.float32(facts["input"]["padding"])[:, None, None]
    canvas[:, :height, :width] = image[:, :, ::-1].transpose(2, 0, 1)
    total, count = np.zeros((classes, *canvas.shape[1:]), np.float32), np.zeros(canvas.shape[1:], np.float32)
    for top in starts(height, tile[0]):
        for left in starts(width, tile[1]):
            rows, columns = slice(top, top + tile[0]), slice(left, left + tile[1])
            output = run(np.repeat(canvas[None, :, rows, columns], facts["input"]["batch"] or 1, axis=0))[0]
            if facts["output"] == "labels":  # windows vote
                output = np.arange(classes)[:, None, None] == output
            total[:, rows, columns] += output
            count[rows, columns] += 1
    return (total / count)[:, :height, :width].argmax(0).astype(np.uint8 if classes <= 256 else np.uint16)


def overlay(image, label, facts, opacity=0.55):
    """Classes in colour over the image, a line where they meet, and a legend: the largest class first."""
    palette, font = [tuple(colour[::-1]) for colour in facts["palette"]], (cv2.FONT_HERSHEY_SIMPLEX, 0.42)
    mixed = (image * (1 - opacity) + np.uint8(palette)[label] * opacity).round().astype(np.uint8)
    edge = np.zeros(label.shape, bool)
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    edge[1:] |= label[1:] != label[:-1]
    mixed[edge] //= 2
    shares = sorted((-(label == k).mean(), k) for k in np.unique(label))[:24]
    lines = [(f"{facts['names'][k]}  {-100 * share:.1f}%", palette[k]) for share, k in shares]
    wide = 44 + max(cv2.getTextSize(text, *font, 1)[0][0] for text, _ in lines)
    panel = np.full((max(len(image), 22 * len(lines) + 12), image.shape[1] + wide, 3), 255, np.uint8)
    panel[: len(image), : image.shape[1]] = mixed
    for y, (text, colour) in zip(range(8, len(panel), 22), lines):
        x = image.shape[1] + 10
        cv2.rectangle(panel, (x, y), (x + 16, y + 14), colour, cv2.FILLED)
        cv2.putText(panel, text, (x + 24, y + 12), *font, (52, 44, 40), 1, cv2.LINE_AA)
    return panel


def find(inputs, without):
    """Files and folders -> [(path, name of what is written for it)]; a.png and a.jpg keep their endings in it."""
    found = []
    for given in map(Path, inputs):
        if not given.is_dir():
            found.append((given, Path(given.name)))
            continue
        for path in sorted(given.rglob("*")):
            name, written = path.relative_to(given), Path(without).resolve() in path.resolve().parents
            if path.suffix.lower() in ENDINGS and not written and not any(part[0] == "." for part in name.parts):
                found.append((path, name))
    stems = [str(name.with_suffix("")) for _, name in found]
    endings = [name.suffix.replace(".", "_") * (stems.count(stem) > 1) for (_, name), stem in zip(found, stems)]
    return [(path, stem + ending) for (path, _), stem, ending in zip(found, stems, endings)]


def save(path, pixels):
    """Written atomically."""
    part = f"{path}.{os.getpid()}.part"
    Path(part).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    os.replace(part, path)


def main():
    parser = argparse.ArgumentParser("predict_onnx.py", description=__doc__.split(":")[0])
    parser.add_argument("--model", required=True, metavar="FILE.onnx")
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="images, folders of images")
    parser.add_argument("--save-dir", required=True, metavar="DIR")
    parser.add_argument("--runtime", choices=("onnxruntime", "opencv"), help="default: onnxruntime if it is installed")
    args = parser.parse_args()
    run, facts, runtime = load(args.model, args.runtime)
    found, failed = find(args.input, args.save_dir), 0
    print(f"{args.model}: {len(facts['names'])} classes, {runtime}")
    for path, name in found:
        data = np.fromfile(path, np.uint8) if path.is_file() else np.empty(0, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None  # upright, as its EXIF orientation says
        if image is None:
            print(f"skipped: {path} cannot be read as an image", file=sys.stderr)
            failed += 1
            continue
        label, base = segment(run, facts, image), os.path.join(args.save_dir, name)
        os.makedirs(os.path.dirname(base) or ".", exist_ok=True)
        save(f"{base}_label.png", label)
        save(f"{base}_color.png", np.uint8(facts["palette"])[label][:, :, ::-1])
        save(f"{base}_overlay.png", overlay(image, label, facts))
    print(f"{len(found) - failed} of {len(found)} files done, in {args.save_dir}")
    if failed or not found:
        raise ValueError(f"{failed} of {len(found)} files could not be read" if found else "no images in --input")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"predict_onnx.py: {error}")
