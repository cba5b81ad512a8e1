"""The CUDA home for Jittor, made from imitations of toolkits and wheels."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.cuda_toolkit import LIBRARIES, cudnn, files, toolkit, wheels

from scripts import prepare_jittor
from scripts.machine import cuda
from utils import runtime

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def machine(tmp_path):
    root, site = toolkit(tmp_path / "cuda-13.0"), wheels(tmp_path / "site")
    return root, site, tmp_path / "env" / "cuda"


def test_a_toolkit_and_wheels_become_a_cuda_home(machine):
    root, site, home = machine
    record = cuda.prepare(str(root / "bin/nvcc"), home, [site])
    assert record == {
        "toolkit": str(root),
        "cuda": [13, 0],
        "cudnn": [9, 19, 0],
        "nccl": [f"{home}/include", f"{home}/lib64"],
        "nvcc": f"{home}/bin/nvcc",
        "known": [75, 80, 90, 100],
    }
    for name in (*LIBRARIES, "cudart", "cudnn", "nccl"):
        assert (home / "lib64" / f"lib{name}.so").is_file(), name
    for name in (*LIBRARIES, "cuda_runtime", "cudnn", "cudnn_version", "nccl", "npp", "crt/inside"):
        assert (home / "include" / f"{name}.h").is_file(), name
    for old, new in cuda.CUDNN_8_NAMES.items():  # Jittor opens libraries by the names of cuDNN 8
        target = site / f"nvidia/cudnn/lib/libcudnn_{new}.so.9"
        assert (home / "lib64" / f"libcudnn_{old}.so").resolve() == target
    assert "NPP_MAX_64U" in (home / "include/npp.h").read_text()
    assert not (home / "bin/nvcc").is_symlink()  # Jittor would follow the link and use its folder as CUDA home
    assert [path.name for path in home.parent.iterdir()] == ["cuda"]  # no temporary folder remains


def test_a_second_preparation_changes_nothing(machine):
    root, site, home = machine

    def contents():
        return sorted((str(path), os.readlink(path) if path.is_symlink() else "") for path in home.rglob("*"))

    first, before = cuda.prepare(str(root / "bin/nvcc"), home, [site]), contents()
    made = home.stat().st_ino
    assert cuda.prepare(str(root / "bin/nvcc"), home, [site]) == first
    assert home.stat().st_ino == made and contents() == before  # not replaced: a run may be using it
    files(home, "lib64/libleft_over.so")
    assert cuda.prepare(str(root / "bin/nvcc"), home, [site]) == first and contents() == before
    # the nvcc of the CUDA home leads to the toolkit, not to the CUDA home itself
    assert cuda.prepare(first["nvcc"], home, [site]) == first and contents() == before


def test_the_nvcc_script(machine):
    root, site, home = machine
    nvcc = cuda.prepare(str(root / "bin/nvcc"), home, [site])["nvcc"]

    def words(*arguments):
        return subprocess.run([nvcc, *arguments], capture_output=True, text=True).stdout.splitlines()

    usual = ("-std=c++14", "-arch=compute_90", "-code=sm_90", "a file.cu", "-DX=a b")
    assert words(*usual) == ["-std=c++17", *usual[1:]]
    gencode = "-gencode=arch=compute_90a,code=sm_90a"
    assert words(*usual, gencode) == ["-std=c++17", "a file.cu", "-DX=a b", gencode]
    assert "release 13.0" in words("--version")[0]


def test_nvcc_on_path_may_be_a_wrapper_script(machine, tmp_path):
    root, site, home = machine
    files(tmp_path, "bin/nvcc", text=f'#!/bin/sh\nexec {root}/bin/nvcc "$@"\n')
    (tmp_path / "bin/nvcc").chmod(0o755)
    assert cuda.prepare(str(tmp_path / "bin/nvcc"), home, [site])["toolkit"] == str(root)


def test_the_toolkit_may_be_wheels_as_well(tmp_path, monkeypatch):
    """nvidia-cuda-nvcc and the runtime in site-packages, with lib/ instead of lib64/."""
    site = wheels(tmp_path / "site")
    root = toolkit(site / "nvidia/cu13")
    shutil.move(root / "lib64/libcudart.so.13.0.96", root / "lib/libcudart.so.13")
    shutil.rmtree(root / "lib64")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    monkeypatch.delenv("nvcc_path", raising=False)
    isfile = runtime.os.path.isfile
    monkeypatch.setattr(runtime.os.path, "isfile", lambda path: str(tmp_path) in str(path) and isfile(path))
    nvcc = runtime.find_nvcc()
    assert nvcc == str(root / "bin/nvcc")
    record = cuda.prepare(nvcc, tmp_path / "cuda", [site])
    assert record["toolkit"] == str(root) and (tmp_path / "cuda/lib64/libcudart.so").is_file()


def test_a_usual_installation_of_cuda_11_needs_no_cuda_home(tmp_path):
    """Jittor finds everything by itself."""
    root = toolkit(tmp_path / "cuda-11.7", "11.7")
    for name in (*LIBRARIES, "cudart"):
        files(root, f"include/{name}.h", f"lib64/lib{name}.so")
    cudnn(root, (8, 5, 0))
    for file in (root / "lib").iterdir():
        (root / "lib64" / file.name.replace(".so.8", ".so")).symlink_to(file)
    files(root, "include/npp.h")
    record = cuda.prepare(str(root / "bin/nvcc"), tmp_path / "env/cuda", [])
    assert record["nvcc"] == str(root / "bin/nvcc") and not (tmp_path / "env").exists()
    (root / "include/npp.h").unlink()
    record = cuda.prepare(str(root / "bin/nvcc"), tmp_path / "env/cuda", [])
    assert record["nvcc"] == f"{tmp_path}/env/cuda/bin/nvcc"
    assert subprocess.run([record["nvcc"], "-std=c++14"], capture_output=True, text=True).stdout == "-std=c++14\n"


def test_missing_libraries_are_named_with_their_wheels(machine):
    root, site, home = machine
    shutil.rmtree(site / "nvidia/cudnn")
    (site / "nvidia/cu13/lib/libcurand.so.10").unlink()
    with pytest.raises(runtime.MachineError) as caught:
        cuda.prepare(str(root / "bin/nvcc"), home, [site])
    text = str(caught.value)
    assert "CUDA 13.0 without libcudnn and cudnn.h, libcurand and curand.h" in text and f"{root}/lib64" in text
    assert "pip install nvidia-cudnn-cu13 nvidia-curand" in text and not home.parent.exists()


def test_a_cudnn_for_another_cuda_is_not_used(tmp_path):
    root, site = toolkit(tmp_path / "cuda-13.0"), wheels(tmp_path / "site", "cu12")
    with pytest.raises(runtime.MachineError, match="pip install nvidia-cudnn-cu13"):
        cuda.prepare(str(root / "bin/nvcc"), tmp_path / "cuda", [site])


def test_the_newest_of_several_library_versions_is_used(tmp_path):
    files(tmp_path, "libx.so.9", "libx.so.10.2", "libx.so.10.11", "libxy.so.99", "libx.so.txt")
    assert cuda.library_file(tmp_path, "x").name == "libx.so.10.11"
    files(tmp_path, "libx.so")
    assert cuda.library_file(tmp_path, "x").name == "libx.so" and cuda.library_file(tmp_path, "z") is None


def test_an_old_or_missing_nvcc_is_an_error(tmp_path):
    with pytest.raises(runtime.MachineError, match="CUDA 9.2; Jittor 1.3.11 needs 10.2"):
        cuda.find_toolkit(str(toolkit(tmp_path / "old", "9.2") / "bin/nvcc"))
    with pytest.raises(runtime.MachineError, match="does not name a CUDA release\n  Fix: point nvcc_path"):
        cuda.find_toolkit(str(tmp_path / "none"))


def test_without_cudnn_a_gpu_is_not_used(monkeypatch, capsys, machine):
    """With --device auto the reason is printed and the CPU is used; --device cuda is an error."""
    root, site, _ = machine
    monkeypatch.setattr(runtime, "find_nvcc", lambda: str(root / "bin/nvcc"))
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *[p for p in sys.path if "site-packages" not in p]])
    monkeypatch.delenv("CONDA_PREFIX", raising=False)

    class Arguments:
        device, yes, cuda_archs = "auto", False, None

    device, reason, record, lines = prepare_jittor.prepare_cuda(Arguments, "cuda", "1 GPU")
    assert device == "cpu" and not lines and "CUDA 13.0 without" in reason and "without" in record["missing"]
    assert "The GPU cannot be used yet" in capsys.readouterr().out
    Arguments.device = "cuda"
    with pytest.raises(runtime.MachineError, match="pip install nvidia-cublas"):
        prepare_jittor.prepare_cuda(Arguments, "cuda", "1 GPU")
