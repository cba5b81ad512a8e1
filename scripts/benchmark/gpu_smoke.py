#!/usr/bin/env python3
"""One training step in float32, float16 and bfloat16, compared with the same step on the CPU in float32.

    python scripts/benchmark/gpu_smoke.py                     # the first thing to run on a GPU
    python scripts/benchmark/gpu_smoke.py --device cpu        # float32 and, where the processor has it, bfloat16

Each row is printed when it is done: the loss, the relative distance of all gradients together, and the seconds, most of
which compile operators the first time. The exit code is 1 if a row differs by more than its limit.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils import runtime  # noqa: E402
from utils.options import shared  # noqa: E402

# of the loss, of the gradients: random weights amplify rounding; gradients without any relation have a distance of 1.4
LIMITS = {"float32": (1e-3, 1e-2), "float16": (2e-2, 0.25), "bfloat16": (5e-2, 0.8)}
SCALE = {"float16": 1024.0}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--device", choices=("cuda", "cpu"), default="cuda", help="default: cuda")
    add("--model", default="ccnet_r18", help="default: %(default)s")
    add("--input-size", type=shared.size, default=(65, 97), metavar="H,W", help="default: 65,97")
    add("--precision", nargs="+", choices=list(LIMITS), default=list(LIMITS), help="default: all")
    return parser.parse_args()


def data(size):
    import numpy as np

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 19, (2, *(-(-side // 16) for side in size))).repeat(16, 1).repeat(16, 2)
    labels = labels[:, : size[0], : size[1]].astype("int32")
    images = rng.standard_normal((2, 3, *size), dtype=np.float32) + 0.2 * labels[:, None]
    labels[:, :3] = 255
    return images, labels


def step(args, weights, precision):
    """-> the loss and all gradients of one step, as arrays; and the weights that it began with."""
    import jittor as jt
    import numpy as np

    from models import build_model
    from models.layers import dropout
    from models.losses import segmentation_losses
    from utils.training import amp

    model = build_model(args.model, 19)
    if weights:
        model.load_state_dict(weights)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    lines = amp.compute(model, precision) if precision != "float32" else []
    if lines:
        raise ValueError(lines[0])
    dropout.at(0, 0)
    images, labels = map(jt.array, data(args.input_size))
    loss = segmentation_losses(model(images), labels, 255)["loss"]
    scale = SCALE.get(precision, 1.0)
    gradients = jt.grad(loss * scale, [p for p in model.parameters() if not p.is_stop_grad()])
    arrays = [gradient.float32().numpy().ravel() / scale for gradient in gradients]
    return float(loss.item()), np.concatenate(arrays), weights


def compare(args, precision, expected, weights):
    """Print the row of one dtype. -> is it within its limits?"""
    import numpy as np

    from utils.training import amp

    began = time.time()
    try:
        if precision != "float32":
            amp.check(precision, args.device, runtime.compute_capabilities())
        loss, gradients, _ = step(args, weights, precision)
    except ValueError as error:  # this device does not have the dtype
        print(f"| {precision} | not available: {str(error).split('. Fix')[0]} | | | |", flush=True)
        return True
    distances = abs(loss - expected[0]) / abs(expected[0]), np.linalg.norm(gradients - expected[1])
    distances = distances[0], distances[1] / np.linalg.norm(expected[1])
    right = all(distance <= limit for distance, limit in zip(distances, LIMITS[precision]))  # False for NaN
    cells = f"{loss:.5f} | {distances[1]:.5f} | {time.time() - began:.0f} | {'right' if right else 'WRONG'}"
    print(f"| {precision} | {cells} |", flush=True)
    return right


def main():
    args = parse_args()
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # TF32 has 10 bits of mantissa
    machine = runtime.start(args.device)
    import jittor as jt

    print(f"{runtime.describe(machine, 'auto')}\n{args.model}, 2x3x{args.input_size[0]}x{args.input_size[1]}\n")
    print("| dtype | loss | distance of the gradients | seconds | |\n|---|---|---|---|---|", flush=True)
    began = time.time()
    with jt.flag_scope(use_cuda=0):
        loss, gradients, weights = step(args, None, "float32")
    print(f"| float32 on the CPU | {loss:.5f} | 0 | {time.time() - began:.0f} | the reference |", flush=True)
    wrong = [name for name in args.precision if not compare(args, name, (loss, gradients), weights)]
    if wrong:
        sys.exit(f"gpu_smoke.py: {', '.join(wrong)} differ from the CPU by more than the limits {LIMITS}")


if __name__ == "__main__":
    runtime.run(main, "gpu_smoke.py")
