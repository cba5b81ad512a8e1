"""Which GPUs an nvcc can compile for, with an imitation of nvcc that prints its arguments."""

import subprocess

import pytest
from support.cuda_toolkit import toolkit, wheels

from scripts import prepare_jittor
from scripts.machine import architectures, cuda
from utils import machine, runtime


@pytest.fixture
def prepared(tmp_path):
    """-> prepare(version of CUDA, architectures that nvcc lists, architectures of the GPUs): the record."""
    site = wheels(tmp_path / "site")

    def prepare(version, known, archs):
        root = toolkit(tmp_path / f"cuda-{version}", version, known)
        return cuda.prepare(str(root / "bin/nvcc"), tmp_path / "env/cuda", [site], archs)

    return prepare


def words(record, *arguments):
    return subprocess.run([record["nvcc"], *arguments], capture_output=True, text=True).stdout.splitlines()


def test_a_v100_with_cuda_13_is_one_error_before_anything_is_written(prepared, tmp_path):
    with pytest.raises(runtime.MachineError) as caught:
        prepared("13.0", (75, 80, 90), [70])
    text = str(caught.value)
    assert text.startswith(f"CUDA 13.0 ({tmp_path}/cuda-13.0/bin/nvcc) compiles for sm_75 and newer, and a GPU here is")
    assert "sm_70 (V100)\n  Fix: install the toolkit of CUDA 12" in text and "CUDA_VISIBLE_DEVICES" not in text
    assert not (tmp_path / "env").exists()
    with pytest.raises(runtime.MachineError, match="sm_60\n.*or leave the older GPU out with CUDA_VISIBLE_DEVICES"):
        prepared("13.0", (75, 80, 90), [60, 90])


@pytest.mark.parametrize(
    "known, code, expected",
    [
        ((75, 80, 90, 120), 120, ["-arch=compute_120", "-code=sm_120"]),  # nvcc knows it
        ((75, 80, 90), 120, ["-gencode=arch=compute_90,code=compute_90"]),  # PTX, which the driver compiles
        ((75, 80, 86), 89, ["-gencode=arch=compute_86,code=[sm_86,compute_86]"]),  # the code of 8.6 runs on 8.9
    ],
)
def test_a_newer_gpu_gets_code_that_runs_there(prepared, known, code, expected):
    record = prepared("13.0", known, [code])
    passed = words(record, "-std=c++14", f"-arch=compute_{code}", f"-code=sm_{code}", "a.cu")
    assert [word for word in passed if "arch" in word or "code" in word] == expected
    assert passed[0] == "-std=c++17" and "a.cu" in passed
    note = "" if code in known else f" (as compute_{known[-1]}, which the driver compiles for it)"
    assert architectures.describe([code], record["known"]) == f"sm_{code}{note}"


def test_two_models_of_gpu_get_code_of_their_own(prepared):
    record = prepared("13.0", (70, 75, 80, 90), [70, 90])
    passed = words(record, "-std=c++14", "-arch=compute_70", "-code=sm_70", "-code=sm_90", "a.cu")
    gencode = ["-gencode=arch=compute_70,code=sm_70", "-gencode=arch=compute_90,code=sm_90"]
    assert passed == ["-std=c++17", "a.cu", *gencode]
    sm_90a = "-gencode=arch=compute_90a,code=sm_90a"
    assert words(record, "-arch=compute_70", "-code=sm_70", "-code=sm_90", sm_90a, "a.cu") == [sm_90a, "a.cu"]
    assert words(record, "a b.cu") == ["a b.cu"]  # Jittor's core is compiled without an architecture


def test_an_nvcc_that_lists_nothing_is_known_by_its_version():
    listing = "nvcc fatal   : Unknown option '-list-gpu-arch'"
    assert architectures.known_to(listing, (10, 2))[-1] == 75 and architectures.known_to(listing, (11, 1))[-1] == 86
    assert architectures.known_to("compute_75\ncompute_90\ncompute_100\n", (13, 0)) == [75, 90, 100]


def test_the_preparation_asks_for_the_gpus_of_this_machine(monkeypatch, tmp_path):
    nvcc = str(toolkit(tmp_path / "cuda-13.0") / "bin/nvcc")
    monkeypatch.setattr(runtime, "find_nvcc", lambda: nvcc)
    monkeypatch.setattr(runtime, "compute_capabilities", lambda: [70])

    class Arguments:
        device, yes, cuda_archs = "auto", False, None

    device, reason, record, _ = prepare_jittor.prepare_cuda(Arguments, "cuda", "1 GPU")
    assert device == "cpu" and "compiles for sm_75 and newer, and a GPU here is sm_70 (V100)" in record["missing"]


def test_a_run_on_another_gpu_than_the_prepared_one(monkeypatch):
    """One that nvcc compiles for is used; another one needs the preparation."""
    monkeypatch.delenv("nvcc_path", raising=False)
    monkeypatch.setattr(machine, "find_nvcc", lambda: "/usr/bin/nvcc")
    record = {"nvcc": "/env/cuda/bin/nvcc", "asked": "/usr/bin/nvcc", "archs": [90], "nccl": [], "known": [75, 80, 90]}
    for capability, expected in ((80, "80"), (90, "90")):
        monkeypatch.setattr(machine, "compute_capabilities", lambda value=capability: [value])
        assert machine.cuda_environment(record)["cuda_archs"] == expected
    monkeypatch.setattr(machine, "compute_capabilities", lambda: [120])
    with pytest.raises(machine.MachineError, match="a GPU here is sm_120, and this environment is prepared for sm_90"):
        machine.cuda_environment(record)
    assert machine.cuda_environment({**record, "archs": [120]})["cuda_archs"] == "120"
