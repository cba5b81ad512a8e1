"""Checks with nvcc, without a GPU: everything compiles for all architectures, without register spills."""

import re
from pathlib import Path

import jittor as jt
import numpy as np
import pytest
from support import nvcc
from support.cuda_cca import SRC, TYPES, Kernels, build, jittor_source

from models.cca import kernels

pytestmark = nvcc.needed

TABLE = Path(__file__).resolve().parents[3] / "runs" / "cca_nvcc.txt"  # a report for the developer
SHAPE = (8, 64, 512, 97, 97)  # of the report
# KB of shared memory of a block and of a multiprocessor, threads of a multiprocessor, multiprocessors of a typical card
CARDS = {70: (96, 96, 2048, 80), 75: (64, 64, 1024, 40), 80: (163, 164, 2048, 108), 86: (99, 100, 1536, 84)}
CARDS.update({87: (163, 164, 1536, 16), 88: CARDS[86], 89: (99, 100, 1536, 128), 90: (227, 228, 2048, 132)})
CARDS.update({100: (227, 228, 2048, 148), 120: (99, 100, 1536, 170)})

INSTANCES = "".join(
    f"""
template void cca::forward_cuda<{t}>(const cca::Call&, const {t}*, const {t}*, const {t}*, {t}*, float*, float*);
template void cca::backward_cuda<{t}>(const cca::Call&, const cca::Gradients<{t}>&);
"""
    for t in ("float", "__half", "__nv_bfloat16")
)


def resources(report):
    """Yields (kernel, dtype, ahead, registers, bytes of spills) for each kernel in the output of ptxas."""
    names = {"f": "float32", "6__half": "float16", "13__nv_bfloat16": "bfloat16"}
    pattern = (
        r"Function properties for _ZN3cca\d+(\w+?)I(f|6__half|13__nv_bfloat16)(?:Lb([01]))?E\S*\n(.*?)Used (\d+) reg"
    )
    for kernel, type_, ahead, between, registers in re.findall(pattern, report, re.S):
        spilled = sum(map(int, re.findall(r"(\d+) bytes spill", between)))
        yield kernel, names[type_], int(ahead or 0), int(registers), spilled


def resident_warps(registers, threads, bytes, card):
    """Warps per multiprocessor. Registers are allocated in units of 256 per warp; a block needs 1 KB more memory."""
    _, shared, most, _ = card
    warps = threads // 32
    by_registers = 65536 // (-(-registers * 32 // 256) * 256) // warps
    return min(by_registers, (shared << 10) // (bytes + 1024), most // threads) * warps


@pytest.mark.slow
def test_every_kernel_on_every_architecture_without_spills(tmp_path):
    gpu = Kernels(build())
    source = tmp_path / "all.cu"
    source.write_text(f'#include "{SRC}/cca_cuda.cuh"\n{INSTANCES}')
    lines = []
    for architecture in nvcc.architectures():
        report = nvcc.compile_for(architecture, source, tmp_path / "all.cubin", "-cubin", "-Xptxas", "-v")
        used = list(resources(report))
        assert len(used) == 4 * 3 + 3 * 2  # in 16 bits three kernels also exist with tiles that are fetched ahead
        card = CARDS.get(architecture, CARDS[max(n for n in CARDS if n <= architecture)])
        for kernel, dtype, ahead, registers, spilled in sorted(used):
            assert spilled == 0, f"{kernel} {dtype} sm_{architecture}"
            cells = [f"sm_{architecture:<4} {kernel:10} {dtype:9} {'ahead' if ahead else '':5} {registers:5}"]
            for axis in (0, 1) if kernel != "delta" else ():
                tiles = gpu.plan(dtype, kernel, axis, SHAPE, card[0] << 10, card[3], architecture // 10)
                if tiles["ahead"] != ahead:
                    cells.append(f"{'not used':>27}")
                    continue
                warps = resident_warps(registers, tiles["threads"], tiles["bytes"], card)
                assert warps > 0 and tiles["bytes"] <= card[0] << 10
                size = f"{tiles['lines']}x{tiles['queries']}x{tiles['keys']}"
                cells.append(f"{size:>11} {tiles['bytes'] / 1024:6.1f} {warps * 32 / card[2]:7.0%}")
            lines.append(" ".join(cells))
    size = "x".join(map(str, SHAPE))
    title = f"{size}: registers; along columns, along rows: tile, KB shared memory, occupancy"
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text("\n".join([title, *lines]) + "\n")


def test_the_way_image_by_image_on_hopper_without_spills(tmp_path):
    """CCA_BOTH_AXES=1; Jittor passes sm_90, and a build with -gencode can ask for sm_90a."""
    source, types = tmp_path / "by_image.cu", ("__half", "__nv_bfloat16")
    arguments = "const cca::Call&, const {0}*, const {0}*, const {0}*, {0}*, float*, float*"
    calls = [f"template void cca::forward_by_image<{t}>({arguments.format(t)});\n" for t in types]
    source.write_text(f'#include "{SRC}/cuda_both_axes.cuh"\n{"".join(calls)}')
    report = nvcc.compile_for("90a", source, tmp_path / "by_image.cubin", "-cubin", "-Xptxas", "-v")
    used = list(resources(report))
    assert {dtype for _, dtype, *_ in used} == {"float16", "bfloat16"}
    assert {kernel for kernel, *_ in used} == {"statistics", "values"} and all(spills == 0 for *_, spills in used)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_source_that_jittor_generates_compiles(monkeypatch, tmp_path, dtype):
    """The C++ file that Jittor generates around the source of kernels.py."""
    sources = jittor_source(monkeypatch, kernels)
    x = jt.array(np.ones((1, 2, 3, 4), np.float32)).cast(dtype)
    jt.sync(jt.grad(kernels.FusedCUDA()(x, x, x).sum(), [x, x, x]), True)
    for source in sources:
        matching = (t for t in nvcc.generated_files() if source in t and f"#define out0_type {dtype}\n" in t)
        nvcc.compile_generated(next(t for t in matching if f'"{SRC}/' in t), tmp_path)
