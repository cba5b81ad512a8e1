#!/usr/bin/env python3
"""Where a pixel looks: the attention maps of a trained network after one pass and after two, as in the paper's figure.

    python scripts/visualize_attention.py --restore-from runs/demo/CS_scenes_500.npz --input street.png --point 60,90
    python scripts/visualize_attention.py ... --point 60,90 200,40 --html attention.html

The figure: picture with a green cross, a map for each number of passes, the last one over the picture with a line to
the pixel that is looked at most. The page (--html) needs no server and computes the map of whatever pixel is clicked.
Both state gamma and what the attention changes in this image, and say so where that is almost nothing.
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
        raise argparse.ArgumentTypeError(f"{text!r} is no point; expected X,Y in pixels, for example 60,90") from None
    return x, y


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--restore-from", required=True, metavar="FILE", help="of train.py, or a released file")
    shared.add_source(parser.add_argument)
    parser.add_argument("--input", required=True, metavar="IMAGE", help="a picture of any size")
    parser.add_argument(
        "--point", nargs="+", action="extend", type=point, metavar="X,Y", help="pixels to ask (default: the middle)"
    )
    parser.add_argument("--output", metavar="PNG", help="default: runs/attention/<name of the picture>.png")
    parser.add_argument("--html", metavar="OUT.html", help="also write a page that answers for every pixel")
    parser.add_argument("--recurrence", type=shared.positive, metavar="R", help="passes (default: the checkpoint's)")
    parser.add_argument(
        "--max-side", type=shared.positive, default=2048, help="scale larger pictures down (default: %(default)s)"
    )
    parser.add_argument("--device", choices=runtime.DEVICES, default="auto", help="default: %(default)s")
    return parser.parse_args(argv)


def read_picture(path, max_side):
    """-> (H, W, 3) BGR uint8, turned as its EXIF says."""
    import cv2

    from utils.media import read_upright

    image = read_upright(path)
    height, width = image.shape[:2]
    if max(height, width) <= max_side:
        return image
    factor = max_side / max(height, width)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    print(f"picture of {width}x{height} scaled to {size[0]}x{size[1]} (--max-side); points count in these pixels")
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def main():
    args = parse_args()
    machine = runtime.start(args.device)

    from datasets import transforms
    from datasets.classes import classes_of
    from models import build_model
    from models.cca.functional import resolve
    from models.cca.maps import attention_map
    from utils.drawing import attention_effect
    from utils.drawing.attention_figure import attention_figure
    from utils.pages import attention, build
    from utils.weights import network

    asked = dict.fromkeys(("model", "num_classes", "recurrence", "van_size"))  # the file says it all
    model, meta = network.load_network(args.restore_from, build_model, asked, source=args.source)
    for remark in meta["remarks"]:
        print(remark)
    recurrence = args.recurrence or meta["recurrence"]
    if recurrence < 1:
        raise ValueError(f"{args.restore_from} was trained with R = 0, without attention: there is nothing to see")
    if recurrence != meta["recurrence"]:
        print(f"trained with R = {meta['recurrence']}, asked for R = {recurrence}")
    attention_layer(model).recurrence = recurrence
    picture = read_picture(args.input, args.max_side)
    height, width = picture.shape[:2]
    points = args.point or [(width // 2, height // 2)]
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"--point {x},{y} is outside the picture of {width}x{height} pixels; 0,0 is its top left")

    print(runtime.describe(machine, resolve("auto")))
    passes, label, effect = watch(model, transforms.normalise(picture, meta["normalisation"]), (height, width))
    remark = {"remark": attention_effect.sentence(effect), "warning": attention_effect.is_little(effect)}
    print(remark["remark"])
    (names, palette, _), picture = classes_of(meta), picture[:, :, ::-1]  # RGB from here on

    output = Path(args.output or f"runs/attention/{Path(args.input).stem}.png")
    os.makedirs(output.parent, exist_ok=True)
    at_points = [at_point(passes, label, names, point) for point in points]
    attention_figure(picture, at_points, **remark).save(output)
    print(f"figure: {output}")

    if args.html:
        cells = "{1} × {0} cells".format(*passes[0].shape)
        facts = {
            "picture": f"{Path(args.input).name}, {width} × {height}",
            "attention": f"{cells}, R = {recurrence}",
            "network": f"{meta['model']} after {meta.get('step', '?')} steps on {meta.get('dataset', '?')}",
            "γ (gamma)": f"{effect['gamma']:.4g}",
            "checkpoint": meta["checkpoint"],
        }
        error = attention.quantisation_error(passes, attention_map)
        text = attention.attention_page(picture, label, passes, names, palette, points[0], facts, error, **remark)
        os.makedirs(Path(args.html).resolve().parent, exist_ok=True)
        size = build.write(args.html, text)
        print(
            f"page: {args.html}, {size / 1e6:.1f} MB, weights kept with 8 bits: at most {100 * error['bound']:.2f} % "
            f"of a map's attention elsewhere, positions within {100 * error['measured']:.2f} % of its largest value"
        )


def at_point(passes, label, names, point):
    """What the figure shows of one point (x, y): its class, its map and its line for each number of passes."""
    from models.cca.maps import attention_map, strongest_path
    from utils.drawing.attention_figure import to_cell

    (x, y), (height, width) = point, label.shape
    cell = (to_cell(y, height, passes[0].shape[0]), to_cell(x, width, passes[0].shape[1]))
    return {
        "point": point,
        "name": names[label[y, x]],
        "maps": [attention_map(passes[: r + 1], *cell) for r in range(len(passes))],
        "ways": [strongest_path(passes[: r + 1], *cell) for r in range(len(passes))],
    }


def attention_layer(model):
    from models.cca import CrissCrossAttention

    layers = [m for m in model.modules() if isinstance(m, CrissCrossAttention)]
    if len(layers) != 1:
        raise ValueError(f"this network has {len(layers)} criss-cross attention layers; maps are drawn for one")
    return layers[0]


def watch(model, image, size):
    """image (3, H, W) normalised -> the weights of each pass in the attention layer, predicted classes (H, W), and
    what the attention changes (attention_effect.measure)."""
    import jittor as jt

    from models.cca.maps import attention_passes
    from utils.drawing import attention_effect
    from utils.evaluation.inference import predict

    layer, seen = attention_layer(model), []
    layer.register_pre_forward_hook(lambda module, inputs: seen.append(inputs[0]))
    model.eval()
    with jt.no_grad():
        label = predict(model, [image], [size])[0]
        effect = attention_effect.measure(layer, seen[0], label, lambda: predict(model, [image], [size])[0])
        return attention_passes(layer, seen[0], layer.recurrence), label, effect


if __name__ == "__main__":
    runtime.run(main, "visualize_attention.py")
