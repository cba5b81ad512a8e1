"""The CUDA home laid out for Jittor, and the repairs to Jittor, on made-up toolkits and copies of a few files."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from utils import runtime

ROOT = Path(__file__).resolve().parent.parent


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


prepare_cuda, repair_jittor = script("prepare_cuda"), script("repair_jittor")
LIBRARIES = {"cublas": 13, "cublasLt": 13, "curand": 10, "cufft": 12, "cusparse": 12}


def files(folder, *names, text=""):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def toolkit(folder, version="13.0"):
    """A toolkit with nvcc, a runtime, and nothing else."""
    files(
        folder, "include/cuda_runtime.h", "include/crt/inside.h", "lib64/libcudart.so.13.0.96", "lib64/libcudadevrt.a"
    )
    files(folder, "bin/nvcc")
    (folder / "bin/nvcc").write_text(
        f'#!/bin/sh\ncase "$1" in\n--version) echo "Cuda compilation tools, release {version}, V{version}.88" ;;\n'
        f'--dryrun) echo "#$ TOP={folder}/bin/.." >&2 ;;\n*) for word in "$@"; do echo "$word"; done ;;\nesac\n'
    )
    (folder / "bin/nvcc").chmod(0o755)
    return folder


def cudnn(folder, version):
    numbers = zip(("MAJOR", "MINOR", "PATCHLEVEL"), version)
    text = "".join(f"#define CUDNN_{name} {number}\n" for name, number in numbers)
    files(folder, "include/cudnn_version.h", text=text)
    files(folder, "include/cudnn.h")
    parts = ("", "_ops", "_cnn") if version[0] > 8 else ("", "_ops_infer", "_ops_train", "_cnn_infer", "_cnn_train")
    files(folder, *(f"lib/libcudnn{part}.so.{version[0]}" for part in parts))


def wheels(site, suffix="cu13"):
    """site-packages as the wheels of CUDA 13 fill it: versioned names only."""
    for name, version in LIBRARIES.items():
        files(site / "nvidia/cu13", f"include/{name}.h", f"lib/lib{name}.so.{version}")
    cudnn(site / "nvidia/cudnn", (9, 19, 0))
    files(site / "nvidia/nccl", "include/nccl.h", "lib/libnccl.so.2")
    files(site, f"nvidia_cudnn_{suffix}-9.19.0.56.dist-info/METADATA")
    return site


@pytest.fixture
def machine(tmp_path):
    root, site = toolkit(tmp_path / "cuda-13.0"), wheels(tmp_path / "site")
    return root, site, tmp_path / "env" / "cuda"


def test_a_bare_toolkit_and_wheels_become_what_jittor_searches(machine):
    root, site, home = machine
    record = prepare_cuda.prepare(str(root / "bin/nvcc"), home, [site])
    assert record == {
        "toolkit": str(root),
        "cuda": [13, 0],
        "cudnn": [9, 19, 0],
        "nccl": [f"{home}/include", f"{home}/lib64"],
        "nvcc": f"{home}/bin/nvcc",
    }
    for name in (*LIBRARIES, "cudart", "cudnn", "nccl"):
        assert (home / "lib64" / f"lib{name}.so").is_file(), name
    for name in (*LIBRARIES, "cuda_runtime", "cudnn", "cudnn_version", "nccl", "npp", "crt/inside"):
        assert (home / "include" / f"{name}.h").is_file(), name
    for old, new in prepare_cuda.CUDNN_8_NAMES.items():  # what Jittor opens by the names of cuDNN 8
        target = site / f"nvidia/cudnn/lib/libcudnn_{new}.so.9"
        assert (home / "lib64" / f"libcudnn_{old}.so").resolve() == target
    assert "NPP_MAX_64U" in (home / "include/npp.h").read_text()
    assert not (home / "bin/nvcc").is_symlink()  # Jittor takes the parent of what a link points to for CUDA's home
    assert [path.name for path in home.parent.iterdir()] == ["cuda"]  # nothing half done is left


def test_run_again_it_is_the_same(machine):
    root, site, home = machine

    def shape():
        return sorted((str(path), os.readlink(path) if path.is_symlink() else "") for path in home.rglob("*"))

    first, before = prepare_cuda.prepare(str(root / "bin/nvcc"), home, [site]), shape()
    made = home.stat().st_ino
    assert prepare_cuda.prepare(str(root / "bin/nvcc"), home, [site]) == first
    assert home.stat().st_ino == made and shape() == before  # left alone: a run may be using it
    files(home, "lib64/libleft_over.so")
    assert prepare_cuda.prepare(str(root / "bin/nvcc"), home, [site]) == first and shape() == before
    # through its own nvcc it still finds the toolkit: nothing points at itself
    assert prepare_cuda.prepare(first["nvcc"], home, [site]) == first and shape() == before


def test_the_nvcc_script(machine):
    root, site, home = machine
    nvcc = prepare_cuda.prepare(str(root / "bin/nvcc"), home, [site])["nvcc"]

    def words(*arguments):
        return subprocess.run([nvcc, *arguments], capture_output=True, text=True).stdout.splitlines()

    usual = ("-std=c++14", "-arch=compute_90", "-code=sm_90", "a file.cu", "-DX=a b")
    assert words(*usual) == ["-std=c++17", *usual[1:]]
    own = "-gencode=arch=compute_90a,code=sm_90a"
    assert words(*usual, own) == ["-std=c++17", "a file.cu", "-DX=a b", own]
    assert "release 13.0" in words("--version")[0]


def test_nvcc_on_path_may_be_a_script_elsewhere(machine, tmp_path):
    root, site, home = machine
    files(tmp_path, "bin/nvcc", text=f'#!/bin/sh\nexec {root}/bin/nvcc "$@"\n')
    (tmp_path / "bin/nvcc").chmod(0o755)
    assert prepare_cuda.prepare(str(tmp_path / "bin/nvcc"), home, [site])["toolkit"] == str(root)


def test_the_toolkit_may_be_wheels_as_well(tmp_path, monkeypatch):
    """nvidia-cuda-nvcc and the runtime in site-packages, lib/ instead of lib64/; found last of all."""
    site = wheels(tmp_path / "site")
    root = toolkit(site / "nvidia/cu13")
    shutil.move(root / "lib64/libcudart.so.13.0.96", root / "lib/libcudart.so.13")
    shutil.rmtree(root / "lib64")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    monkeypatch.delenv("nvcc_path", raising=False)
    found = runtime.os.path.isfile
    monkeypatch.setattr(runtime.os.path, "isfile", lambda path: str(tmp_path) in str(path) and found(path))
    nvcc = runtime.find_nvcc()
    assert nvcc == str(root / "bin/nvcc")
    record = prepare_cuda.prepare(nvcc, tmp_path / "cuda", [site])
    assert record["toolkit"] == str(root) and (tmp_path / "cuda/lib64/libcudart.so").is_file()


def test_cuda_11_in_its_place_is_left_alone(tmp_path):
    """A V100 machine set up in the ordinary way: Jittor finds everything by itself."""
    root = toolkit(tmp_path / "cuda-11.7", "11.7")
    for name in (*LIBRARIES, "cudart"):
        files(root, f"include/{name}.h", f"lib64/lib{name}.so")
    cudnn(root, (8, 5, 0))
    for file in (root / "lib").iterdir():
        (root / "lib64" / file.name.replace(".so.8", ".so")).symlink_to(file)
    files(root, "include/npp.h")
    record = prepare_cuda.prepare(str(root / "bin/nvcc"), tmp_path / "env/cuda", [])
    assert record["nvcc"] == str(root / "bin/nvcc") and not (tmp_path / "env").exists()
    (root / "include/npp.h").unlink()
    record = prepare_cuda.prepare(str(root / "bin/nvcc"), tmp_path / "env/cuda", [])
    assert record["nvcc"] == f"{tmp_path}/env/cuda/bin/nvcc"
    assert subprocess.run([record["nvcc"], "-std=c++14"], capture_output=True, text=True).stdout == "-std=c++14\n"


def test_what_is_missing_is_named_with_its_wheel(machine):
    root, site, home = machine
    shutil.rmtree(site / "nvidia/cudnn")
    (site / "nvidia/cu13/lib/libcurand.so.10").unlink()
    with pytest.raises(runtime.MachineError) as caught:
        prepare_cuda.prepare(str(root / "bin/nvcc"), home, [site])
    text = str(caught.value)
    assert "CUDA 13.0 without libcudnn and cudnn.h, libcurand and curand.h" in text and f"{root}/lib64" in text
    assert "pip install nvidia-cudnn-cu13 nvidia-curand" in text and not home.parent.exists()


def test_the_cudnn_of_another_cuda_is_not_taken(tmp_path):
    root, site = toolkit(tmp_path / "cuda-13.0"), wheels(tmp_path / "site", "cu12")
    with pytest.raises(runtime.MachineError, match="pip install nvidia-cudnn-cu13"):
        prepare_cuda.prepare(str(root / "bin/nvcc"), tmp_path / "cuda", [site])


def test_the_newest_of_several_versions(tmp_path):
    files(tmp_path, "libx.so.9", "libx.so.10.2", "libx.so.10.11", "libxy.so.99", "libx.so.txt")
    assert prepare_cuda.library_file(tmp_path, "x").name == "libx.so.10.11"
    files(tmp_path, "libx.so")
    assert (
        prepare_cuda.library_file(tmp_path, "x").name == "libx.so" and prepare_cuda.library_file(tmp_path, "z") is None
    )


def test_too_old_and_no_nvcc(tmp_path):
    with pytest.raises(runtime.MachineError, match="CUDA 9.2; Jittor 1.3.11 needs 10.2"):
        prepare_cuda.find_toolkit(str(toolkit(tmp_path / "old", "9.2") / "bin/nvcc"))
    with pytest.raises(runtime.MachineError, match="does not name a CUDA release\n  mend: point nvcc_path"):
        prepare_cuda.find_toolkit(str(tmp_path / "none"))


# ---------------------------------------------------------------------------------------------------- repairs

CUDA_13 = {"cuda": (13, 0), "cudnn": (9, 19, 0)}
CUDA_11 = {"cuda": (11, 7), "cudnn": (8, 5, 0)}


@pytest.fixture
def jittor(tmp_path):
    """The files that repairs touch, copied from the installed package, as published."""
    source, copy = repair_jittor.jittor_folder(), tmp_path / "site" / "jittor"
    names = {file for repair in repair_jittor.REPAIRS for file in (*(edit[0] for edit in repair[3]), *repair[4])}
    for name in {"__init__.py", *names}:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        here = source / name if (source / name).exists() else source / (name + repair_jittor.ASIDE)
        shutil.copyfile(here, copy / name)
    repair_undone(copy)
    return copy


def repair_undone(copy):
    for _name, _why, _when, edits, _asides in repair_jittor.REPAIRS:
        for file, texts in edits:
            text = (copy / file).read_bytes().decode()
            for old, new, _count in texts:
                text = text.replace(new, old)
            (copy / file).write_bytes(text.encode())


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_repair_finds_its_text_and_is_taken_back_to_the_byte(jittor):
    published = contents(jittor)
    names = [repair[0] for repair in repair_jittor.REPAIRS]
    lines = repair_jittor.apply(jittor, CUDA_13, yes=True)
    assert [line.split(":")[0] for line in lines] == names and all("applied now" in line for line in lines)
    repaired = contents(jittor)
    changed = {name for name in published if published[name] != repaired.get(name)}
    assert len(changed) == 6 + 5 + len(repair_jittor.RNN) and "__init__.py" not in changed
    again = repair_jittor.apply(jittor, CUDA_13, yes=True)
    assert contents(jittor) == repaired and all("in place" in line for line in again)
    assert repair_jittor.undo(jittor) == names and contents(jittor) == published
    assert repair_jittor.undo(jittor) == [] and contents(jittor) == published


def test_the_repairs_say_what_they_say(jittor):
    repair_jittor.apply(jittor, CUDA_13, yes=True)
    transpose = (jittor / "src/ops/transpose_op.cc").read_text()
    assert transpose.index('has_op("cutt_transpose")') < transpose.index("gpu_transpose(x, axes)")  # cutt comes first
    assert transpose.index("gpu_transpose(x, axes)") < transpose.index("y = create_output")
    for name in repair_jittor.CONVOLUTIONS:
        text = (jittor / name).read_text()
        assert "CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT" in text and '"@Ty,"' in text
    depthwise = (jittor / "depthwise_conv.py").read_text()
    assert "LaneId" not in depthwise and "WarpReduce" not in depthwise
    compile(depthwise, "depthwise_conv.py", "exec")
    assert "computeMode ==" not in (jittor / "extern/cuda/inc/helper_cuda.h").read_text()
    assert not list(jittor.rglob("*rnn*.cc")) and len(list(jittor.rglob("*rnn*" + repair_jittor.ASIDE))) == 6


def test_older_cuda_gets_only_what_it_needs(jittor):
    lines = repair_jittor.apply(jittor, CUDA_11, yes=True)
    assert [line.split(":")[0] for line in lines] == ["transpose", "conv-float32", "depthwise", "device-count"]
    assert "computeMode ==" in (jittor / "extern/cuda/inc/helper_cuda.h").read_text()
    repair_jittor.apply(jittor, CUDA_13, yes=True)
    assert (
        len(repair_jittor.apply(jittor, CUDA_11, yes=True)) == 4
    )  # the toolkit changed: what it needs not is taken back
    assert (jittor / repair_jittor.RNN[0]).is_file()


def test_another_version_is_refused(jittor):
    text = (jittor / "__init__.py").read_text()
    for version in ("1.3.12.0", "1.3.110.0", "1.4.0"):
        (jittor / "__init__.py").write_text(text.replace("1.3.11.0", version, 1))
        before = contents(jittor)
        for call in (lambda: repair_jittor.apply(jittor, CUDA_13, yes=True), lambda: repair_jittor.undo(jittor)):
            with pytest.raises(runtime.MachineError, match=rf"for Jittor 1.3.11, and .* is {version}: nothing was"):
                call()
        assert contents(jittor) == before


@pytest.mark.parametrize("file", ["src/ops/transpose_op.cc", repair_jittor.CONVOLUTIONS[-1], repair_jittor.RNN[2]])
def test_a_changed_file_is_refused_and_nothing_is_written(jittor, file):
    """Texts that are not there, or twice, or a file that is gone: no other repair is made either."""
    path = jittor / file
    if file in repair_jittor.RNN:
        path.unlink()
    else:
        path.write_text(
            path.read_text().replace("auto var", "auto  var").replace("CORRELATION, get", "CORRELATION,  get")
        )
    before = contents(jittor)
    with pytest.raises(runtime.MachineError, match="neither as published nor as repaired; nothing was changed\n  mend"):
        repair_jittor.apply(jittor, CUDA_13, yes=True)
    assert contents(jittor) == before


def test_a_system_jittor_needs_yes(jittor):
    before = contents(jittor)
    with pytest.raises(runtime.MachineError, match="is not in an environment of this project.*\n.*--yes"):
        repair_jittor.apply(jittor, CUDA_13)
    assert contents(jittor) == before


def test_which_environments_are_our_own(tmp_path):
    own = repair_jittor.belongs_to_this_environment
    inside = tmp_path / "venv/lib/site-packages/jittor"
    conda = tmp_path / "conda/envs/ccnet"
    (conda / "conda-meta").mkdir(parents=True)
    assert own(inside, tmp_path / "venv", "/usr")
    assert not own(inside, "/usr", "/usr") and not own("/usr/lib/python3/jittor", "/usr", "/usr")
    assert not own("/usr/lib/python3/jittor", tmp_path / "venv", "/usr")  # seen through --system-site-packages
    assert own(conda / "lib/jittor", conda, conda)
    base = tmp_path / "conda"
    (base / "conda-meta").mkdir()
    assert not own(base / "lib/jittor", base, base)


# ---------------------------------------------------------------------------------------- the environment of a run


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


def test_undo_without_anything_to_undo(run_command):
    if "cuda" in runtime.read_record():
        pytest.skip("this environment is prepared for CUDA")
    done = run_command("python", "scripts/prepare_jittor.py", "--undo")
    assert done.returncode == 0 and "is as published: nothing to take back" in done.stdout, done.stderr


def test_a_gpu_without_cudnn_leaves_the_cpu(monkeypatch, capsys, machine):
    """Found by --device auto, what is missing is said and the CPU stays; asked for, it is an error."""
    prepare = script("prepare_jittor")
    root, site, _ = machine
    monkeypatch.setattr(runtime, "find_nvcc", lambda: str(root / "bin/nvcc"))
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *[p for p in sys.path if "site-packages" not in p]])
    monkeypatch.delenv("CONDA_PREFIX", raising=False)

    class Arguments:
        device, yes, cuda_archs = "auto", False, None

    device, reason, cuda, lines = prepare.prepare_cuda_side(Arguments, "cuda", "1 GPU")
    assert device == "cpu" and not lines and "CUDA 13.0 without" in reason and "without" in cuda["missing"]
    assert "The GPU cannot be used yet" in capsys.readouterr().out
    Arguments.device = "cuda"
    with pytest.raises(runtime.MachineError, match="pip install nvidia-cublas"):
        prepare.prepare_cuda_side(Arguments, "cuda", "1 GPU")
