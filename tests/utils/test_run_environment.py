"""What a run on CUDA gets from the record of the preparation, through the environment variables that Jittor reads."""

import json

import pytest

from utils import runtime


@pytest.fixture
def prepared(monkeypatch, tmp_path):
    """A machine with two kinds of GPU whose preparation is on record."""
    record = {"nvcc": "/env/cuda/bin/nvcc", "asked": "/usr/bin/nvcc", "archs": [90], "nccl": ["/env/i", "/env/l"]}
    monkeypatch.setattr(runtime, "RECORD", tmp_path / "machine.json")
    monkeypatch.setattr(runtime, "compute_capabilities", lambda: [70, 90])
    monkeypatch.setattr(runtime, "count_gpus", lambda: (2, ""))
    monkeypatch.setattr(runtime, "find_nvcc", lambda: "/usr/bin/nvcc")
    for name in ("nvcc_path", "cuda_archs", "use_cutt", "use_nccl", "use_cutlass", "use_cuda_host_allocator"):
        monkeypatch.delenv(name, raising=False)

    def write(**changes):
        runtime.RECORD.write_text(json.dumps({"mpicc": "", "cuda": {**record, **changes}}))

    write()
    return write


def test_a_run_on_cuda_gets_what_was_prepared(prepared, monkeypatch):
    env = runtime.environment("cuda")
    assert env["nvcc_path"] == "/env/cuda/bin/nvcc" and env["cuda_archs"] == "70 90"
    assert env["use_cutt"] == env["use_cutlass"] == "0" and "use_cuda_host_allocator" not in env
    assert (env["use_nccl"], env["nccl_include_path"], env["nccl_lib_path"]) == ("1", "/env/i", "/env/l")
    assert runtime.environment("cpu")["nvcc_path"] == ""
    monkeypatch.setenv("nvcc_path", "/usr/bin/nvcc")  # the one it was prepared for: the laid out one stands for it
    assert runtime.environment("cuda")["nvcc_path"] == "/env/cuda/bin/nvcc"
    monkeypatch.setenv("nvcc_path", "/opt/cuda-12/bin/nvcc")
    with pytest.raises(
        runtime.MachineError, match="nvcc_path is /opt/cuda-12/bin/nvcc, but .* for /usr/bin/nvcc. Next"
    ):
        runtime.environment("cuda")


def test_without_nccl_and_without_a_gpu(prepared, monkeypatch):
    prepared(nccl=[])
    monkeypatch.setattr(runtime, "compute_capabilities", lambda: [])
    env = runtime.environment("cuda")
    assert env["use_nccl"] == "0" and "nccl_lib_path" not in env
    assert env["cuda_archs"] == "90" and env["use_cuda_host_allocator"] == "0"


def test_a_gpu_that_could_not_be_prepared_is_not_chosen(prepared):
    runtime.RECORD.write_text(json.dumps({"cuda": {"missing": "CUDA 13.0 without libcudnn and cudnn.h"}}))
    assert runtime.choose_device("auto") == ("cpu", "there is a GPU, but CUDA 13.0 without libcudnn and cudnn.h")
    with pytest.raises(runtime.MachineError, match="but CUDA 13.0 without libcudnn.*prepare_jittor.py --device cuda"):
        runtime.choose_device("cuda")
    runtime.RECORD.unlink()
    assert runtime.choose_device("auto")[0] == "cuda"  # not prepared: Jittor may still find what it needs


def test_without_onednn_jittor_does_not_download_it(prepared, monkeypatch):
    monkeypatch.delenv("use_mkl", raising=False)
    assert "use_mkl" not in runtime.environment("cuda")
    runtime.RECORD.write_text(json.dumps({**json.loads(runtime.RECORD.read_text()), "onednn": False}))
    assert runtime.environment("cuda")["use_mkl"] == "0"


def test_the_driver_names_the_chips(monkeypatch):
    """A stand-in for libcuda: three GPUs of two kinds."""

    class Driver:
        def cuDeviceGet(self, device, index):
            device._obj.value = 100 + index

        def cuDeviceGetAttribute(self, value, attribute, device):
            value._obj.value = {75: (7, 9, 9), 76: (0, 0, 0)}[attribute][device.value - 100]

    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda name: Driver())
    monkeypatch.setattr(runtime, "count_gpus", lambda: (3, ""))
    assert runtime.compute_capabilities() == [70, 90]
