"""The attention of one image as an HTML page that computes the map of any pixel.

The page stores the weights of each pass with 8 bits each: code = round(255 sqrt(w / largest weight of its row)), and
reads a row back as code^2 / sum of code^2. Rows still sum to 1, nothing but the codes is stored, and the square root
keeps small weights.
"""

import numpy as np

from utils.drawing.heat import heat_table
from utils.pages import build


def quantise(weights):
    """(H, W, H + W), rows summing to 1 -> uint8 codes."""
    largest = weights.max(-1, keepdims=True)
    return np.rint(255 * np.sqrt(weights / np.maximum(largest, 1e-30))).astype(np.uint8)


def restore(codes):
    """The weights that the page computes from the codes."""
    squares = codes.astype(np.float64) ** 2
    return squares / squares.sum(-1, keepdims=True)


def quantisation_error(passes, attention_map, points=200, seed=0):
    """How much the maps of the page differ from exact ones. `attention_map` is models.cca.maps.attention_map.

    -> {"bound": the largest fraction of its attention that any map has at other positions than the exact map; the
    fractions of the passes add up, because rows sum to 1. "measured": the largest difference at any position, relative
    to the largest value of the map, over "points" random pixels, or over all if there are fewer}
    """
    stored = [restore(quantise(weights)) for weights in passes]
    bound = sum(float(abs(a - b).sum(-1).max()) for a, b in zip(passes, stored)) / 2
    height, width = passes[0].shape[:2]
    every = np.arange(height * width)
    chosen = every if len(every) <= points else np.random.default_rng(seed).choice(every, points, replace=False)
    measured = 0.0
    for index in chosen:
        exact, ours = (attention_map(p, index // width, index % width) for p in (passes, stored))
        measured = max(measured, float(abs(exact - ours).max() / exact.max()))
    return {"bound": bound, "measured": measured, "points": len(chosen)}


def attention_page(image, label, passes, names, palette, point, facts, error, remark="", warning=False):
    """-> HTML. image: (H, W, 3) RGB uint8; label: (H, W), predicted classes; passes: from attention_passes; point:
    (x, y) in the image; facts: {name: text} for the foot of the page; error: from quantisation_error; remark: a
    sentence for the head of the page, emphasised if `warning` is set."""
    data = {
        "size": list(label.shape),
        "grid": list(passes[0].shape[:2]),
        "passes": [build.pack(quantise(weights)) for weights in passes],
        "label": build.pack(label),
        "names": list(names),
        "palette": [list(map(int, colour)) for colour in palette],
        "heat": heat_table().tolist(),
        "point": list(point),
    }
    rows = "".join(f"<dt>{build.escape(name)}</dt><dd>{build.escape(value)}</dd>" for name, value in facts.items())
    emphasis = " class='warning' role='note'" if warning else ""
    return build.build(
        "attention.html",
        title=build.escape(facts.get("image", "an image")),
        image=build.data_uri(image, quality=90),
        passes=str(len(passes)),
        aspect=f"{label.shape[1]} / {label.shape[0]}",
        ratio=f"{label.shape[1] / label.shape[0]:.4f}",
        bound=f"{100 * error['bound']:.2f}",
        measured=f"{100 * error['measured']:.2f}",
        points=str(error["points"]),
        facts=rows,
        remark=f"<p id='remark'{emphasis}>{build.escape(remark)}</p>" if remark else "",
        data=build.as_json(data),
    )
