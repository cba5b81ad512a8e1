import json
import sys

import pytest

from utils import runtime


@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "scripts/data/make_scenes.py"])
def test_help_imports_nothing_heavy(run_command, script):
    """Jittor takes a second to import, and minutes the first time: --help must not wait for it."""
    done = run_command("python", "-X", "importtime", script, "--help")
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert done.returncode == 0 and "usage:" in done.stdout
    assert "argparse" in imported and not imported & {"jittor", "jittor_utils", "numpy", "cv2", "PIL", "tqdm"}


def test_an_nvcc_without_a_gpu_means_cpu(monkeypatch, tmp_path):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(runtime, "count_gpus", lambda: (0, "no NVIDIA driver"))
    monkeypatch.delenv("nvcc_path", raising=False)
    assert runtime.find_nvcc() == str(nvcc)
    assert runtime.choose_device("auto") == ("cpu", "no NVIDIA driver")
    assert runtime.environment("cpu")["nvcc_path"] == ""  # Jittor would take the nvcc it finds
    with pytest.raises(runtime.MachineError, match="--device cuda: no NVIDIA driver. Next: .*--device cpu"):
        runtime.choose_device("cuda")


def test_a_gpu_without_nvcc_says_so(monkeypatch):
    monkeypatch.setattr(runtime, "count_gpus", lambda: (2, ""))
    monkeypatch.setattr(runtime, "find_nvcc", lambda: None)
    assert runtime.choose_device("auto") == ("cpu", "there is a GPU, but no nvcc to compile its kernels")
    monkeypatch.setattr(runtime, "find_nvcc", lambda: "/opt/nvcc")
    assert runtime.choose_device("auto") == ("cuda", "2 GPUs, /opt/nvcc")


def test_unknown_device_is_named():
    with pytest.raises(runtime.MachineError, match="'tpu' is unknown; choose from auto, cpu, cuda"):
        runtime.choose_device("tpu")


def test_what_the_user_set_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("cache_name", "mine")
    env = runtime.environment("cpu")
    assert "OMP_NUM_THREADS" not in env and "cache_name" not in env


def test_ranks_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "4")
    monkeypatch.setattr(runtime.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda _: set(range(8)))  # not bound
    assert runtime.environment("cpu")["OMP_NUM_THREADS"] == "2"
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda _: {3})  # bound to one core by mpirun
    assert runtime.environment("cpu")["OMP_NUM_THREADS"] == "1"


def test_home_is_where_jittor_will_look(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    assert runtime.jittor_home() == tmp_path
    remembered = tmp_path / "elsewhere"
    (tmp_path / ".cache/jittor").mkdir(parents=True)
    (tmp_path / ".cache/jittor/config.json").write_text(json.dumps({"JITTOR_HOME": str(remembered)}))
    assert runtime.jittor_home() == remembered
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "named"))
    assert runtime.jittor_home() == tmp_path / "named"


def test_an_unwritable_home_is_replaced_by_a_folder_of_the_environment(monkeypatch):
    monkeypatch.setenv("HOME", "/proc/no-such-home")
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    stand_in = runtime.Path(sys.prefix) / "jittor_home"
    env = runtime.environment("cpu")
    assert runtime.jittor_home() == stand_in and env["HOME"] == env["JITTOR_HOME"] == str(stand_in)


def test_jittor_must_not_be_there_already():
    with pytest.raises(runtime.MachineError, match="imported already"):
        runtime.start("cpu")


def test_the_one_line():
    run = {"device": "cpu", "reason": "asked for", "mpi_size": 2, "rank": 0, "threads": 1, "jittor": "1.3.11.0"}
    assert (
        runtime.describe(run, "fused") == "cpu (asked for) · 2 MPI ranks · 1 thread · attention fused · jittor 1.3.11.0"
    )


def test_failures_of_the_import_become_one_message(run_command, tmp_path):
    for body, words in (
        ("raise SystemExit(0)", "cache was half written"),  # Jittor's way of asking to be run again
        ("raise RuntimeError('first\\nlibdnnl.so.2: cannot open')", "Jittor does not start: libdnnl.so.2: cannot open"),
        ("import no_such_package", "No module named 'no_such_package'. Next: pip install"),
    ):
        (tmp_path / "jittor.py").write_text(body)
        done = run_command("python", "train.py", "--device", "cpu", env={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 1 and words in done.stderr and runtime.PREPARE in done.stderr
        assert "Traceback" not in done.stderr


def test_compiler_lines_are_filtered_and_nothing_else(run_command, tmp_path):
    code = (
        "import os, sys; sys.path.insert(0, '.')\n"
        "from utils import runtime\n"
        "runtime.silence_compiler()\n"
        "os.write(2, b'\\nCompiling Operators(1/2) used: 3s \\rCompiling Operators(2/2) used: 4s \\r\\n')\n"
        "os.write(2, b'a crash says this\\n'); sys.stderr.write('python says this\\n')\n"
    )
    done = run_command("python", "-c", code)
    assert sorted(done.stderr.split("\n")) == ["", "a crash says this", "python says this"]
