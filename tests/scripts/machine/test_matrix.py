"""The matrix of Pythons and compilers, with a stand-in for setup.sh: nothing is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = """setup() {
  echo "JITTOR_HOME is ${JITTOR_HOME-not set}, HOME is empty: $(ls -A "$HOME" | wc -l)"
  [ "$FAILS" != setup ] || false | tee
  mkdir -p "$VENV/bin"
  printf '#!/bin/sh\\ncase "$*" in *numpy*) echo 2.9; exit ;; *cv2*) echo 5.9; exit ;; *"$FAILS"*) exit 3 ;; esac\\necho "ran $*"\\n' >"$VENV/bin/python"
  chmod +x "$VENV/bin/python"
  PATH="$VENV/bin:$PATH"
}
"""  # noqa: E501


@pytest.fixture
def matrix(checkout):
    """call(*names, **variables) -> CompletedProcess, and the log of this Python."""
    (checkout / "scripts/machine/setup.sh").write_text(SETUP)
    log = checkout / "runs/matrix" / "{}.{}.{}.log".format(*sys.version_info)

    def call(*names, **variables):
        env = {**os.environ, "FAILS": "nothing", **variables}
        command = ["bash", "scripts/machine/matrix.sh", *names]
        return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True), log

    return call


def test_a_row_for_a_python_that_passes(matrix):
    done, log = matrix(sys.executable, MATRIX_TESTS="tests/models -x")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.splitlines()[2:]
    assert len(rows) == 1 and rows[0].startswith("| {}.{}.{} | 2.9 | 5.9 | g++ ".format(*sys.version_info))
    assert rows[0].endswith("| 0 | passed |")
    assert log.read_text().startswith("JITTOR_HOME is not set, HOME is empty: 0\n")
    ran = [line for line in log.read_text().splitlines() if line.startswith("ran ")]
    assert [line.split()[1] for line in ran] == ["train.py", "-m", "scripts/prepare_jittor.py"]
    assert "--num-steps 60" in ran[0] and ran[1].endswith("-m not slow tests/models -x") and "--undo" in ran[2]
    folder = Path(ran[0].split("--snapshot-dir ")[1]).parent
    assert folder.name.startswith("tmp.") and not folder.exists()


@pytest.mark.parametrize("fails", ["setup", "train.py", "pytest", "--undo"])
def test_what_fails_is_a_row_with_its_log(matrix, fails):
    done, log = matrix(sys.executable, FAILS=fails)
    assert done.returncode == 1 and f"| failed: runs/matrix/{log.name} |" in done.stdout
    assert ("ran train.py" in log.read_text()) == (fails in ("pytest", "--undo"))  # nothing runs after a failure


def test_without_tests(matrix):
    done, log = matrix(sys.executable, MATRIX_TESTS="", FAILS="pytest")
    assert done.returncode == 0 and "ran train.py" in log.read_text()


def test_a_python_that_does_not_start_is_a_row(matrix, tmp_path):
    """As a shim of pyenv for a version that is not selected."""
    done, _ = matrix("python9.9", sys.executable)
    assert done.returncode == 1 and "| python9.9 | - | - | g++" in done.stdout and "| passed |" in done.stdout
    shim = tmp_path / "python3.14"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    done, _ = matrix(PATH=f"{tmp_path}:/usr/bin:/bin")
    assert "| python3.14 | - | - |" in done.stdout and "does not start" in done.stdout


def test_a_missing_compiler_ends_it(matrix):
    done, _ = matrix(sys.executable, cc_path="/no/such/g++")
    assert done.returncode == 1 and done.stdout == "" and "/no/such/g++" in done.stderr
