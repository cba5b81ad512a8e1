"""Asynchronous copies to shared memory (cp.async) in the stand-in for CUDA, and the errors in their use."""

import ctypes
import re

import numpy as np
import pytest
from support.cuda_cca import build, pointer

KERNEL = r"""
namespace cca {

// Each thread copies 8 and 4 bytes to shared memory, in two groups, and reads what its neighbour has copied.
void run_copies(int fault, const float* in_all, float* out_all) {
    CCA_DYNAMIC_SHARED(memory);
    const Shared<float> s(reinterpret_cast<float*>(memory));
    const Global<const float> in(in_all);
    const Global<float> out(out_all);
    const int t = threadIdx.x, mine = 4 * t, other = 4 * (t ^ 1);
    copy_async<2, float>(s + mine, in + mine, 2);
    if (fault != 5) commit_copies();
    if (fault == 1) copy_async<4, float>(s + mine + 2, in + mine, 4);
    if (fault == 2) copy_async<4, float>(s + mine, in + mine + 1, 4);
    if (fault == 3) copy_async<3, float>(s + mine, in + mine, 3);
    if (fault == 6) s[mine] = 0;
    if (fault == 7) copy_async<2, float>(s + mine, in, 2);
    if (fault == 8) copy_async<1, float>(s + 4 * blockDim.x, in, 1);
    copy_async<2, float>(s + mine + 2, in + mine + 2, fault == 4 ? 3 : 1);
    if (fault != 5) commit_copies();
    if (fault != 10) standin::wait_for_copies(fault == 9);
    if (fault == 14) out[0] = s[mine] + s[mine + 3];  // its own copies need no barrier
    if (fault != 11) __syncthreads();
    if (fault == 12) copy_async<1, float>(s + other, in, 1);
    for (int n = 0; n < 4; n++) out[mine + n] = s[other + n];
    if (fault == 13) copy_async<1, float>(s + mine, in, 1), commit_copies(), wait_for_copies();
    if (fault == 15) __syncthreads();
    if (fault == 15) copy_async<1, float>(s + mine, in, 1), commit_copies();
}

}  // namespace cca

extern "C" const char* run_copies(int fault, int threads, const float* in, float* out) {
    static std::string message;
    const standin::Buffer buffers[] = {{"in", in, sizeof(float) * threads * 4, false},
                                       {"out", out, sizeof(float) * threads * 4, true}};
    try {
        message.clear();
        CCA_LAUNCH(cca::run_copies, 1, threads, 16 * threads, fault, in, out);
    } catch (const std::exception& error) {
        message = error.what();
    }
    return message.c_str();
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    source = tmp_path_factory.mktemp("copies") / "kernel.cc"
    source.write_text(KERNEL)
    library = ctypes.CDLL(str(build(source)))
    library.run_copies.restype = ctypes.c_char_p
    return library


@pytest.fixture
def run(library):
    def call(fault, threads=64):
        memory = np.zeros(4 * threads + 4, np.float32)
        numbers = memory[-memory.ctypes.data % 16 // 4 :][: 4 * threads]
        numbers[:] = np.arange(4 * threads)
        out = np.full(4 * threads, np.nan, np.float32)
        return library.run_copies(fault, threads, pointer(numbers), pointer(out)).decode(), out

    return call


def test_copies_arrive_with_zeros_after_what_is_read(run):
    message, out = run(0)
    expected = np.arange(256, dtype=np.float32).reshape(32, 2, 4)[:, ::-1].copy()
    expected[..., 3] = 0
    np.testing.assert_array_equal(out.reshape(32, 2, 4), expected, message)


@pytest.mark.parametrize(
    "fault, words",
    [
        (1, "misaligned asynchronous copy of 16 bytes"),  # destination
        (2, "misaligned asynchronous copy of 16 bytes"),  # source
        (3, "an asynchronous copy of 12 bytes; possible are 4, 8 and 16"),
        (4, "an asynchronous copy of 8 bytes; possible"),  # reads more than it copies
        (5, "asynchronous copy still writes, shared memory"),  # copies without a group are not waited for
        (6, "asynchronous copy still writes, shared memory at byte 0 of 1024: block 0, thread 0"),
        (7, "asynchronous copy still writes, shared memory"),  # a second copy to the same place
        (8, "write outside shared memory"),
        (9, "asynchronous copy still writes, shared memory"),  # waits for the first of two groups
        (10, "asynchronous copy still writes, shared memory"),  # no wait
        (11, "read of uninitialised memory, shared memory"),  # no barrier
        (12, "asynchronous copy still writes, shared memory"),
        (13, "race: thread 0 wrote before without a barrier, shared memory"),  # one buffer, no barrier
        (14, "race: .* out at byte 0"),
        (15, "a thread ends before its asynchronous copies arrive"),
    ],
)
def test_faults_are_detected(run, fault, words):
    message, _ = run(fault)
    assert re.search(words, message), message
    assert np.isfinite(run(0)[1]).all()  # the next launch works
