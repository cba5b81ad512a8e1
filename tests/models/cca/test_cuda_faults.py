"""Errors made in the source of the CUDA kernels are detected by the tests with cuda_standin.h."""

import shutil

import pytest
from support.cuda_cca import SRC, Kernels, attention, build, distances, draw, rounded

# file, text, its replacement, expected error message (empty: a wrong result instead of an error)
FAULTS = {
    "reads past the end of a line": (
        "cuda_memory.cuh",
        "x[n] = real && i < positions ?",
        "x[n] = real && i <= positions ?",
        "read outside [qk] at byte",
    ),
    "no barrier after staging": (
        "cuda_tiles.cuh",
        "        __syncthreads();\n        meet<T>",
        "        meet<T>",
        "read of uninitialised memory, shared memory",
    ),
    "no barrier before staging again": (
        "cuda_tiles.cuh",
        "queries, keys);\n        __syncthreads();\n    }",
        "queries, keys);\n    }",
        "race: .* shared memory",
    ),
    "no barrier between the lanes of a warp": (
        "cuda_tiles.cuh",
        "square, pitch);\n            __syncwarp();",
        "square, pitch);",
        "shared memory",
    ),
    "a barrier that some warps skip": (
        "cuda_tiles.cuh",
        "        __syncthreads();\n        meet<T>",
        "        if (here.row == 0) __syncthreads();\n        meet<T>",
        "race|not every thread reaches the barrier|threads wait at different barriers",
    ),
    "padding is not zeroed": (
        "cuda_memory.cuh",
        "if (i0 + n * step < tile.positions) row",
        "if (i0 + n * step < positions) row",
        "read of uninitialised memory, shared memory",
    ),
    "all blocks write the first lines": (
        "cuda_tiles.cuh",
        "start = p.axis.start(first + (line",
        "start = p.axis.start(0 * first + (line",
        "race: .* stats|read of uninitialised memory, stats",
    ),
    "axes are merged without rescaling": (
        "cuda_forward.cuh",
        "total = total * expf(top - m) +",
        "total = total +",
        "",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_made_in_the_source_are_detected(fault, rng, tmp_path):
    file, text, replacement, message = FAULTS[fault]
    shutil.copytree(SRC, tmp_path / "src")
    source = (SRC / file).read_text()
    assert source.count(text) == 1
    (tmp_path / "src" / file).write_text(source.replace(text, replacement))
    broken = Kernels(build(src=tmp_path / "src", flags=("-O1",)))
    inputs = draw(rng, (21, 35), cq=40)
    if message:
        with pytest.raises(RuntimeError, match=message):
            broken.run(*inputs)
    else:
        assert distances(broken.run(*inputs), attention(*rounded(inputs, "float32")))[0] > 1e-3
