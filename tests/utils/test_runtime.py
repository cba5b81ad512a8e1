"""utils/runtime.py: the start of a run, its first line, and its errors."""

import pytest

from utils import runtime


@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "scripts/data/make_scenes.py"])
def test_help_imports_nothing_heavy(run_command, script):
    """Jittor takes a second to import, and minutes the first time: --help must not wait for it."""
    done = run_command("python", "-X", "importtime", script, "--help")
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert done.returncode == 0 and "usage:" in done.stdout
    assert "argparse" in imported and not imported & {"jittor", "jittor_utils", "numpy", "cv2", "PIL", "tqdm"}


def test_jittor_must_not_be_imported_already():
    with pytest.raises(runtime.MachineError, match="imported already"):
        runtime.start("cpu")


ON_A_GPU = """
import types
from utils import runtime
set_ratio, asked = lambda ratio: print("workspace", ratio), {"cudnn_workspace": @}
cudnn = types.SimpleNamespace(set_max_workspace_ratio=set_ratio)
jittor = types.SimpleNamespace(flags=types.SimpleNamespace(), cudnn=cudnn, in_mpi=False, world_size=1, rank=0)
jittor.__version__ = "1.3.11.0"
runtime.choose_device = lambda device: (device, "imitated")
runtime.count_gpus, runtime.import_jittor, runtime.environment = lambda: (1, ""), lambda: jittor, lambda *_: {}
runtime.start("cuda", True, **{key: value for key, value in asked.items() if value is not None})
runtime.start("cpu", True)
"""


@pytest.mark.parametrize("given, expected", [("None", "0.03"), ("0.2", "0.2")])
def test_on_a_gpu_the_workspace_of_cudnn_is_limited(run_command, given, expected):
    done = run_command("python", "-c", ON_A_GPU.replace("@", given))
    assert done.stdout == f"workspace {expected}\n", done.stdout + done.stderr


def test_the_line_that_describes_a_run():
    run = {"device": "cpu", "reason": "--device cpu", "mpi_size": 2, "rank": 0, "threads": 1, "jittor": "1.3.11.0"}
    assert (
        runtime.describe(run, "fused")
        == "cpu (--device cpu) · 2 MPI ranks · 1 thread · attention fused · jittor 1.3.11.0"
    )


def test_failures_of_the_import_become_one_message(run_command, tmp_path):
    for body, words in (
        ("raise SystemExit(0)", "cache was incomplete"),  # Jittor asks to be run again in this way
        ("raise RuntimeError('first\\nlibdnnl.so.2: cannot open')", "Jittor does not start: libdnnl.so.2: cannot open"),
        ("import no_such_package", "No module named 'no_such_package'. Fix: pip install"),
    ):
        (tmp_path / "jittor.py").write_text(body)
        done = run_command("python", "train.py", "--device", "cpu", env={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 1 and words in done.stderr and runtime.PREPARE in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("cc_path", ["", "/no/such/g++"])
def test_no_compiler_at_run_time_is_one_line(run_command, tmp_path, cc_path):
    """Jittor asks it for its version at each import; its own message does not say what to do."""
    (tmp_path / "sed").symlink_to("/bin/sed")
    done = run_command("python", "train.py", "--device", "cpu", env={"PATH": str(tmp_path), "cc_path": cc_path})
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert f"train.py: no C++ compiler: there is no {cc_path or 'g++'}, which" in done.stderr
    assert "Fix: sudo apt-get install g++" in done.stderr


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
