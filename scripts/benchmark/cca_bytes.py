#!/usr/bin/env python3
"""Bytes and operations of each attention kernel on a GPU, counted from the shapes, and the time they need at least.

    python scripts/benchmark/cca_bytes.py                                    # 8x512x97x97 with 64 query channels
    python scripts/benchmark/cca_bytes.py --size 128,256 --batch 1 --dtypes float32 bfloat16

Nothing is measured. Each launch is counted as if it moved each of its tensors once; smaller tiles, single lines across
memory and unaligned rows add to that. A multiply-add is two operations, and the squares of 16 x 16 at the end of a line
are not counted as full.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils.options import shared  # noqa: E402

SIZES = {"float32": 4, "float16": 2, "bfloat16": 2}
# bytes per second, operations per second in float32, float16 and bfloat16. Memory: 90% of the data sheet; tensor cores:
# 80%; float32 without tensor cores: the data sheet.
CARDS = {
    "V100": (0.81e12, {"float32": 15.7e12, "float16": 100e12, "bfloat16": 15.7e12}),
    "A100": (1.84e12, {"float32": 19.5e12, "float16": 250e12, "bfloat16": 250e12}),
    "H100": (3.0e12, {"float32": 67e12, "float16": 790e12, "bfloat16": 790e12}),
    "H200": (4.3e12, {"float32": 67e12, "float16": 790e12, "bfloat16": 790e12}),
}


def attention_cost(batch, cq, c, h, w, dtype, by_image=False):
    """-> {kernel: (bytes, operations)} of one attention, forward and backward, both axes together.

    forward: statistics, values; backward: delta, gradients. by_image: with CCA_BOTH_AXES=1, if the L2 cache holds the
    values of an image and its sums, so that `values` reads and writes each tensor once for both axes.
    """
    size, positions = SIZES[dtype], batch * h * w
    axes = [side for side, contributes in ((h, h > 1), (w, True)) if contributes]
    launches, line = len(axes), 2 * positions * sum(axes)
    reading, writing = launches - 1, launches  # the first axis writes sums, each later one reads and writes them
    last = size if size < 4 else 0  # the last axis writes the result in `dtype` instead of the sums
    sums = 4 * (reading + writing - bool(last)) + last
    keys, values, number = cq * positions, c * positions, 4 * positions
    moved = launches * ((2 * keys + values) * size + 2 * number) + values * sums
    once = (2 * keys + 2 * values) * size + 2 * number
    return {
        "statistics": (launches * 2 * keys * size + 2 * number * (reading + writing), line * cq),
        "values": (once if by_image else moved, line * (cq + c)),
        "delta": (2 * values * size + number, 2 * values),
        "gradients": (
            launches * ((2 * keys + 2 * values) * size + 3 * number) + (2 * keys + values) * sums,
            line * (3 * cq + 2 * c),
        ),
    }


def least(batch, cq, c, h, w, dtype):
    """-> {"forward": (bytes, operations), "backward": ..} if each map were moved once in each direction."""
    size, positions = SIZES[dtype], batch * h * w
    line = 2 * positions * (h + w)
    return {
        "forward": ((2 * cq + 2 * c) * positions * size, line * (cq + c)),
        "backward": ((4 * cq + 4 * c) * positions * size, line * (3 * cq + 2 * c)),
    }


def floor(cost, dtype, card):
    """Seconds that (bytes, operations) need at least on a card of CARDS."""
    bandwidth, rates = CARDS[card]
    return max(cost[0] / bandwidth, cost[1] / rates[dtype])


def table(shape, dtypes):
    rows = [["dtype", "kernel", "MB", "GFLOP", *(f"{card} us" for card in CARDS)]]
    for dtype in dtypes:
        costs = attention_cost(*shape, dtype)
        costs["values, by image"] = attention_cost(*shape, dtype, by_image=True)["values"]
        costs.update({f"least, {name}": cost for name, cost in least(*shape, dtype).items()})
        for kernel, cost in costs.items():
            times = (f"{1e6 * floor(cost, dtype, card):.0f}" for card in CARDS)
            rows.append([dtype, kernel, f"{cost[0] / 1e6:.0f}", f"{cost[1] / 1e9:.1f}", *times])
    return rows


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--batch", type=shared.positive, default=8, help="default: %(default)s")
    add("--channels", type=shared.positive, default=512, help="of the values; queries: an eighth (default: 512)")
    add("--size", type=shared.size, default=(97, 97), metavar="H,W", help="default: 97,97")
    add("--dtypes", nargs="+", choices=list(SIZES), default=["float32", "float16"], help="default: float32 float16")
    args = parser.parse_args(argv)
    print(f"{args.batch}x{args.channels}x{args.size[0]}x{args.size[1]}, counted, not measured")
    shape = (args.batch, max(args.channels // 8, 1), args.channels, *args.size)
    for row in table(shape, args.dtypes):
        print(f"{row[0]:9}{row[1]:17}" + "".join(f"{cell:>9}" for cell in row[2:]))


if __name__ == "__main__":
    main()
