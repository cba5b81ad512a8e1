"""Tiles that are fetched ahead, and the forward pass image by image, give the same bits (CUDA kernels on the CPU)."""

import numpy as np
import pytest
from support.cuda_cca import TYPES, Kernels, build, draw, to_type

PAPER, H200, V100 = (8, 64, 512, 97, 97), (232448, 132), (98304, 80)


@pytest.fixture(scope="module")
def built():
    return Kernels(build())


@pytest.fixture
def gpu(built):
    built.device()
    return built


# odd and even rows, groups that are not full, several chunks of channels, volumes
@pytest.mark.parametrize("sides", [(13, 17), (24, 16), (16, 40), (7, 4), (5, 3, 7), (4, 6, 8)])
@pytest.mark.parametrize("processors", [132, 1])  # groups of 2 and of 8 lines
def test_tiles_that_are_fetched_ahead_give_the_same_bits(gpu, rng, sides, processors):
    """From compute capability 8.0 on; the same tiles without it."""
    q, k, v, g = (to_type(x, "float16") for x in draw(rng, sides, 2, 35, 37))
    results = []
    for major in (9, 7):
        gpu.device(processors=processors, major=major)
        out, stats = gpu.forward(q, k, v, "float16")
        results.append([out, stats, *gpu.backward(q, k, v, out, stats, g, "float16")])
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", TYPES)
def test_image_by_image_gives_the_same(gpu, rng, dtype):
    """CCA_BOTH_AXES: the scratch memory of one image for all."""
    q, k, v, _ = (to_type(x, dtype) for x in draw(rng, (7, 18), 3, 8, 40))
    for a, b in zip(gpu.forward(q, k, v, dtype), gpu.forward(q, k, v, dtype, by_image=True)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kernel", ["statistics", "values", "gradients"])
@pytest.mark.parametrize("axis", [0, 1])
def test_at_the_size_of_the_paper(gpu, kernel, axis):
    """16 bits are fetched ahead; two blocks of `values` still fit on a multiprocessor of an H200."""
    for dtype in TYPES:
        tiles = gpu.plan(dtype, kernel, axis, PAPER, *H200)
        assert tiles["ahead"] == (dtype != "float32")
        assert kernel != "values" or dtype == "float32" or 2 * (tiles["bytes"] + 1024) <= 228 << 10
        assert not gpu.plan(dtype, kernel, axis, PAPER, *V100, major=7)["ahead"]
