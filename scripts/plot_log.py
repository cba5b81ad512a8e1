"""Draw the loss curves of several runs in one chart, and measure how much they differ.

    python scripts/plot_log.py runs/a/log.csv runs/b/log.csv --out figures/curves.svg
    python scripts/plot_log.py reference.csv port.csv --max-relative 0.05 --max-absolute 0.0002

The first file is the reference; each other file is compared with it, over the steps that both have. With a limit the
exit code is 1 if the mean error of a run is above it; with both limits, if it is above both.
The extension of --out, .png or .svg, sets the format; missing folders are created.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def chart_path(text):
    if Path(text).suffix.lower() not in (".png", ".svg"):
        raise argparse.ArgumentTypeError(f"{text!r} must end in .png or .svg, for example curves.png")
    return Path(text)


def parse_args(argv=None):
    parser = argparse.ArgumentParser("plot_log.py", description=__doc__.split("\n")[0])
    parser.add_argument(
        "logs", nargs="+", metavar="LOG.csv", help="log.csv of a run, or its folder; the reference first"
    )
    parser.add_argument("--column", default="loss", help="column to draw (default: %(default)s)")
    parser.add_argument(
        "--out", type=chart_path, default="curves.png", metavar="FILE", help=".png or .svg (default: %(default)s)"
    )
    parser.add_argument("--smooth", type=float, default=0.9, help="weight of the running mean (default: %(default)s)")
    text = "exit code 1 if a mean relative error is above X, and not below --max-absolute (default: no limit)"
    parser.add_argument("--max-relative", type=float, metavar="X", help=text)
    text = "exit code 1 if a mean absolute error is above X, and not below --max-relative (default: no limit)"
    parser.add_argument("--max-absolute", type=float, metavar="X", help=text)
    return parser.parse_args(argv)


def curve(path, column):
    """-> steps, values: the rows whose value is finite."""
    import numpy as np

    from utils.training.logger import read_log

    path = Path(path)
    rows = read_log(path / "log.csv" if path.is_dir() else path)
    if column not in rows or "step" not in rows:
        raise ValueError(f"{path} has no column {column!r}; it has {', '.join(rows) or 'no rows'}")
    steps, values = np.array(rows["step"]), np.array(rows[column])
    keep = np.isfinite(values)
    if not keep.any():
        raise ValueError(f"{path} has no finite value in column {column!r}")
    return steps[keep], values[keep]


def difference(reference, other):
    """-> {"steps", "mean_relative_error", "mean_absolute_error", "mean_signed_relative_error"}, over common steps."""
    import numpy as np

    _, first, second = np.intersect1d(reference[0], other[0], return_indices=True)
    if not first.size:
        raise ValueError("the two logs have no step in common")
    a, b = reference[1][first], other[1][second]
    relative = (b - a) / np.maximum(abs(a), 1e-12)
    return {
        "steps": int(first.size),
        "mean_relative_error": float(abs(relative).mean()),
        "mean_absolute_error": float(abs(b - a).mean()),
        "mean_signed_relative_error": float(relative.mean()),
    }


def passes(errors, limits):
    """`limits`: {name of an error: largest value, or None}; one that is kept is enough, as is none at all."""
    given = {name: limit for name, limit in limits.items() if limit is not None}
    return not given or any(errors[name] <= limit for name, limit in given.items())


def draw(path, curves, title, smooth):
    """curves: {name: (steps, values)}. The file is written atomically."""
    from utils.drawing.curves import plot_curves
    from utils.drawing.svg_chart import line_chart, standalone
    from utils.files import whole_file

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".svg":
        width, height = 860, 420
        chart = line_chart(curves, title, "step", (width, height), smooth=smooth)
        with whole_file(path, "w", encoding="utf-8") as file:
            file.write(standalone(chart, width, height, title))
    else:
        with whole_file(path) as file:
            plot_curves(curves, title, "step", smooth=smooth).save(file, "png")


def main():
    args = parse_args()
    curves = [curve(path, args.column) for path in args.logs]
    names = [Path(path).parent.name if Path(path).name == "log.csv" else Path(path).stem for path in args.logs]
    names = [name if names.count(name) == 1 else path for name, path in zip(names, args.logs)]
    draw(args.out, dict(zip(names, curves)), args.column, args.smooth)
    limits = {"mean_relative_error": args.max_relative, "mean_absolute_error": args.max_absolute}
    failed = False
    for name, other in zip(names[1:], curves[1:]):
        errors = difference(curves[0], other)
        good = passes(errors, limits)
        failed |= not good
        print(json.dumps({"reference": names[0], "run": name, **errors, "passes": good}))
    print(f"curves in {args.out}")
    if failed:
        flags = {"--max-relative": args.max_relative, "--max-absolute": args.max_absolute}
        above = " and ".join(f"{flag} {value}" for flag, value in flags.items() if value is not None)
        raise ValueError(f"the mean error of a run is above {above}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"plot_log.py: {error}")
