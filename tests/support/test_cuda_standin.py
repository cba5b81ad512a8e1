"""The stand-in for CUDA: what it supports and which errors it detects, with small kernels."""

import ctypes
import re

import numpy as np
import pytest
from support.cuda_cca import STANDIN, build, pointer, to_type

KERNELS = r"""
namespace cca {

using standin::Buffer;

// fault: the error to make, 0 for none. in, out: one float per thread.
void run_fault(int fault, int n, const float* in_all, float* out_all) {
    CCA_DYNAMIC_SHARED(memory);
    const Shared<float> s(reinterpret_cast<float*>(memory));
    const Global<const float> in(in_all);
    const Global<float> out(out_all);
    const int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    __shared__ float fixed[64];
    if (t < 64) fixed[t] = 1;
    s[t] = in[fault == 1 ? i + 1 : i];
    if (fault == 2) out[i - 1] = 0;
    if (fault == 3) const_cast<float&>(*in_all) = 0, Global<float>(const_cast<float*>(in_all))[i] = 0;
    if (fault == 4) s[t] = s[blockDim.x];
    if (fault == 5) s[blockDim.x + 32] = 0;
    if (fault != 6) __syncthreads();
    const float reversed = fault < 14 ? s[blockDim.x - 1 - t] : 0;
    if (fault == 7) s[t] = 0;
    if (fault == 8 && t < 32) __syncthreads();
    if (fault == 9 && t == 3) return;
    if (fault == 9) __syncthreads();
    if (fault == 10) {
        if (t % 2) __syncwarp();
        else __shfl_xor_sync(0xffffffffu, 1.f, 1);
    }
    if (fault == 11) load_pack<4, float>(s + 1);
    if (fault == 12) out[0] = reversed;
    if (fault == 13) {
        if (t < 32) __syncthreads();
        else __syncthreads();
    }
    if (fault == 14) s[t] = s[t ^ 1];
    if (fault == 15) {  // lanes of one warp exchange values: a barrier of the warp is enough
        const float other = s[t ^ 1];
        __syncwarp();
        s[t] = other;
        __syncwarp();
        out[i] = s[t ^ 1];
    } else if (fault != 12) {
        out[i] = reversed + __shfl_xor_sync(0xffffffffu, reversed, 1) + fixed[63];
    }
}

// out = a b for 16 x 16 matrices in 16 bits; b is stored by columns.
template <class T>
void multiply(const T* a_all, const T* b_all, float* out) {
    nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, T, nvcuda::wmma::row_major> a;
    nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, T, nvcuda::wmma::col_major> b;
    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> sum;
    nvcuda::wmma::fill_fragment(sum, 0.f);
    nvcuda::wmma::load_matrix_sync(a, Global<const T>(a_all), 16);
    nvcuda::wmma::load_matrix_sync(b, Global<const T>(b_all), 16);
    nvcuda::wmma::mma_sync(sum, a, b, sum);
    nvcuda::wmma::store_matrix_sync(Global<float>(out), sum, 16, nvcuda::wmma::mem_row_major);
}

}  // namespace cca

static std::string message;
template <class F>
const char* guarded(const F& f) {
    try {
        f(), message = cudaGetErrorString(cudaGetLastError());
    } catch (const std::exception& error) {
        message = error.what();
    }
    return message.c_str();
}

extern "C" const char* run_fault(int fault, int blocks, int threads, int bytes, const float* in, float* out) {
    const standin::Buffer buffers[] = {{"in", in, sizeof(float) * blocks * threads, false},
                                       {"out", out, sizeof(float) * blocks * threads, true}};
    return guarded([&] { CCA_LAUNCH(cca::run_fault, blocks, threads, bytes, fault, blocks * threads, in, out); });
}
extern "C" int allow(int bytes) {
    return cudaFuncSetAttribute(cca::run_fault, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}
extern "C" const char* multiply(int type, const void* a, const void* b, float* out) {
    const standin::Buffer buffers[] = {{"a", a, 512, false}, {"b", b, 512, false}, {"out", out, 1024, true}};
    return guarded([&] {
        if (type == 1) CCA_LAUNCH(cca::multiply<__half>, 1, 32, 0, (const __half*)a, (const __half*)b, out);
        else CCA_LAUNCH(cca::multiply<__nv_bfloat16>, 1, 32, 0, (const __nv_bfloat16*)a, (const __nv_bfloat16*)b, out);
    });
}
extern "C" void round16(int type, int n, const float* from, unsigned short* bits, float* back) {
    for (int i = 0; i < n; i++) {
        bits[i] = type == 1 ? __float2half_rn(from[i]).bits : __float2bfloat16_rn(from[i]).bits;
        back[i] = type == 1 ? __half2float({bits[i]}) : __bfloat162float({bits[i]});
    }
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    source = tmp_path_factory.mktemp("standin") / "kernels.cc"
    source.write_text(KERNELS)
    library = ctypes.CDLL(str(build(source)))
    library.run_fault.restype = library.multiply.restype = ctypes.c_char_p
    return library


@pytest.fixture
def run(library):
    def call(fault, blocks=2, threads=64, bytes=None):
        size = blocks * threads
        numbers, out = np.arange(size, dtype=np.float32), np.full(size, np.nan, np.float32)
        bytes = threads * 4 if bytes is None else bytes
        return library.run_fault(fault, blocks, threads, bytes, pointer(numbers), pointer(out)).decode(), out

    return call


def test_blocks_threads_barriers_shuffles_and_shared_memory(run):
    message, out = run(0)
    reversed = np.arange(128).reshape(2, 64)[:, ::-1]
    neighbour = reversed.reshape(2, 32, 2)[:, :, ::-1].reshape(2, 64)
    np.testing.assert_array_equal(out.reshape(2, 64), reversed + neighbour + 1, message)


@pytest.mark.parametrize(
    "fault, words",
    [
        (1, "read outside in at byte 512 of 512: block 1, thread 63"),
        (2, "write outside out at byte -4 of 512: block 0, thread 0"),
        (3, "write to the input in"),
        (4, "read outside shared memory at byte 256 of 256"),
        (5, "write outside shared memory"),
        (6, "read of uninitialised memory, shared memory at byte 252 of 256"),
        (7, "race: .* shared memory"),
        (8, "not every thread reaches the barrier at .*kernels.cc:[0-9]+"),
        (9, "not every thread reaches the barrier"),
        (10, "threads wait at different barriers: .*shfl"),
        (11, "misaligned vector read"),
        (12, "race: .* out at byte 0"),
        (13, "threads wait at different barriers: .*kernels.cc"),
        (14, "race: .* shared memory"),
    ],
)
def test_faults_are_detected(run, fault, words):
    message, _ = run(fault)
    assert re.search(words, message), message
    np.testing.assert_array_equal(run(15)[1], np.arange(128))  # the next launch works


def test_inside_a_warp_a_barrier_of_the_warp_is_enough(run):
    message, out = run(15)
    np.testing.assert_array_equal(out, np.arange(128), message)


def test_a_read_of_uninitialised_memory_is_detected_even_if_the_value_is_not_used(run):
    assert "read outside" in run(4, bytes=256)[0] and "uninitialised" in run(4, bytes=512)[0]


def test_limits_of_a_launch(library, run):
    refused = "invalid value or configuration"
    assert run(0, threads=2048)[0] == run(0, threads=33)[0] == run(0, bytes=(48 << 10) + 4)[0] == refused
    assert library.allow(1 << 20) != 0 and library.allow(64 << 10) == 0
    message, out = run(0, bytes=64 << 10)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_tensor_cores_multiply_exactly_and_add_in_float32(library, rng, dtype):
    a, b = rng.integers(-8, 8, (2, 16, 16)).astype(np.float32) / 4
    memory = np.zeros(4096, np.uint8)
    memory = memory[-memory.ctypes.data % 32 :]
    left, right, out = memory[:512], memory[512:1024], memory[1024:2048].view(np.float32).reshape(16, 16)
    left[:], right[:] = (np.ascontiguousarray(to_type(x, dtype)).view(np.uint8).ravel() for x in (a, b.T))
    number = 1 if dtype == "float16" else 2
    library.multiply(number, pointer(left), pointer(right), pointer(out))
    np.testing.assert_array_equal(out, a @ b)
    elsewhere = memory[2064:2576]
    assert b"multiple of 32 bytes" in library.multiply(number, pointer(elsewhere), pointer(right), pointer(out))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_numbers_round_to_the_nearest_even(library, rng, dtype):
    x = np.concatenate(
        [rng.standard_normal(3000) * 10.0 ** rng.integers(-9, 6, 3000), [0, -0.0, np.inf, -np.inf, 65519, 65520]]
    )
    x = np.concatenate([x, np.arange(2048, 2060) / 2048, np.arange(1, 20) * 2.0**-25]).astype(np.float32)
    bits, back = np.zeros(len(x), np.uint16), np.zeros(len(x), np.float32)
    library.round16(1 if dtype == "float16" else 2, len(x), pointer(x), pointer(bits), pointer(back))
    with np.errstate(over="ignore"):
        expected = to_type(x, dtype)
    np.testing.assert_array_equal(bits, expected.view(np.uint16))
    if dtype == "float16":
        np.testing.assert_array_equal(back, expected.astype(np.float32))
    else:
        np.testing.assert_array_equal(back.view(np.uint32), bits.astype(np.uint32) << 16)


def test_it_is_small():
    assert len(STANDIN.read_text().splitlines()) < 450
