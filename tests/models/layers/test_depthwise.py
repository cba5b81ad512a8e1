"""Depthwise convolution. The CUDA kernels are run on the CPU, one thread after the other."""

import ctypes
import shutil
import subprocess

import jittor as jt
import numpy as np
import pytest
from support.cuda_cca import to_float64, to_type

from models.layers.depthwise import FILE, DepthwiseConv2d
from utils import runtime

CASES = [  # batch, channels, height, width, kernel, stride, padding, dilation; those of VAN first
    (2, 5, 13, 17, 5, 1, 2, 1),
    (1, 3, 9, 31, 7, 1, 9, 3),
    (3, 4, 7, 5, 3, 1, 1, 1),
    (2, 3, 1, 1, 7, 1, 9, 3),
    (1, 6, 11, 6, 5, 1, 8, 4),
    (2, 2, 15, 10, 3, 2, 1, 1),
    (1, 2, 12, 9, 2, 3, 0, 2),
]
CPU_CASES = [  # several vectors of columns, other paddings
    (2, 3, 21, 67, 7, 1, 9, 3),
    (1, 2, 9, 35, 5, 1, 0, 1),
    (1, 2, 30, 33, 3, 1, 4, 2),
    (1, 2, 6, 4, 3, 1, 5, 2),
]
# A launch on the CPU: every thread of every block, one after the other. The grid is smaller than the number of outputs,
# so that the loops of the kernels run more than once.
ONE_BY_ONE = """
#define __global__
#define __device__
struct Index { unsigned x, y, z; } blockIdx, threadIdx, blockDim = {7, 1, 1}, gridDim = {5, 1, 1};
#include "%s"
template <class F> void launch(F kernel) {
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) kernel();
}
struct Bfloat {
    unsigned short bits;
    Bfloat(float x) {
        unsigned all;
        __builtin_memcpy(&all, &x, 4);
        bits = (all + 0x7fff + (all >> 16 & 1)) >> 16;
    }
    operator float() const {
        const unsigned all = unsigned(bits) << 16;
        float x;
        __builtin_memcpy(&x, &all, 4);
        return x;
    }
};
template <class T, int K>
void run(depthwise::Shape s, int slices, const T* x, const T* w, const T* dy, T* y, T* dx, T* dw, float* partial) {
    launch([&] { depthwise::forward<T, K>(s, x, w, y); });
    launch([&] { depthwise::input_gradient<T, K>(s, dy, w, dx); });
    launch([&] { depthwise::weight_partial<T>(s, slices, x, dy, partial); });
    launch([&] { depthwise::weight_total<T>(slices, s.channels * s.kh * s.kw, partial, dw); });
}
template <class T>
void run_type(const int* n, int slices, const T* x, const T* w, const T* dy, T* y, T* dx, T* dw, float* partial) {
    depthwise::Shape s;
    __builtin_memcpy(&s, n, sizeof s);
    auto call = s.kh == 3 ? run<T, 3> : s.kh == 5 ? run<T, 5> : s.kh == 7 ? run<T, 7> : run<T, 0>;
    call(s, slices, x, w, dy, y, dx, dw, partial);
}
extern "C" void run_all(const int* n, int slices, const float* x, const float* w, const float* dy, float* y, float* dx,
                        float* dw, float* partial) {
    run_type(n, slices, x, w, dy, y, dx, dw, partial);
}
extern "C" void run_bfloat(const int* n, int slices, const Bfloat* x, const Bfloat* w, const Bfloat* dy, Bfloat* y,
                           Bfloat* dx, Bfloat* dw, float* partial) {
    run_type(n, slices, x, w, dy, y, dx, dw, partial);
}
"""


def arrays(case, rng):
    batch, channels, height, width, kernel, stride, padding, dilation = case
    out = [(side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in (height, width)]
    shapes = (batch, channels, height, width), (channels, 1, kernel, kernel), (batch, channels, *out)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def build(case, weight):
    channels, (kernel, stride, padding, dilation) = case[1], case[4:]
    layer = DepthwiseConv2d(channels, kernel, stride, padding, dilation)
    layer.weight.assign(jt.array(weight))
    layer.bias.assign(jt.zeros(channels))
    return layer


def by_jittor(layer, x, dy):
    """-> y, dx, dw, db, on the current device."""
    x = jt.array(x)
    y = layer(x)
    gradients = jt.grad((y * jt.array(dy)).sum(), [x, layer.weight, layer.bias])
    return [v.numpy() for v in (y, *gradients)]


def by_definition(case, x, weight, dy):
    """-> y, dx, dw, db in float64, by loops over the kernel positions."""
    (batch, channels, height, width), (kernel, stride, padding, dilation) = x.shape, case[4:]
    oh, ow = dy.shape[2:]
    reach = [stride * (n - 1) + dilation * (kernel - 1) + 1 for n in (oh, ow)]
    padded = np.zeros((batch, channels, max(reach[0], height + 2 * padding), max(reach[1], width + 2 * padding)))
    padded[:, :, padding : padding + height, padding : padding + width] = x
    y, dw, dx = np.zeros(dy.shape), np.zeros(weight.shape), np.zeros(padded.shape)
    for a in range(kernel):
        for b in range(kernel):
            window = (
                slice(None),
                slice(None),
                slice(a * dilation, a * dilation + stride * (oh - 1) + 1, stride),
                slice(b * dilation, b * dilation + stride * (ow - 1) + 1, stride),
            )
            tap = weight[:, 0, a, b].astype(np.float64)[:, None, None]
            y += tap * padded[window]
            dx[window] += tap * dy
            dw[:, 0, a, b] = (padded[window] * dy).sum((0, 2, 3))
    return y, dx[:, :, padding : padding + height, padding : padding + width], dw, dy.sum((0, 2, 3))


@pytest.mark.parametrize("case", CASES + CPU_CASES)
def test_the_cpu_layer_equals_the_definition(case, rng):
    x, weight, dy = arrays(case, rng)
    for ours, expected in zip(by_jittor(build(case, weight), x, dy), by_definition(case, x, weight, dy)):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("case", CASES[:5] + CPU_CASES[:3])
def test_the_sizes_of_van_use_the_cpu_kernel_and_equal_the_plain_sibling(case, monkeypatch, rng):
    x, weight, dy = arrays(case, rng)
    layer = build(case, weight)
    assert layer.has_cpu_kernel(jt.array(x)) and not layer.has_cpu_kernel(jt.array(x).float16())
    ours = by_jittor(layer, x, dy)
    monkeypatch.setattr(layer, "execute", layer.plain)
    for result, expected in zip(ours, by_jittor(layer, x, dy)):
        np.testing.assert_allclose(result, expected, atol=1e-5 * max(10, abs(expected).max()))


def test_the_cpu_kernels_do_not_depend_on_the_number_of_threads(rng):
    threads = ctypes.CDLL("libgomp.so.1")
    before, results = threads.omp_get_max_threads(), []
    x, weight, dy = arrays(CASES[0], rng)
    layer = build(CASES[0], weight)
    try:
        for count in (1, 2, 5):
            threads.omp_set_num_threads(count)
            results.append(by_jittor(layer, x, dy))
    finally:
        threads.omp_set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("depthwise")
    (folder / "run.cc").write_text(ONE_BY_ONE % FILE)
    command = ["g++", "-std=c++14", "-O1", "-w", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", folder / "run.so", folder / "run.cc"], check=True)
    return ctypes.CDLL(str(folder / "run.so"))


@pytest.mark.parametrize("slices", [1, 4, 64])
@pytest.mark.parametrize("case", CASES)
def test_cuda_kernels_on_the_cpu_equal_the_definition(case, slices, kernels, rng):
    data = arrays(case, rng)
    for ours, expected in zip(run_kernels(kernels.run_all, case, data, slices), by_definition(case, *data)):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("case", [(2, 3, 33, 41, 5, 1, 2, 1), (1, 2, 29, 31, 7, 1, 9, 3)])
def test_cuda_kernels_in_16_bits_round_once(case, kernels, rng):
    """Sums are float32: the error is half a unit in the last place, also of a weight gradient of 2700 terms."""
    data = [to_type(a, "bfloat16") for a in arrays(case, rng)]
    exact = by_definition(case, *(to_float64(a, "bfloat16") for a in data))
    for ours, expected in zip(run_kernels(kernels.run_bfloat, case, data, 4), exact):
        np.testing.assert_allclose(to_float64(ours, "bfloat16"), expected, rtol=2.0**-8, atol=1e-4)


def run_kernels(function, case, data, slices):
    """-> y, dx, dw"""
    x, weight, dy = data
    kernel, stride, padding, dilation = case[4:]
    numbers = [*x.shape, *dy.shape[2:], *(n for n in (kernel, stride, padding, dilation) for _ in "hw")]
    out = [np.full(a.shape, 255).astype(a.dtype) for a in (dy, x, weight)]
    partial = np.full((slices, weight.size), np.nan, np.float32)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*data, *out, partial)]
    function((ctypes.c_int * 14)(*numbers), slices, *pointers)
    return out


@pytest.mark.skipif(not shutil.which("nvcc"), reason="needs nvcc")
def test_nvcc_compiles_the_file(tmp_path):
    command = ["nvcc", "-std=c++14", "-c", "-o", tmp_path / "depthwise.o", "-x", "cu", FILE]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if "-std=c++14" in done.stderr:  # not supported by newer toolkits
        done = subprocess.run([str(p).replace("c++14", "c++17") for p in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not (runtime.count_gpus()[0] and jt.has_cuda), reason="needs a GPU and Jittor with CUDA")
@pytest.mark.parametrize("case", CASES + [(2, 64, 97, 97, 5, 1, 2, 1), (1, 32, 6, 8, 7, 1, 9, 3)])
def test_the_cuda_layer_equals_the_definition(case, rng):
    x, weight, dy = arrays(case, rng)
    early = build(case, weight)
    with jt.flag_scope(use_cuda=1):
        results = by_jittor(early, x, dy)
        other = by_jittor(build(case, weight), x, dy)
    for ours, expected, second in zip(results, by_definition(case, x, weight, dy), other):
        np.testing.assert_allclose(ours, expected, atol=1e-3, rtol=1e-4)
        np.testing.assert_array_equal(ours, second)  # no atomics
