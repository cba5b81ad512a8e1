"""Errors made in the source of the CUDA kernels of models/layers are detected by the tests with cuda_standin.h."""

import shutil

import numpy as np
import pytest
from support import cuda_layers
from support.cuda_cca import SRC as CCA
from support.cuda_cca import plant
from support.cuda_layers import SRC

# kernel: (text, its replacement, expected error message; empty: a wrong result instead of an error)
NORM_FAULTS = {
    "reads past the end of a plane": (
        "count > head ? (count - head) / N : 0",
        "count > head ? (count - head + N - 1) / N : 0",
        "race|outside",
    ),
    "vectors start at the start of a plane": ("int((N - (m.phase + first) % N) % N)", "0", "misaligned vector read"),
    "moments_part: no barrier": (
        "    __syncthreads();\n    if (threadIdx.x > 0) return;\n    for (int w = 1; w < kWarps; w++) all",
        "    if (threadIdx.x > 0) return;\n    for (int w = 1; w < kWarps; w++) all",
        "read of uninitialised memory, shared memory",
    ),
    "moments_part: all blocks write the first slice": (
        "part + i64(slice) * 3 * m.channels + channel;\n    to",
        "part + channel;\n    to",
        "race|uninitialised",
    ),
    "moments_total: sums without the distance of the means": ("others + delta * delta * count * share", "others", ""),
    "moments_total: reads a slice too many": (
        "slice < slices; slice += 32) {\n            const Global<float> from = part + i64(slice) * 3",
        "slice <= slices; slice += 32) {\n            const Global<float> from = part + i64(slice) * 3",
        "read outside part",
    ),
    "apply_layer: writes one value further": (
        "store_pack<N, T>(y + at, values)",
        "store_pack<N, T>(y + at + 1, values)",
        "misaligned vector write|write outside y",
    ),
    "apply_layer: no activation": ("from_float<T>(z > 0 ? z : z * c.slope)", "from_float<T>(z)", ""),
    "sums_part: no barrier": (
        "    __syncthreads();\n    if (threadIdx.x > 0) return;\n    for (int w = 1; w < kWarps; w++) {",
        "    if (threadIdx.x > 0) return;\n    for (int w = 1; w < kWarps; w++) {",
        "read of uninitialised memory, shared memory",
    ),
    "sums_part: not centred": (
        "of_h_x += h[n] * (to_float(values.x[n]) - c.mean)",
        "of_h_x += h[n] * to_float(values.x[n])",
        "",
    ),
    "sums_total: without the first slice": (
        "= lane; slice < slices; slice += 32) {\n            const Global<Sum> from = part + i64(slice) * 2",
        "= lane + 1; slice < slices; slice += 32) {\n            const Global<Sum> from = part + i64(slice) * 2",
        "",
    ),
    "gradient_of_x: the mean of the gradient is added": ("- centred * tilt - shift", "- centred * tilt + shift", ""),
    "gradient_of_x: writes the residual without asking": (
        "if (with_add) store_pack<N, T>(d_add",
        "store_pack<N, T>(d_add",
        "outside all known buffers",
    ),
}
MERGE_FAULTS = {"merge_ranks: skips the last rank": ("rank < ranks", "rank + 1 < ranks", "")}
LOSS_FAULTS = {
    "each_pixel: one thread too many": (
        "if (pixel >= s.batch * image)",
        "if (pixel > s.batch * image)",
        "read outside labels",
    ),
    "each_pixel: a row below the last, with weight 0": (
        "below = (i + 1 < s.h ? i + 1 : i) * s.w",
        "below = (i + 1) * s.w",
        "read outside logits",
    ),
    "each_pixel: sums without rescaling": ("sum = sum * expf(most - larger) +", "sum = sum +", ""),
    "each_logit: lanes without a class": ("if (k >= s.classes) return;", "", "outside|race"),
    "each_logit: one row too few": ("last_row = grid.y.first(top + 1)", "last_row = grid.y.first(top + 1) - 1", ""),
    "each_logit: all cells have the weight of the lower one": ("top < i ? down : 1 - down", "down", ""),
    "each_logit: the last column has no neighbour": (
        "right = left + 1 < s.w ? left + 1 : left",
        "right = left + 1",
        "read outside logits",
    ),
    "each_point: no interpolation": ("y.share == 0 && x.share == 0", "true", ""),
    "each_point: a row below the last": (
        "y.low + down < s.height ? y.low + down : y.low",
        "y.low + down",
        "read outside log_sum",
    ),
}

RESIZE_FAULTS = {
    "each_output: a row below the last, with weight 0": ("(i + 1 < h ? w : 0)", "w", "read outside x"),
    "each_input: one row too many": ("row < bottom; row++", "row <= bottom; row++", "read outside g"),
    "each_input: the weight of the other neighbour": ("cell == i ? 1 - share", "cell != i ? 1 - share", ""),
}


def run_norm(library, rng):
    x, g = rng.standard_normal((2, 2, 3, 5, 91)) * 2 + 1
    return cuda_layers.norm(library, x, np.float32([1, -2, 1]), np.zeros(3), g, None, 0.0, slices=40)[:-1]


def run_merge(library, rng):
    return cuda_layers.merge(library, rng.random((3, 9)))


def run_loss(library, rng):
    logits, labels = rng.standard_normal((1, 35, 5, 6)) * 4, rng.integers(0, 35, (1, 33, 43)).astype(np.int32)
    return cuda_layers.pixel_loss(library, logits, labels, rng.random(labels.shape), True)


def run_resize(library, rng):
    return cuda_layers.resize(library, rng.random((2, 5, 7)), rng.random((2, 17, 40)), True)


CASES = [
    *(("batch_norm.cuh", run_norm, name, *fault) for name, fault in NORM_FAULTS.items()),
    *(("batch_norm.cuh", run_merge, name, *fault) for name, fault in MERGE_FAULTS.items()),
    *(("pixel_loss.cuh", run_loss, name, *fault) for name, fault in LOSS_FAULTS.items()),
    *(("resize.cuh", run_resize, name, *fault) for name, fault in RESIZE_FAULTS.items()),
]


@pytest.fixture(scope="module")
def correct():
    return cuda_layers.load()


@pytest.mark.parametrize("file, run, name, text, replacement, message", CASES, ids=[case[2] for case in CASES])
def test_errors_made_in_the_source_are_detected(correct, tmp_path, file, run, name, text, replacement, message):
    for folder, source in (("cca", CCA), ("layers", SRC)):
        shutil.copytree(source, tmp_path / folder / "src")
    plant(tmp_path / "layers" / "src" / file, text, replacement)
    broken = cuda_layers.load(tmp_path / "layers" / "src", ("-O1", "-DFLOAT_ONLY"))
    expected = run(correct, np.random.default_rng(7))
    if message:
        with pytest.raises(RuntimeError, match=message):
            run(broken, np.random.default_rng(7))
    else:
        results = run(broken, np.random.default_rng(7))
        distances = [abs(a - b).max() / max(abs(b).max(), 1) for a, b in zip(results, expected)]
        assert max(distances) > 1e-3, distances
