"""nvcc compiles the kernels of the optimizers, and the files that Jittor writes around them, without a GPU."""

import re
import shutil
import subprocess
from pathlib import Path

import jittor as jt
import numpy as np
import pytest
from support.cuda_cca import jittor_source
from test_fused_step import CASES, train

from utils.training import buckets, fused_step, operators, verdict
from utils.training.operators import SRC

NVCC = shutil.which("nvcc") or next((str(p) for p in [Path("/usr/local/cuda/bin/nvcc")] if p.exists()), None)
pytestmark = pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")
KERNELS = {"sgd", "adamw", "sum", "squares", "total", "gather", "decide"}


def architectures():
    listed = subprocess.run([NVCC, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    return sorted(n for n in map(int, re.findall(r"compute_(\d+)\b", listed)) if n >= 70)


def nvcc(*arguments):
    done = subprocess.run([NVCC, "-std=c++17", "--use_fast_math", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_kernel_on_every_architecture_without_spills(tmp_path):
    for architecture in architectures():
        flags = [f"-arch=sm_{architecture}", "-cubin", "-Xptxas", "-v", "-x", "cu", "-o", tmp_path / "all.cubin"]
        report = nvcc(*flags, SRC / "optimizer.cuh")
        names = set(re.findall(r"Function properties for _ZN9optimizer\d+(\w+?)_kernelE", report))
        assert names == KERNELS and set(re.findall(r"(\d+) bytes spill", report)) == {"0"}, f"sm_{architecture}"


def test_the_arguments_of_a_launch_fit_into_four_kilobytes(tmp_path):
    checks = 'static_assert(sizeof(optimizer::Table) + sizeof(optimizer::Numbers) + 16 <= 4096, "too many");'
    (tmp_path / "size.cu").write_text(f'#include "{SRC}/optimizer.cuh"\n{checks}\n')
    nvcc("-c", "-o", tmp_path / "size.o", tmp_path / "size.cu")


@pytest.mark.slow
def test_the_sources_that_jittor_generates_compile(monkeypatch, tmp_path, rng):
    """The C++ files that Jittor writes; for CUDA one word of them differs."""
    sources = jittor_source(monkeypatch, operators)
    monkeypatch.setattr(operators, "group", lambda: 48)
    monkeypatch.setattr(jt.Var, "mpi_all_reduce", lambda v, op: v * 3, raising=False)
    for ours, _, options in CASES:
        train(ours, options, 1, 2)
    gradients = [jt.array(np.ones(3, np.float32)) for _ in range(2)]
    jt.sync(buckets.average(gradients), True)
    fused_step.squares(gradients, verdict.fresh()).sync()
    row = verdict.gather(gradients)
    jt.sync(verdict.decide(row, verdict.fresh(), 3, 1), True)
    home, written = Path(jt.__file__).parent, list(Path(jt.flags.cache_path, "jit").glob("code__*_op.cc"))
    written, seen = [path.read_text() for path in written], set()
    for source in sources:
        name = re.findall(r"optimizer::(\w+)\((?:all|rules)", source)[-1]
        if name in seen:
            continue
        seen.add(name)
        text = next(t for t in written if source in t and f'"{SRC}/optimizer.cuh"' in t)
        text, count = re.subn("^#define JIT_cpu 1$", "#define JIT_cuda 1", text, flags=re.M)
        assert count == 1
        lines = [s for s in text.splitlines() if not re.search(r"cuda_standin|standin::|#define b?float16 ", s)]
        (tmp_path / "op.cu").write_text("\n".join(lines))
        flags = ["-DHAS_CUDA", "-DIS_CUDA", "-I", home / "src", "-I", home / "extern/cuda/inc", "-w", "-c"]
        nvcc("-arch=sm_80", *flags, "-o", tmp_path / "op.o", tmp_path / "op.cu")
    assert seen == {"sgd", "adamw", "add", "squares", "pack", "unpack", "gather", "decide"}
