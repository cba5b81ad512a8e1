#!/usr/bin/env python3
"""Segment images with a network from export_onnx.py: writes label PNG, colour map and overlay of each image.

This file can be copied: it needs only numpy, OpenCV and onnxruntime. Without onnxruntime, OpenCV runs networks with a
fixed size (exported with --size H,W). A network of bands (trained with --channels N) reads .npy files, (H, W, N).

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
    """-> (run(images) -> output, the metadata from export_onnx.py, name of the runtime)."""
    data = Path(path).read_bytes()
    key = data.rfind(b"segmentation\x12")  # a key of metadata_props; the value is JSON
    if key < 0:
        raise ValueError(f"{path} was not written by export_onnx.py, or it is damaged")
    text = data[data.index(b'{"', key) :].decode("utf-8", "replace")
    facts = json.JSONDecoder().raw_decode(text)[0]
    old = tuple(map(int, cv2.__version__.split(".")[:2])) < (4, 9)  # OpenCV 4.8 gives wrong results for some networks
    if (ort is None or runtime == "opencv") and (runtime == "onnxruntime" or old or not facts["input"]["size"]):
        raise ValueError(
            f"{path} needs onnxruntime here: pip install onnxruntime; OpenCV, from 4.9 on (this is {cv2.__version__}), "
            "runs networks that were exported with --size H,W"
        )
    try:
        if ort is None or runtime == "opencv":
            net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
            return (lambda x: net.setInput(x) or net.forward()), facts, f"OpenCV {cv2.__version__}"
        usable = [name for name in ort.get_available_providers() if name[:4] in ("CUDA", "CPUE")]
        session = ort.InferenceSession(data, providers=usable)
        return (lambda x: session.run(None, {"image": x})[0]), facts, f"onnxruntime {ort.__version__}"
    except Exception as error:  # each runtime has its own exceptions
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}") from None


def read(path, expects):
    """-> (H, W, C) uint8: BGR, rotated as the EXIF orientation requires, or bands."""
    if expects.get("channels") == "bands":
        return read_bands(path, expects)
    data = np.fromfile(path, np.uint8) if path.is_file() else np.empty(0, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ValueError(f"{path} cannot be read as an image")
    return image


def read_bands(path, expects):
    """.npy (H, W, N) of uint8, uint16 or float -> uint8: linearly from the recorded range, or that of the dtype."""
    count, span = len(expects["padding"]), expects["values"]
    if path.suffix.lower() != ".npy":
        raise ValueError(
            f"{path} is not .npy: this network has {count} bands, and reads .npy of height x width x {count}"
        )
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read ({str(error).splitlines()[0]})") from None
    values = values[:, :, None] if values.ndim == 2 else values
    if values.shape[2:] != (count,) or not np.isfinite(values).all():
        shape = "x".join(map(str, values.shape))
        raise ValueError(f"{path} has the shape {shape}; expected finite values, height x width x {count}")
    if span is None and values.dtype == np.uint8:
        return values
    if span is None and values.dtype.kind != "f" and values.dtype != np.uint16:
        raise ValueError(f"{path} holds {values.dtype}; expected uint8, uint16 or float")
    low, high = span or (0, 65535 if values.dtype == np.uint16 else 1)
    return np.rint((np.clip(np.float64(values), low, high) - low) * 255 / (high - low)).astype(np.uint8)


def visible(image):
    """(H, W, C) -> (H, W, 3) BGR for an overlay: of bands the first three as RGB, one as grey."""
    return image[:, :, [2, 1, 0]] if image.shape[2] > 3 else image[:, :, [image.shape[2] - 1, image.shape[2] - 1, 0]]


def starts(length, tile):
    """Where windows start along one side: they overlap by a third, and the last one ends at the border."""
    stride = math.ceil(tile * (1 - 1 / 3))
    return [max(min(k * stride, length - tile), 0) for k in range(max(math.ceil((length - tile) / stride), 0) + 1)]


def segment(run, facts, image):
    """(H, W, C) uint8, BGR or bands -> (H, W) class numbers. Where windows overlap, their outputs are averaged."""
    (height, width), classes = image.shape[:2], len(facts["names"])
    tile = facts["input"]["size"] or (max(height, 32), max(width, 32))
    pixels = image if facts["input"].get("channels") == "bands" else image[:, :, ::-1]
    canvas = np.empty((image.shape[2], max(height, tile[0]), max(width, tile[1])), np.float32)
    canvas[:] = np.float32(facts["input"]["padding"])[:, None, None]
    canvas[:, :height, :width] = pixels.transpose(2, 0, 1)
    total, count = np.zeros((classes, *canvas.shape[1:]), np.float32), np.zeros(canvas.shape[1:], np.float32)
    for top in starts(height, tile[0]):
        for left in starts(width, tile[1]):
            rows, columns = slice(top, top + tile[0]), slice(left, left + tile[1])
            output = run(np.repeat(canvas[None, :, rows, columns], facts["input"]["batch"] or 1, axis=0))[0]
            if facts["output"] == "labels":  # each window counts as one vote
                output = np.arange(classes)[:, None, None] == output
            total[:, rows, columns] += output
            count[rows, columns] += 1
    return (total / count)[:, :height, :width].argmax(0).astype(np.uint8 if classes <= 256 else np.uint16)


def overlay(image, label, facts, opacity=0.55):
    """The image with classes in colour and darker borders between them, and a legend, the largest class first.

    A class whose colour is black leaves the image as it is.
    """
    palette, font = [tuple(colour[::-1]) for colour in facts["palette"]], (cv2.FONT_HERSHEY_SIMPLEX, 0.42)
    colours = np.uint8(palette)[label]
    mixed = (image * (1 - opacity) + colours * opacity).round().astype(np.uint8)
    mixed = np.where(colours.any(-1, keepdims=True), mixed, image)
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


def find_images(inputs, without, endings=ENDINGS):
    """Files and folders -> [(path, name of the output)]. Only if a.png and a.jpg exist do names include endings."""
    images = []
    for source in map(Path, inputs):
        if not source.is_dir():
            images.append((source, Path(source.name)))
            continue
        for path in sorted(source.rglob("*")):
            name, written = path.relative_to(source), Path(without).resolve() in path.resolve().parents
            if path.suffix.lower() in endings and not written and not any(part[0] == "." for part in name.parts):
                images.append((path, name))
    stems = [str(name.with_suffix("")) for _, name in images]
    endings = [name.suffix.replace(".", "_") * (stems.count(stem) > 1) for (_, name), stem in zip(images, stems)]
    return [(path, stem + ending) for (path, _), stem, ending in zip(images, stems, endings)]


def save(path, pixels):
    """Written atomically."""
    part = f"{path}.{os.getpid()}.part"
    Path(part).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    os.replace(part, path)


def main():
    parser = argparse.ArgumentParser("predict_onnx.py", description=__doc__.split(":")[0])
    parser.add_argument("--model", required=True, metavar="FILE.onnx", help="written by export_onnx.py")
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="images and folders of images")
    parser.add_argument("--save-dir", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--runtime", choices=("onnxruntime", "opencv"), help="default: onnxruntime if it is installed")
    args = parser.parse_args()
    run, facts, runtime = load(args.model, args.runtime)
    bands = facts["input"].get("channels") == "bands"
    images, failed = find_images(args.input, args.save_dir, (".npy",) if bands else ENDINGS), 0
    print(f"{args.model}: {len(facts['names'])} classes, {runtime}")
    for path, name in images:
        try:
            image = read(path, facts["input"])
        except ValueError as error:
            print(f"skipped: {error}", file=sys.stderr)
            failed += 1
            continue
        label, base = segment(run, facts, image), os.path.join(args.save_dir, name)
        os.makedirs(os.path.dirname(base) or ".", exist_ok=True)
        save(f"{base}_label.png", label)
        save(f"{base}_color.png", np.uint8(facts["palette"])[label][:, :, ::-1])
        save(f"{base}_overlay.png", overlay(visible(image) if bands else image, label, facts))
    print(f"{len(images) - failed} of {len(images)} files done, in {args.save_dir}")
    if failed or not images:
        raise ValueError(f"{failed} of {len(images)} files could not be read" if images else "no images in --input")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"predict_onnx.py: {error}")
