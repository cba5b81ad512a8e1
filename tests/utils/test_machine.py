"""utils/machine.py: the choice of the device, and the environment variables that Jittor gets."""

import json
import sys

import pytest

from utils import machine


def test_an_nvcc_without_a_gpu_means_cpu(monkeypatch, tmp_path):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(machine, "count_gpus", lambda: (0, "no NVIDIA driver"))
    monkeypatch.delenv("nvcc_path", raising=False)
    assert machine.find_nvcc() == str(nvcc)
    assert machine.choose_device("auto") == ("cpu", "no NVIDIA driver")
    assert machine.environment("cpu")["nvcc_path"] == ""  # Jittor would take the nvcc it finds
    with pytest.raises(machine.MachineError, match="--device cuda: no NVIDIA driver. Fix: .*--device cpu"):
        machine.choose_device("cuda")


def test_a_gpu_without_nvcc_is_reported(monkeypatch):
    monkeypatch.setattr(machine, "count_gpus", lambda: (2, ""))
    monkeypatch.setattr(machine, "find_nvcc", lambda: None)
    assert machine.choose_device("auto") == ("cpu", "there is a GPU, but no nvcc to compile its kernels")
    monkeypatch.setattr(machine, "find_nvcc", lambda: "/opt/nvcc")
    assert machine.choose_device("auto") == ("cuda", "2 GPUs, /opt/nvcc")


def test_an_unknown_device_is_named():
    with pytest.raises(machine.MachineError, match="'tpu' is unknown; choose from auto, cpu, cuda"):
        machine.choose_device("tpu")


def test_variables_of_the_user_are_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("cache_name", "mine")
    env = machine.environment("cpu")
    assert "OMP_NUM_THREADS" not in env and "cache_name" not in env


def test_ranks_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "4")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)))  # not bound
    assert machine.environment("cpu")["OMP_NUM_THREADS"] == "2"
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {3})  # bound to one core by mpirun
    assert machine.environment("cpu")["OMP_NUM_THREADS"] == "1"


def test_jittor_home_is_the_folder_that_jittor_uses(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    assert machine.jittor_home() == tmp_path
    recorded = tmp_path / "elsewhere"
    (tmp_path / ".cache/jittor").mkdir(parents=True)
    (tmp_path / ".cache/jittor/config.json").write_text(json.dumps({"JITTOR_HOME": str(recorded)}))
    assert machine.jittor_home() == recorded
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "named"))
    assert machine.jittor_home() == tmp_path / "named"


def test_an_unwritable_home_is_replaced_by_a_folder_of_the_environment(monkeypatch):
    monkeypatch.setenv("HOME", "/proc/no-such-home")
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    fallback = machine.Path(sys.prefix) / "jittor_home"
    env = machine.environment("cpu")
    assert machine.jittor_home() == fallback and env["HOME"] == env["JITTOR_HOME"] == str(fallback)


@pytest.fixture
def prepared(monkeypatch, tmp_path):
    """A machine with two models of GPU whose preparation is on record."""
    record = {"nvcc": "/env/cuda/bin/nvcc", "asked": "/usr/bin/nvcc", "archs": [90], "nccl": ["/env/i", "/env/l"]}
    monkeypatch.setattr(machine, "RECORD", tmp_path / "machine.json")
    monkeypatch.setattr(machine, "compute_capabilities", lambda: [70, 90])
    monkeypatch.setattr(machine, "count_gpus", lambda: (2, ""))
    monkeypatch.setattr(machine, "find_nvcc", lambda: "/usr/bin/nvcc")
    for name in ("nvcc_path", "cuda_archs", "use_cutt", "use_nccl", "use_cutlass", "use_cuda_host_allocator"):
        monkeypatch.delenv(name, raising=False)

    def write(**changes):
        machine.RECORD.write_text(json.dumps({"mpicc": "", "cuda": {**record, **changes}}))

    write()
    return write


def test_a_run_on_cuda_gets_what_was_prepared(prepared, monkeypatch):
    env = machine.environment("cuda")
    assert env["nvcc_path"] == "/env/cuda/bin/nvcc" and env["cuda_archs"] == "70 90"
    assert env["use_cutt"] == env["use_cutlass"] == "0" and env["use_cuda_host_allocator"] == "0"
    assert (env["use_nccl"], env["nccl_include_path"], env["nccl_lib_path"]) == ("1", "/env/i", "/env/l")
    assert machine.environment("cpu")["nvcc_path"] == ""
    monkeypatch.setenv("nvcc_path", "/usr/bin/nvcc")  # prepared for this one, which the laid out one replaces
    assert machine.environment("cuda")["nvcc_path"] == "/env/cuda/bin/nvcc"
    monkeypatch.setenv("nvcc_path", "/opt/cuda-12/bin/nvcc")
    with pytest.raises(machine.MachineError, match="nvcc_path is /opt/cuda-12/bin/nvcc, but .* for /usr/bin/nvcc. Fix"):
        machine.environment("cuda")


def test_without_nccl_and_without_a_gpu(prepared, monkeypatch):
    prepared(nccl=[])
    monkeypatch.setattr(machine, "compute_capabilities", lambda: [])
    env = machine.environment("cuda")
    assert env["use_nccl"] == "0" and "nccl_lib_path" not in env
    assert env["cuda_archs"] == "90" and env["use_cuda_host_allocator"] == "0"


def test_a_gpu_that_could_not_be_prepared_is_not_chosen(prepared):
    machine.RECORD.write_text(json.dumps({"cuda": {"missing": "CUDA 13.0 without libcudnn and cudnn.h"}}))
    assert machine.choose_device("auto") == ("cpu", "there is a GPU, but CUDA 13.0 without libcudnn and cudnn.h")
    with pytest.raises(machine.MachineError, match="but CUDA 13.0 without libcudnn.*prepare_jittor.py --device cuda"):
        machine.choose_device("cuda")
    machine.RECORD.unlink()
    assert machine.choose_device("auto")[0] == "cuda"  # not prepared: Jittor may still find what it needs


def test_without_onednn_jittor_does_not_download_it(prepared, monkeypatch):
    monkeypatch.delenv("use_mkl", raising=False)
    assert "use_mkl" not in machine.environment("cuda")
    machine.RECORD.write_text(json.dumps({**json.loads(machine.RECORD.read_text()), "onednn": False}))
    assert machine.environment("cuda")["use_mkl"] == "0"


def test_the_driver_names_the_chips(monkeypatch):
    """A stand-in for libcuda: three GPUs of two models."""

    class Driver:
        def cuDeviceGet(self, device, index):
            device._obj.value = 100 + index

        def cuDeviceGetAttribute(self, value, attribute, device):
            value._obj.value = {75: (7, 9, 9), 76: (0, 0, 0)}[attribute][device.value - 100]

    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: Driver())
    monkeypatch.setattr(machine, "count_gpus", lambda: (3, ""))
    assert machine.compute_capabilities() == [70, 90]
