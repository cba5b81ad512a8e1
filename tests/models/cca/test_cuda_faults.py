"""Errors made in the source of the CUDA kernels are detected by the tests with cuda_standin.h."""

import shutil

import pytest
from support.cuda_cca import SRC, Kernels, attention, build, distances, draw, plant, rounded

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
        "c, p.cq - c, ahead);\n        __syncthreads();",
        "c, p.cq - c, ahead);",
        "read of uninitialised memory, shared memory",
    ),
    "no barrier before staging again": (
        "cuda_tiles.cuh",
        "        __syncthreads();  // the tiles have been read; the copies have arrived\n",
        "",
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
        "c, p.cq - c, ahead);\n        __syncthreads();",
        "c, p.cq - c, ahead);\n        if (here.row == 0) __syncthreads();",
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
    "sums of the first axis are lost": (
        "cuda_memory.cuh",
        "row[i + n * step] + x[n];",
        "float(row[i + n * step]);",
        "",
    ),
}
STILL = "asynchronous copy still writes, shared memory"
SHARED = f"{STILL}|race: .* shared memory|read of uninitialised memory, shared memory"
AHEAD = {  # in float16: tiles that are fetched ahead
    "no wait before unpacking": (
        "cuda_tiles.cuh",
        "        if (ahead) wait_for_copies();\n",
        "",
        STILL,
    ),
    "no wait for the values": (
        "cuda_forward.cuh",
        "if (ahead && r + p.round >= queries) wait_for_copies();",
        "",
        STILL,
    ),
    "waits for the wrong number of groups": (
        "cuda_forward.cuh",
        "if (ahead && r + p.round >= queries) wait_for_copies();",
        "if (ahead && r + p.round >= queries) standin::wait_for_copies(1);",
        STILL,
    ),
    "no barrier between wait and unpacking": (
        "cuda_tiles.cuh",
        "        __syncthreads();  // the tiles have been read; the copies have arrived\n",
        "",
        SHARED,
    ),
    "a misaligned copy of 16 bytes": (
        "cuda_ahead.cuh",
        "channel + (n - skip), end - n",
        "channel + n, end - n",
        "misaligned asynchronous copy of 16 bytes",
    ),
    "one buffer instead of two": (
        "cuda_tiles.cuh",
        "raw_v = a;",
        "raw_v = b;",
        SHARED,
    ),
    "a copy reads past the end of a tensor": (
        "cuda_ahead.cuh",
        "group.lines - k < 2 ? group.lines - k : 2",
        "2",
        "read outside [qk] at byte",
    ),
    "words are shifted by one element": (
        "cuda_ahead.cuh",
        "+ here +",
        "+ 1 - here +",
        "read of uninitialised memory, shared memory",
    ),
}


@pytest.mark.parametrize("fault", [*FAULTS, *AHEAD])
def test_errors_made_in_the_source_are_detected(fault, rng, tmp_path):
    file, text, replacement, message = {**FAULTS, **AHEAD}[fault]
    dtype = "float16" if fault in AHEAD else "float32"
    shutil.copytree(SRC, tmp_path / "src")
    plant(tmp_path / "src" / file, text, replacement)
    broken = Kernels(build(src=tmp_path / "src", flags=("-O1",)))
    inputs = draw(rng, (21, 35), cq=41, c=41)
    if message:
        with pytest.raises(RuntimeError, match=message):
            broken.run(*inputs, dtype)
    else:
        assert distances(broken.run(*inputs, dtype), attention(*rounded(inputs, dtype)))[0] > 1e-2
