"""Checks with nvcc, without a GPU: the kernels of models/layers, for all architectures, without register spills."""

import re

import jittor as jt
import numpy as np
import pytest
from support import nvcc
from support.cuda_cca import TYPES, jittor_source
from support.cuda_layers import SRC

from models.layers import batch_norm, batch_norm_cuda, pixel_loss

pytestmark = nvcc.needed

NORM = """
template void batch_norm::moments<{T}>(batch_norm::Maps, int, const {T}*, float*, float*);
template void batch_norm::apply<{T}>(batch_norm::Maps, const batch_norm::Layer&, const {T}*, const {T}*, {T}*);
template void batch_norm::sums<{T}>(batch_norm::Maps, const batch_norm::Layer&, int, const {T}*, const {T}*, const {T}*,
                                    float*, float*);
template void batch_norm::gradient<{T}>(batch_norm::Maps, const batch_norm::Layer&, const float*, const float*,
                                        const {T}*, const {T}*, const {T}*, {T}*, {T}*);
"""
LOSS = """
template void pixel_loss::forward<{T}, {L}>(const pixel_loss::Shape&, const {T}*, const {L}*, float*, float*);
template void pixel_loss::backward<{T}, {L}>(const pixel_loss::Shape&, const {T}*, const {L}*, const float*,
                                             const float*, {T}*);
template void pixel_loss::coarse<{T}, {L}>(const pixel_loss::Shape&, int, int, int, const {T}*, const {L}*,
                                           const float*, const float*, float*);
"""
RESIZE = """
template void resize::forward<{T}>(int, int, int, int, int, bool, const {T}*, {T}*);
template void resize::backward<{T}>(int, int, int, int, int, bool, const {T}*, {T}*);
"""
DEPTHWISE = """
template void depthwise::launch_forward<{T}>(depthwise::Shape, const {T}*, const {T}*, {T}*);
template void depthwise::launch_backward<{T}>(depthwise::Shape, int, const {T}*, const {T}*, const {T}*, {T}*, {T}*,
                                              float*);
"""
# file: its templates, the number of kernels of a dtype, the number of kernels without one
FILES = {"batch_norm.cuh": (NORM, 5, 2), "pixel_loss.cuh": (LOSS, 2 * 3, 0), "depthwise.cuh": (DEPTHWISE, 10, 0)}
FILES["resize.cuh"] = (RESIZE, 2, 0)
CUDA_TYPES = ("float", "__half", "__nv_bfloat16")


def instances(template):
    labels = ("int", "unsigned char") if "{L}" in template else ("",)
    return "".join(template.replace("{T}", t).replace("{L}", label) for t in CUDA_TYPES for label in labels)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_every_kernel_on_every_architecture_without_spills(tmp_path, file):
    template, kernels, others = FILES[file]
    source = tmp_path / "all.cu"
    source.write_text(f'#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n#include "{SRC}/{file}"\n{instances(template)}')
    for architecture in nvcc.architectures():
        report = nvcc.compile_for(architecture, source, tmp_path / "all.cubin", "-cubin", "-Xptxas", "-v")
        reports = re.findall(r"Function properties for (\S+)\n(.*?)Used (\d+) registers", report, re.S)
        assert len(reports) == kernels * len(CUDA_TYPES) + others, sorted(name for name, *_ in reports)
        for kernel, between, registers in reports:
            spilled = sum(map(int, re.findall(r"(\d+) bytes spill", between)))
            assert spilled == 0 and int(registers) <= 64, f"{kernel} sm_{architecture}: {registers} registers"


def norm_step(dtype):
    x, ones = jt.array(np.ones((2, 3, 4, 5), np.float32)).cast(dtype), jt.ones(3)
    y, *_ = batch_norm.cuda(x, ones, ones, 1e-5, x, "relu")
    jt.sync(jt.grad(y.float32().sum(), [x, ones]), True)


def loss_step(dtype):
    logits, labels = jt.array(np.ones((1, 3, 4, 5), np.float32)).cast(dtype), jt.zeros((1, 9, 11)).uint8()
    loss, log_sum = pixel_loss.cuda(logits, labels)
    jt.sync([jt.grad(loss.sum(), logits), pixel_loss.coarse_cuda(logits, labels, log_sum, loss, 255, 8)], True)


@pytest.mark.parametrize("module, step", [(batch_norm_cuda, norm_step), (pixel_loss, loss_step)])
@pytest.mark.parametrize("dtype", TYPES)
def test_the_source_that_jittor_generates_compiles(monkeypatch, tmp_path, module, step, dtype):
    """The C++ file that Jittor generates around the source of the module."""
    sources = jittor_source(monkeypatch, module)
    step(dtype)
    for source in sources:
        first = "" if "merge(" in source else f"#define in0_type {dtype}\n"  # statistics are float32
        matching = (t for t in nvcc.generated_files() if source in t and first in t)
        nvcc.compile_generated(next(t for t in matching if f'"{SRC}/' in t), tmp_path)
