#!/usr/bin/env python3
"""Draw the figures of the README.

    scripts/demo.sh && python scripts/draw_figures.py --run runs/demo

Writes architecture.svg, criss_cross.svg, attention.png (with scripts/visualize_attention.py) and demo.png (the contact
sheet of the run) into images/. scripts/benchmark/cca.py writes images/cca_cost.svg.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from utils import runtime  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
SCENE, POINTS = 1_000_010, ("25,55", "196,50")
BLUE, ORANGE, GREEN, GREY = "#1f63b2", "#c25404", "#17805f", "#6b7280"
STYLE = """
.small { fill: #5b6472 } .head { font-size: 15px; font-weight: 600 } .middle { text-anchor: middle }
.arrow { fill: none; stroke: #5b6472; stroke-width: 1.6 } .dash { stroke-dasharray: 5 4 }
"""


# ------------------------------------------------------------------------------------------------- SVG elements


def arrow_heads():
    """Arrow heads, grey and blue."""
    marker = (
        '<marker id="{}" viewBox="0 0 8 8" refX="7" refY="4" markerUnits="userSpaceOnUse" markerWidth="10" '
        'markerHeight="10" orient="auto"><path d="M0 0L8 4L0 8z" fill="{}"/></marker>'
    )
    return f"<defs>{marker.format('tip', GREY)}{marker.format('blue', BLUE)}</defs>"


def box(x, y, width, height, colour, *lines):
    """A rounded box; the first line is bold, all are centred."""
    parts = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{colour}" fill-opacity=".10" '
        f'stroke="{colour}" stroke-width="1.6"/>'
    ]
    first = y + height / 2 - 9 * (len(lines) - 1) + 5
    for k, line in enumerate(lines):
        parts.append(text(x + width / 2, first + 18 * k, line, "small middle" if k else "middle"))
    return "".join(parts)


def arrow(path, css_class=""):
    return f'<path class="arrow {css_class}" d="{path}" marker-end="url(#tip)"/>'


def text(x, y, content, css_class="small middle"):
    return f'<text class="{css_class}" x="{x}" y="{y}">{content}</text>'


def image(x, y, uri):
    return f'<image x="{x}" y="{y}" width="128" height="64" href="{uri}"/>'


# -------------------------------------------------------------------------------------------------------- figures


def architecture(photo, prediction):
    """Two rows: the network, and one pass of its attention."""
    from utils.drawing.svg_chart import standalone
    from utils.pages.build import data_uri

    network = [
        text(24, 32, "CCNet", "head"),
        image(24, 86, data_uri(photo, 90)),
        text(88, 168, "3 × H × W"),
        arrow("M156 118H184"),
        box(188, 78, 150, 80, BLUE, "dilated ResNet", "stem, stages 1 to 4", "stride 8"),
        arrow("M338 118H376"),
        box(380, 88, 96, 60, GREEN, "conv 3×3", "to 512"),
        arrow("M476 118H514"),
        box(518, 70, 160, 96, ORANGE, "criss-cross attention", "x′ = γ · out + x", "R = 2 passes"),
        arrow("M660 70C660 36 536 36 536 66"),
        text(598, 34, "repeated with the same weights"),
        arrow("M678 118H716"),
        box(720, 88, 96, 60, GREEN, "conv 3×3", "512"),
        arrow("M816 118H854"),
        box(858, 78, 124, 80, GREEN, "concat, conv", "2560 to 512", "to K classes"),
        arrow("M357 118V200H920V162", "dash"),
        text(640, 193, "skip connection: the features, 2048 × H/8 × W/8"),
        arrow("M982 118H1010"),
        image(1014, 86, data_uri(prediction)),
        text(1078, 168, "K × H × W"),
        arrow("M263 158V240"),
        text(272, 186, "stage 3", "small"),
        box(178, 244, 170, 62, GREY, "auxiliary head", "in training, loss × 0.4"),
    ]
    one_pass = [
        f'<rect x="380" y="226" width="762" height="184" rx="8" fill="{ORANGE}" fill-opacity=".05"/>',
        text(394, 248, "one pass", "head"),
        text(402, 330, "x", "middle"),
        *(box(450, 260 + 46 * k, 118, 38, GREEN, f"{name} 1×1") for k, name in enumerate(("query", "key", "value"))),
        *(arrow(f"M426 325V{279 + 46 * k}H446") for k in (0, 2)),
        arrow("M410 325H446"),
        arrow("M568 279H610"),
        arrow("M568 325H592V305H610"),
        text(590, 272, "64"),
        text(590, 344, "64"),
        text(590, 364, "512"),
        box(614, 260, 206, 62, ORANGE, "⟨q, k⟩ along row and column", "softmax over H + W − 1"),
        arrow("M820 291H896V318"),
        arrow("M568 371H896V364"),
        box(836, 322, 120, 38, ORANGE, "weighted sum"),
        arrow("M956 341H1012"),
        text(982, 333, "× γ"),
        f'<circle cx="1026" cy="341" r="12" fill="none" stroke="{GREY}" stroke-width="1.6"/>',
        text(1026, 346, "+", "middle"),
        arrow("M410 330V400H1026V357", "dash"),
        text(702, 394, "residual"),
        arrow("M1038 341H1076"),
        text(1092, 346, "x′", "middle"),
    ]
    label = "The CCNet network, and one pass of its attention"
    return standalone("\n".join([arrow_heads(), *network, *one_pass]), 1166, 428, label, STYLE)


CELL, CENTRE = 24, (6, 4)  # side of a drawn cell, and the pixel (y, x) whose attention is drawn


def criss_cross(rows=9, columns=13, far=(1, 10)):
    """The pixels that CENTRE attends to: non-local attention, one pass and two of criss-cross attention; equal weights.

    A line leads from the pixel `far` to CENTRE, where there is a path.
    """
    import numpy as np

    from models.cca.maps import attention_map
    from utils.drawing.svg_chart import standalone

    equal = np.full((rows, columns, rows + columns), 1 / (rows + columns - 1))
    for y in range(rows):
        equal[y, :, y] = 0  # each pixel attends to itself once, in its row
    panels = (
        ("Non-local", np.full((rows, columns), 1 / (rows * columns)), [far, CENTRE]),
        ("Criss-cross, R = 1", attention_map([equal], *CENTRE), []),
        ("Criss-cross, R = 2", attention_map([equal, equal], *CENTRE), [far, (far[0], CENTRE[1]), CENTRE]),
    )
    parts = [arrow_heads()]
    for k, (content, costs) in enumerate(zip(panels, paper_costs())):
        parts += panel(28 + k * (columns * CELL + 40), 48, *content, costs)
    width, height = 56 + 3 * columns * CELL + 80 - 2, 48 + rows * CELL + 60
    label = "The pixels that one pixel attends to, with non-local and with criss-cross attention"
    return standalone("".join(parts), width, height, label, STYLE)


def panel(left, top, title, weights, path, lines):
    """-> SVG elements: a grid of cells shaded by `weights`, a line along `path`, a cross at CENTRE, text below."""
    import numpy as np

    def place(y, x):
        return left + (x + 0.5) * CELL - 1, top + (y + 0.5) * CELL - 1

    parts = [text(left, top - 16, title, "head")]
    for y, x in np.ndindex(weights.shape):
        shade = 0.12 + 0.6 * np.sqrt(weights[y, x] / weights.max()) if weights[y, x] else 1
        parts.append(
            f'<rect x="{left + x * CELL}" y="{top + y * CELL}" width="{CELL - 2}" height="{CELL - 2}" rx="2" '
            f'fill="{ORANGE if weights[y, x] else "#e6e9ee"}" fill-opacity="{shade:.2f}"/>'
        )
    if path:
        stops = [place(*cell) for cell in path]
        (x0, y0), (x1, y1) = stops[-2:]
        part = 1 - 11 / np.hypot(x1 - x0, y1 - y0)  # the tip stops before the cross
        line = [*stops[:-1], (x0 + part * (x1 - x0), y0 + part * (y1 - y0))]
        data = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line)
        parts.append(f'<path d="{data}" fill="none" stroke="{BLUE}" stroke-width="2.4" marker-end="url(#blue)"/>')
        parts.append(f'<circle cx="{stops[0][0]}" cy="{stops[0][1]}" r="6" fill="{BLUE}"/>')
    x, y = place(*CENTRE)
    for colour, thickness, arm in (("#ffffff", 7, 9.5), (GREEN, 4, 8)):
        data = f"M{x - arm} {y}h{2 * arm}M{x} {y - arm}v{2 * arm}"
        parts.append(f'<path d="{data}" stroke="{colour}" stroke-width="{thickness}"/>')
    for n, line in enumerate(lines):
        parts.append(text(left, top + weights.shape[0] * CELL + 22 + 20 * n, line, "small" if n else ""))
    return parts


def paper_costs(channels=512, side=97):
    """Operations as counted by the benchmark, with the projections, at the size of the paper."""
    from scripts.benchmark import cca

    size = (1, channels, side, side)

    def gflop(name, passes):
        return passes * (cca.operations(name, *size) + cca.projections(*size)) / 1e9

    at = f"at {side}×{side}, {channels} channels"
    return (
        (f"each pixel attends to all {side * side}", f"{gflop('non-local', 1):.0f} GFLOP {at}"),
        (f"each pixel attends to {2 * side - 1}", f"{gflop('fused', 1):.1f} GFLOP {at}"),
        (f"twice {2 * side - 1}, reaches all {side * side}", f"{gflop('fused', 2):.1f} GFLOP {at}"),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", default="runs/demo", help="--snapshot-dir of scripts/demo.sh (default: %(default)s)")
    parser.add_argument("--out", default=str(ROOT / "images"), help="folder of the figures (default: images)")
    args = parser.parse_args()
    checkpoints = sorted(Path(args.run).glob("CS_scenes_*.npz"), key=lambda path: path.stat().st_mtime)
    if not checkpoints:
        raise FileNotFoundError(f"no checkpoint in {args.run}; scripts/demo.sh writes one")
    runtime.start("cpu")

    from PIL import Image

    from datasets import transforms
    from datasets.scenes.dataset import PALETTE, draw_scene
    from models import build_model
    from utils.drawing.figures import colourise
    from utils.evaluation.inference import predict
    from utils.weights.network import load_network

    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    settings = dict.fromkeys(("model", "num_classes", "recurrence", "van_size"))  # all read from the checkpoint
    model, meta = load_network(str(checkpoints[-1]), build_model, settings)
    model.eval()
    scene = draw_scene(0, SCENE, 128, 256)[0]
    label = predict(model, [transforms.normalise(scene, meta["normalisation"])], [scene.shape[:2]])[0]
    (out / "architecture.svg").write_text(architecture(scene[:, :, ::-1], colourise(label, PALETTE)))
    (out / "criss_cross.svg").write_text(criss_cross())

    photo = Path(args.run) / "scene.png"
    Image.fromarray(scene[:, :, ::-1].copy()).save(photo)
    command = [sys.executable, ROOT / "scripts" / "visualize_attention.py", "--restore-from", checkpoints[-1]]
    command += ["--input", photo, "--point", *POINTS, "--output", out / "attention.png", "--device", "cpu"]
    subprocess.run(command, check=True)
    if (Path(args.run) / "sheet.png").is_file():
        shutil.copy(Path(args.run) / "sheet.png", out / "demo.png")
    print(f"figures: {out}")


if __name__ == "__main__":
    runtime.run(main, "draw_figures.py")
