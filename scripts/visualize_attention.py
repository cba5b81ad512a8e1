#!/usr/bin/env python3
"""Draw the attention maps of a trained network at chosen pixels, after each pass, as in the figure of the paper.

    python scripts/visualize_attention.py --restore-from runs/demo/CS_scenes_500.npz --input street.png --point 60,90
    python scripts/visualize_attention.py ... --point 60,90 200,40 --html attention.html

The figure shows the image with a green cross, a map for each number of passes, and the last map over the image, with a
line to its largest weight. The page (--html) needs no server and computes the map of any pixel that is clicked. Both
state gamma and how much the attention changes for this image, and warn where that is almost nothing.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402


def point(text):
    try:
        x, y = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid point {text!r}: expected X,Y in pixels, for example 60,90") from None
    return x, y


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--restore-from", required=True, metavar="FILE", help="checkpoint of train.py or released file")
    shared.add_source(parser.add_argument)
    parser.add_argument("--input", required=True, metavar="IMAGE", help="an image of any size")
    parser.add_argument(
        "--point", nargs="+", action="extend", type=point, metavar="X,Y", help="pixels to show (default: the centre)"
    )
    parser.add_argument("--output", metavar="PNG", help="default: runs/attention/<name of the image>.png")
    parser.add_argument("--html", metavar="HTML", help="also write a page that shows the map of any pixel")
    parser.add_argument(
        "--recurrence", type=shared.positive, metavar="R", help="number of passes (default: that of the checkpoint)"
    )
    parser.add_argument(
        "--max-side",
        type=shared.positive,
        default=2048,
        metavar="PIXELS",
        help="scale larger images down (default: %(default)s)",
    )
    parser.add_argument("--device", choices=runtime.DEVICES, default="auto", help="default: %(default)s")
    return parser.parse_args(argv)


def read_image(path, max_side):
    """-> (H, W, 3) BGR uint8, with the EXIF orientation applied, scaled down to `max_side`."""
    import cv2

    from utils.media import read_upright

    image = read_upright(path)
    height, width = image.shape[:2]
    if max(height, width) <= max_side:
        return image
    factor = max_side / max(height, width)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    print(f"image of {width}x{height} scaled to {size[0]}x{size[1]} (--max-side); points refer to the scaled image")
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def load(args):
    """-> the network with --recurrence passes, the meta data of its checkpoint."""
    from models import build_model
    from models.ports import WholeSoftmaxRCCA
    from utils.weights import network

    settings = dict.fromkeys(("model", "num_classes", "recurrence", "van_size"))  # all read from the checkpoint
    model, meta = network.load_network(args.restore_from, build_model, settings, source=args.source)
    for remark in meta["remarks"]:
        print(remark)
    recurrence = args.recurrence or meta["recurrence"]
    if recurrence < 1:
        raise ValueError(f"{args.restore_from} was trained with R = 0, without attention: there are no maps to draw")
    if isinstance(attention_layer(model), WholeSoftmaxRCCA):
        raise ValueError(
            f"{args.restore_from} is of a Jittor port whose softmax runs over the whole image, so no pixel has weights "
            "that add up to 1: there are no maps to draw. Fix: name another checkpoint"
        )
    if getattr(model, "frames", 1) > 1:
        raise ValueError(
            f"{args.restore_from} takes clips of {model.frames} frames, whose attention also runs over time: there are "
            "no maps of a single image to draw. Fix: name a checkpoint without --frames"
        )
    if recurrence != meta["recurrence"]:
        print(f"trained with R = {meta['recurrence']}, drawn with R = {recurrence} (--recurrence)")
    attention_layer(model).recurrence = recurrence
    return model, meta


def main():
    args = parse_args()
    machine = runtime.start(args.device)

    from datasets import transforms
    from datasets.classes import classes_of
    from models.cca.functional import resolve
    from utils.drawing import attention_effect
    from utils.drawing.attention_figure import attention_figure

    model, meta = load(args)
    image = read_image(args.input, args.max_side)
    height, width = image.shape[:2]
    points = args.point or [(width // 2, height // 2)]
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"--point {x},{y} is outside the image of {width}x{height} pixels; 0,0 is its top left")

    print(runtime.describe(machine, resolve("auto")))
    passes, label, effect = run_network(model, transforms.normalise(image, meta["normalisation"]), (height, width))
    remark = {"remark": attention_effect.describe(effect), "warning": attention_effect.is_negligible(effect)}
    print(remark["remark"])
    (names, palette, _), image = classes_of(meta), image[:, :, ::-1]  # RGB from here on

    output = Path(args.output or f"runs/attention/{Path(args.input).stem}.png")
    os.makedirs(output.parent, exist_ok=True)
    entries = [point_entry(passes, label, names, point) for point in points]
    attention_figure(image, entries, **remark).save(output)
    print(f"figure: {output}")
    if args.html:
        facts = {
            "image": f"{Path(args.input).name}, {width} × {height}",
            "attention": "{1} × {0} cells, R = {2}".format(*passes[0].shape[:2], len(passes)),
            "network": f"{meta['model']} after {meta.get('step', '?')} steps on {meta.get('dataset', '?')}",
            "γ (gamma)": f"{effect['gamma']:.4g}",
            "checkpoint": meta["checkpoint"],
        }
        write_page(args.html, image, label, passes, names, palette, points[0], facts, remark)


def write_page(path, image, label, passes, names, palette, point, facts, remark):
    from models.cca.maps import attention_map
    from utils.pages import attention, build

    error = attention.quantisation_error(passes, attention_map)
    text = attention.attention_page(image, label, passes, names, palette, point, facts, error, **remark)
    os.makedirs(Path(path).resolve().parent, exist_ok=True)
    size = build.write(path, text)
    print(
        f"page: {path}, {size / 1e6:.1f} MB; its weights have 8 bits: at most {100 * error['bound']:.2f} % of the "
        f"attention of a map is misplaced, and values differ by up to {100 * error['measured']:.2f} % of the largest"
    )


def point_entry(passes, label, names, point):
    """What the figure shows of one point (x, y): its class, and a map and a path for each number of passes."""
    from models.cca.maps import attention_map, strongest_path
    from utils.drawing.attention_figure import to_cell

    (x, y), (height, width) = point, label.shape
    cell = (to_cell(y, height, passes[0].shape[0]), to_cell(x, width, passes[0].shape[1]))
    return {
        "point": point,
        "name": names[label[y, x]],
        "maps": [attention_map(passes[: r + 1], *cell) for r in range(len(passes))],
        "paths": [strongest_path(passes[: r + 1], *cell) for r in range(len(passes))],
    }


def attention_layer(model):
    from models.cca import CrissCrossAttention

    layers = [m for m in model.modules() if isinstance(m, CrissCrossAttention)]
    if len(layers) != 1:
        raise ValueError(f"this network has {len(layers)} criss-cross attention layers; maps need exactly one")
    return layers[0]


def run_network(model, image, size):
    """image: (3, H, W), normalised -> the attention weights of each pass, the predicted classes (H, W), and the effect
    of the attention (attention_effect.measure)."""
    import jittor as jt

    from models.cca.maps import attention_passes
    from utils.drawing import attention_effect
    from utils.evaluation.inference import predict

    layer, inputs = attention_layer(model), []
    layer.register_pre_forward_hook(lambda module, args: inputs.append(args[0]))
    model.eval()
    with jt.no_grad():
        label = predict(model, [image], [size])[0]
        effect = attention_effect.measure(layer, inputs[0], label, lambda: predict(model, [image], [size])[0])
        return attention_passes(layer, inputs[0], layer.recurrence), label, effect


if __name__ == "__main__":
    runtime.run(main, "visualize_attention.py")
