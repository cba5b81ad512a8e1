#!/usr/bin/env python3
"""Check criss-cross attention on inputs with a known result, in every backend that runs here.

    python scripts/benchmark/check_cca.py

With q = k = v = 1 all weights are equal, so the output is exactly 1; with v = 3 it is exactly 3. The weights of a pixel
sum to 1, so the gradient of the output's sum with respect to v is exactly 1, too. The first published CUDA operator
differs from these in the last digit. A weight is 1 / (H + W - 1): if H + W - 1 is a power of two, floating point
represents it exactly and the results are exact; otherwise the sum of the rounded weights may differ from 1 by a few
1e-7, in any implementation. The exit code is 1 if a result is wrong.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils import runtime  # noqa: E402

EXACT = [(5, 4), (8, 9), (16, 17), (33, 32), (97, 160), (3, 3, 4), (5, 6, 7)]  # H + W - 1, or H + W + D - 2, is 2^n
OTHER = [(1, 1), (6, 5), (33, 33), (97, 97)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=runtime.DEVICES, default="auto", help="default: auto")
    args = parser.parse_args()
    runtime.start(args.device)

    import jittor as jt
    import numpy as np

    from models.cca import criss_cross_attention
    from models.cca.functional import resolve, why_not_fused

    backends = ["reference"] + ([resolve("fused")] if not why_not_fused() else [])
    if len(backends) == 1:
        print(f"fused does not run here: {why_not_fused()}")
    wrong = 0
    print("backend    size          v = 1      v = 3      gradient of v     (largest distance from 1, 3, 1)")
    for backend in backends:
        for sides in EXACT + OTHER:
            ones = jt.ones((2, 4, *sides))
            distances = []
            for constant in (1, 3):
                v = jt.full((2, 8, *sides), float(constant))
                out = criss_cross_attention(ones, ones, v, backend)
                distances.append(np.abs(out.numpy() - constant).max())
            distances.append(np.abs(jt.grad(out.sum(), v).numpy() - 1).max())
            bound = 0 if sides in EXACT else 2e-6
            wrong += sum(not distance <= bound for distance in distances)
            cells = ["exact" if d == 0 else f"{d:.1e}" if d <= bound else f"WRONG {d:.1e}" for d in distances]
            print(f"{backend:9}  {'x'.join(map(str, sides)):11}  " + "".join(f"{cell:11}" for cell in cells))
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
