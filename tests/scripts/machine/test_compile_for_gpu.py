"""compile_for_gpu.py: its imitation of the CUDA runtime, its errors, and one network where CUDA is prepared."""

import ctypes
import json
import subprocess
import sys

import pytest

from scripts.machine import compile_for_gpu, cuda
from utils import machine, runtime

PREPARED = "nvcc" in runtime.read_record().get("cuda", {})


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    nvcc = runtime.find_nvcc()
    headers = cuda.find_toolkit(nvcc)[1] / "include" if nvcc else None
    if not headers or not (headers / "cuda_runtime.h").is_file():
        pytest.skip("needs the headers of a CUDA toolkit")
    library = tmp_path_factory.mktemp("fake") / "fake.so"
    command = ["g++", "-std=c++17", "-fPIC", "-shared", f"-I{headers}", "-DCAPABILITY=86", compile_for_gpu.SOURCE]
    subprocess.run([*command, "-o", library], check=True)
    assert {"cudaMalloc", "cudnnCreate", "__cudaRegisterFatBinary"} <= compile_for_gpu.symbols(library)
    return ctypes.CDLL(str(library))


def test_device_memory_is_host_memory(fake):
    pointer, back = ctypes.c_void_p(), ctypes.create_string_buffer(5)
    assert fake.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(5)) == 0 and pointer.value
    assert fake.cudaMemcpy(pointer, b"hello", ctypes.c_size_t(5), 1) == 0
    assert fake.cudaMemcpy(back, pointer, ctypes.c_size_t(5), 2) == 0 and back.raw == b"hello"
    assert fake.cudaFree(pointer) == 0


def test_there_is_one_gpu_of_the_asked_architecture_and_callbacks_are_called(fake):
    count, major, minor, called = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), []
    fake.cudaGetDeviceCount(ctypes.byref(count))
    fake.cudaDeviceGetAttribute(ctypes.byref(major), 75, 0)
    fake.cudaDeviceGetAttribute(ctypes.byref(minor), 76, 0)
    assert (count.value, major.value, minor.value) == (1, 8, 6)
    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(called.append)  # Jittor copies results to the host with one
    fake.cudaLaunchHostFunc(None, callback, ctypes.c_void_p(7))
    assert called == [7]


def test_a_convolution_finds_an_algorithm(fake):
    count, results = ctypes.c_int(), (ctypes.c_int * 40)(*[9] * 40)
    nothing = [None] * 8
    fake.cudnnFindConvolutionForwardAlgorithmEx(*nothing, 8, ctypes.byref(count), results, None, ctypes.c_size_t(0))
    assert count.value == 1 and results[0] == results[1] == 0


def test_without_a_preparation_it_is_one_error(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "RECORD", tmp_path / "machine.json")
    with pytest.raises(
        runtime.MachineError, match="not prepared for CUDA. Fix: python scripts/prepare_jittor.py --cuda"
    ):
        compile_for_gpu.prepared()
    machine.RECORD.write_text(json.dumps({"cuda": {"missing": "CUDA 13.0 without libcudnn"}}))
    with pytest.raises(runtime.MachineError, match="CUDA 13.0 without libcudnn. Fix"):
        compile_for_gpu.prepared()


def test_the_error_of_the_compiler_is_in_the_table(tmp_path):
    log = tmp_path / "log"
    log.write_text('Compiling 1/2\r2/2\n/a/b.cu(12): error: identifier "x" is undefined\nRuntimeError: [Error] ...\n')
    assert compile_for_gpu.first_error(log) == '/a/b.cu(12): error: identifier "x" is undefined'
    log.write_text("")
    assert compile_for_gpu.first_error(log) == "no output"


def test_the_functions_of_a_library(tmp_path):
    (tmp_path / "a.c").write_text("int cudaFoo() { return 0; } int other() { return 0; } static int cudaHidden;\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", "a.c", "-o", "a.so"], cwd=tmp_path, check=True)
    assert compile_for_gpu.symbols(tmp_path / "a.so") == {"cudaFoo"}


def test_operators_are_counted_by_their_compiler(tmp_path):
    (tmp_path / "jit").mkdir()
    (tmp_path / "jit/a_op.so.key").write_text('"/env/cuda/bin/nvcc" "a_op.cc" -shared')
    (tmp_path / "jit/b_op.so.key").write_text('"/usr/bin/g++" "b_op.cc" -shared')
    operators = compile_for_gpu.compiled([tmp_path])
    assert {name: value[1] for name, value in operators.items()} == {"a_op.so.key": True, "b_op.so.key": False}


@pytest.mark.slow
@pytest.mark.skipif(not PREPARED, reason="needs `prepare_jittor.py --cuda-archs 90` with nvcc and NVIDIA's wheels")
@pytest.mark.parametrize("network", ["ccnet_r18", "van_tiny"])
def test_all_operators_of_a_training_step_compile(network):
    """Half an hour on two cores in an environment in which nothing is compiled."""
    command = [sys.executable, "scripts/machine/compile_for_gpu.py", "--models", network]
    done = subprocess.run(command, cwd=compile_for_gpu.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("| compiled |") == 3, done.stdout + done.stderr
