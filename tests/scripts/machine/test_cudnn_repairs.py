"""The repairs to Jittor's cuDNN convolutions: their texts, and their C++ compiled with an imitation of cuDNN."""

import re
import subprocess

import pytest

from scripts.machine import cuda_repairs, cudnn_repairs, repair

IMITATION = r"""
#include <cstdio>
#include <stdexcept>
#include <string>
#include <iostream>
int collected = 0;
size_t free_bytes = 0, freed_by_collecting = 0;
struct Allocator {
    void* alloc(size_t size, size_t& allocation) {
        if (size > free_bytes) throw std::runtime_error("Unable to alloc");
        allocation = 7;
        return (void*)0x10;
    }
};
void gc_all() { collected++; free_bytes += freed_by_collecting; }
struct { Allocator* temp_allocator; } exe;
enum Status { CUDNN_STATUS_SUCCESS, CUDNN_STATUS_NOT_SUPPORTED };
struct Perf { int algo; Status status; };
int handle_, cudnnIdesc, cudnnFdesc, cudnnConvDesc, cudnnOdesc, num_algos = 4;
const size_t NEEDS[] = {8 << 20, 3 << 20, 1 << 20, 0};
void checkCudaErrors(Status status) { if (status) throw std::runtime_error("cuDNN"); }
Status @ALGORITHMS@(int, int, int, int, int, int count, int* found, Perf* results) {
    *found = count;  // the fastest first; one of them does not work
    for (int i = 0; i < count; i++) results[i] = {i, i == 1 ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS};
    return CUDNN_STATUS_SUCCESS;
}
Status @WORKSPACE@(int, int, int, int, int, int algo, size_t* size) {
    *size = NEEDS[algo];
    return CUDNN_STATUS_SUCCESS;
}
#define ASSERT(x) if (!(x)) std::cout
@HELPER@
int main(int, char** argv) {
    Allocator allocator;
    exe.temp_allocator = &allocator;
    free_bytes = std::stoul(argv[1]), freed_by_collecting = std::stoul(argv[2]);
    int algo = 0, perf_count = 0;
    Perf perf_results[4];
    void* workSpace = nullptr;
    size_t workSpaceSize = NEEDS[algo], allocation = 0;
@RUN@
    std::printf("algorithm %d, %zu bytes, collected %d, allocation %zu\n", algo, workSpaceSize, collected, allocation);
    return workSpace == nullptr;
}
"""


def convolution(file):
    """Jittor's file with all repairs for CUDA."""
    text = (repair.jittor_folder() / file).read_bytes().decode()
    for _, _, _, edits, _ in (*cuda_repairs.REPAIRS, *cudnn_repairs.REPAIRS):
        for name, texts in edits:
            for old, new, _ in texts if name == file else ():
                text = text.replace(old, new)
    return text


@pytest.mark.parametrize("file", cuda_repairs.CONVOLUTIONS)
def test_each_direction_uses_tensor_cores_for_16_bits_and_its_own_functions_of_cudnn(file):
    text = convolution(file)
    math = text[text.index("using tensor core") : text.index("int dimY[]") if "3d" not in file else None]
    assert "sizeof(Tx) == 2" in math or "has_fp16_or_bf16" in math
    published = re.search(r"cudnnGetConvolution(\w+)Algorithm_v7\(\s+handle_,([\w\s,]+),\s+num_algos", text)
    ours = re.findall(r"cudnnGetConvolution(\w+)Algorithm_v7\(\n\s+handle_, ([\w, ]+), num_algos", text)[-1]
    assert ours == (published.group(1), ", ".join(published.group(2).replace(",", " ").split()))
    assert "alloc(max_ws_size" not in text and "alloc(workSpaceSize" not in text


@pytest.mark.parametrize("file", [cudnn_repairs.BACKWARD_W, cudnn_repairs.BACKWARD_W_3D])
def test_the_list_of_algorithms_has_as_many_entries_as_the_loop_reads(file):
    entries = re.search(r"algos\[\] = \{(.*?)\}", convolution(file), re.S).group(1).split(",")
    assert len([entry for entry in entries if entry.strip()]) == 7  # CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT


def test_without_memory_for_its_workspace_a_convolution_uses_another_algorithm(tmp_path):
    file = cudnn_repairs.FORWARD
    run = re.search(r"    if \(workSpaceSize > 0\) \{\n.*?\n    \}\n", convolution(file), re.S).group()
    source = IMITATION.replace("@RUN@", run).replace("@HELPER@", cudnn_repairs.HELPER[1])
    source = source.replace("EXTERN_LIB float max_workspace_ratio;", "")
    source = source.replace("@ALGORITHMS@", "cudnnGetConvolutionForwardAlgorithm_v7")
    source = source.replace("@WORKSPACE@", "cudnnGetConvolutionForwardWorkspaceSize")
    (tmp_path / "a.cc").write_text(source)
    subprocess.run(["g++", "-std=c++14", "-w", "a.cc", "-o", "a"], cwd=tmp_path, check=True)

    def chosen(*bytes_free):
        done = subprocess.run([tmp_path / "a", *map(str, bytes_free)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert chosen(9 << 20, 0) == f"algorithm 0, {8 << 20} bytes, collected 0, allocation 7"  # it fits
    assert chosen(0, 9 << 20) == f"algorithm 0, {8 << 20} bytes, collected 1, allocation 7"  # after freeing caches
    assert chosen(5 << 20, 0) == f"algorithm 2, {4 << 20} bytes, collected 1, allocation 7"  # 1 does not work here
    assert chosen(1000, 0) == "algorithm 3, 0 bytes, collected 1, allocation 7"
