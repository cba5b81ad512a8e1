"""The attention of a picture as one HTML page that computes the map of any pixel itself.

Stored are the weights of each pass, 8 bits a weight: c = round(255 sqrt(w / largest of the row)). The page reads a row
back as c^2 / sum of c^2, so that rows still sum to 1 and nothing but c is stored. The square root keeps small weights.
"""

import numpy as np

from utils.drawing.heat import heat_table
from utils.pages import build


def quantise(weights):
    """(H, W, H + W), rows summing to 1 -> uint8 codes."""
    largest = weights.max(-1, keepdims=True)
    return np.rint(255 * np.sqrt(weights / np.maximum(largest, 1e-30))).astype(np.uint8)


def restore(codes):
    """What the page makes of the codes."""
    squares = codes.astype(np.float64) ** 2
    return squares / squares.sum(-1, keepdims=True)


def quantisation_error(passes, attention_map, points=200, seed=0):
    """How far the page's maps are from exact ones.

    `bound`: no map of R passes has more than this part of its attention elsewhere. Rows of each pass sum to 1, so the
    parts moved by the passes add up. `measured`: the largest difference at any position, as a part of the map's largest
    value, over `points` pixels (or all, if there are no more). `attention_map` is that of models.cca.maps.
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


def attention_page(picture, label, passes, names, palette, point, facts, error, remark="", warning=False):
    """-> HTML. picture (H, W, 3) RGB uint8, label (H, W) predicted classes, passes as from attention_passes, point
    (x, y) in the picture, facts: {name: text} for the foot of the page, error: from quantisation_error, remark: a
    sentence for its head, marked if it is a warning."""
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
    warned = " class='warning' role='note'" if warning else ""
    return build.build(
        "attention.html",
        title=build.escape(facts.get("picture", "picture")),
        picture=build.data_uri(picture, quality=90),
        passes=str(len(passes)),
        aspect=f"{label.shape[1]} / {label.shape[0]}",
        ratio=f"{label.shape[1] / label.shape[0]:.4f}",
        bound=f"{100 * error['bound']:.2f}",
        measured=f"{100 * error['measured']:.2f}",
        points=str(error["points"]),
        facts=rows,
        remark=f"<p id='remark'{warned}>{build.escape(remark)}</p>" if remark else "",
        data=build.as_json(data),
    )
