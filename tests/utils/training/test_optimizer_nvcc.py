"""nvcc compiles the kernels of the optimizers, and the files that Jittor writes around them, without a GPU."""

import re

import jittor as jt
import numpy as np
import pytest
from support import nvcc
from support.cuda_cca import jittor_source
from test_fused_step import CASES, train

from utils.training import buckets, fused_step, operators, step_control
from utils.training.operators import SRC

pytestmark = nvcc.needed
KERNELS = {"sgd", "adamw", "sum", "squares", "total", "gather", "decide"}


def test_every_kernel_on_every_architecture_without_spills(tmp_path):
    for architecture in nvcc.architectures():
        flags = ["-cubin", "-Xptxas", "-v"]
        report = nvcc.compile_for(architecture, SRC / "optimizer.cuh", tmp_path / "all.cubin", *flags)
        names = set(re.findall(r"Function properties for _ZN9optimizer\d+(\w+?)_kernelE", report))
        assert names == KERNELS and set(re.findall(r"(\d+) bytes spill", report)) == {"0"}, f"sm_{architecture}"


def test_the_arguments_of_a_launch_fit_into_four_kilobytes(tmp_path):
    checks = 'static_assert(sizeof(optimizer::Table) + sizeof(optimizer::Numbers) + 16 <= 4096, "too many");'
    (tmp_path / "size.cu").write_text(f'#include "{SRC}/optimizer.cuh"\n{checks}\n')
    nvcc.compile_for(80, tmp_path / "size.cu", tmp_path / "size.o", "-c")


@pytest.mark.slow
def test_the_sources_that_jittor_generates_compile(monkeypatch, tmp_path, rng):
    """The C++ files that Jittor writes."""
    sources = jittor_source(monkeypatch, operators)
    monkeypatch.setattr(operators, "group", lambda: 48)
    monkeypatch.setattr(jt.Var, "mpi_all_reduce", lambda v, op: v * 3, raising=False)
    for ours, _, options in CASES:
        train(ours, options, 1, 2)
    gradients = [jt.array(np.ones(3, np.float32)) for _ in range(2)]
    jt.sync(buckets.average(gradients), True)
    fused_step.squares(gradients, step_control.fresh()).sync()
    row = step_control.gather(gradients)
    jt.sync(step_control.decide(row, step_control.fresh(), 3, 1), True)
    seen = set()
    for source in sources:
        name = re.findall(r"optimizer::(\w+)\((?:all|rules)", source)[-1]
        if name in seen:
            continue
        seen.add(name)
        matching = (t for t in nvcc.generated_files() if source in t and f'"{SRC}/optimizer.cuh"' in t)
        nvcc.compile_generated(next(matching), tmp_path)
    assert seen == {"sgd", "adamw", "add", "squares", "pack", "unpack", "gather", "decide"}
