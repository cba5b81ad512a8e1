"""The figure of long_range.py: two images with attention maps, and curves of accuracy and gamma."""

from pathlib import Path

from PIL import Image, ImageDraw

TITLES = ("image", "attention of R = 1", "attention of R = 2", "R = 2 over the image")
LABELS = {"r0": "no attention", "r1": "R = 1", "r2": "R = 2", "non_local": "non-local"}
TILE, GAP, HEAD, CAPTION = 210, 10, 34, 26  # pixels: width of a tile, between tiles, above them, below each


def beacon_maps(model, meta, half, index):
    """Image `index` of a half of `val` -> its pixels (H, W, 3) RGB, {"point", "name", "paths"} of the region's centre,
    its attention map after each pass, and a mask of the cells on the beacon and beside it."""
    import jittor as jt
    import numpy as np

    from datasets.scenes.beacons import NAMES, SIDE, Beacons, draw_beacon
    from datasets.transforms import normalise
    from models.cca.maps import attention_map, attention_passes, strongest_path
    from utils.drawing.attention_figure import to_cell
    from utils.evaluation.inference import predict

    first, _, step = Beacons.splits[f"val_{half}"]
    size = meta["data"]["scene_size"]
    image, _, places = draw_beacon(0, first + step * index, *size)
    inputs = []
    layer = model.head.cca
    layer.register_pre_forward_hook(lambda module, args: inputs.append(args[0]))
    model.eval()
    with jt.no_grad():
        prediction = predict(model, [normalise(image, meta["normalisation"])], [size])[0]
        passes = attention_passes(layer, inputs[0], layer.recurrence)
    layer.remove_pre_forward_hook()
    y, x = (start + SIDE // 2 for start in places["region"])
    cells = passes[0].shape[:2]
    cell = tuple(to_cell(*one) for one in zip((y, x), size, cells))
    entry = {"point": (x, y), "name": f"{half}: {NAMES[prediction[y, x]]}"}
    entry["paths"] = [strongest_path(passes[: r + 1], *cell) for r in range(len(passes))]
    near = np.zeros(cells, bool)
    ends = [(to_cell(a, s, c) - 1, to_cell(a + SIDE - 1, s, c) + 2) for a, s, c in zip(places["beacon"], size, cells)]
    near[tuple(slice(max(low, 0), high) for low, high in ends)] = True
    return image[:, :, ::-1], entry, [attention_map(passes[: r + 1], *cell) for r in range(len(passes))], near


def maps_part(paths, load, index):
    """-> a Pillow image: a row of tiles for each half, with the maps of both networks of the first seed."""
    from utils.drawing.attention_figure import SOFT, tiles_of
    from utils.drawing.figures import INK, PAPER, font, shortened

    seed = min(set(paths["r1"]) & set(paths["r2"]))
    networks = [load(paths[name][seed]) for name in ("r1", "r2")]
    row_height = TILE + CAPTION + GAP
    part = Image.new("RGB", (GAP + len(TITLES) * (TILE + GAP), HEAD + 2 * row_height), PAPER)
    draw = ImageDraw.Draw(part)
    for column, title in enumerate(TITLES):
        draw.text((GAP + column * (TILE + GAP), 8), title, INK, font(16))
    for row, half in enumerate(("cross", "anywhere")):
        (_, _, one, _), (image, entry, two, _) = (beacon_maps(*network, half, index) for network in networks)
        entry["maps"] = [one[-1], two[-1]]
        for column, (tile, text) in enumerate(tiles_of(image, entry, (TILE, TILE), 0.75)):
            x, y = GAP + column * (TILE + GAP), HEAD + row * row_height
            part.paste(tile, (x, y))
            draw.text((x, y + TILE + 4), shortened(text, font(14), TILE), SOFT, font(14))
    return part


def mean_curve(paths, file, column, scale=1.0):
    """-> steps, mean over the seeds of |column|: the sign of gamma has no meaning, as values can change theirs."""
    import numpy as np

    from utils.training.logger import read_log

    tables = [read_log(Path(path).parent / file) for path in paths.values()]
    count = min(len(table["step"]) for table in tables)
    return tables[0]["step"][:count], np.mean([np.abs(table[column][:count]) for table in tables], 0) * scale


def figure(folder, paths, load, index=0):
    from utils.drawing.curves import plot_curves
    from utils.drawing.figures import PAPER

    top = maps_part(paths, load, index)
    seeds = len(paths["r2"])
    mean = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
    half_width = (top.width // 2, 300)
    scores = {
        LABELS[name]: mean_curve(runs, "validation.csv", "pixel_accuracy", 100)
        for name, runs in paths.items()
        if all((Path(path).parent / "validation.csv").is_file() for path in runs.values())
    }
    gammas = {LABELS[name]: mean_curve(runs, "log.csv", "gamma") for name, runs in paths.items()}
    charts = [(scores, f"accuracy on both halves, %, {mean}"), (gammas, f"absolute value of gamma, {mean}")]
    whole = Image.new("RGB", (top.width, top.height + half_width[1]), PAPER)
    whole.paste(top, (0, 0))
    for number, (curves, title) in enumerate(charts):
        if curves:
            whole.paste(plot_curves(curves, title, "step", half_width), (number * half_width[0], top.height))
    return whole
