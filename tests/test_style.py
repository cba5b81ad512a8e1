"""ruff, clang-format and `bash -n` report nothing. .pre-commit-config.yaml runs the same programs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff(command):
    command = [sys.executable, "-m", "ruff", *command.split(), "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_clang_format():
    paths = [path for ending in ("h", "cuh", "cc", "cu") for path in ROOT.glob(f"[!.]*/**/*.{ending}")]
    files = [str(path) for path in paths if "runs" not in path.relative_to(ROOT).parts]
    tool = shutil.which("clang-format", path=str(Path(sys.executable).parent)) or "clang-format"
    done = subprocess.run([tool, "--dry-run", "--Werror", *files], cwd=ROOT, capture_output=True, text=True)
    assert files and done.returncode == 0, done.stderr


def test_shell_scripts_parse():
    scripts = [*ROOT.glob("*.sh"), *ROOT.glob("scripts/**/*.sh"), *ROOT.glob("tests/**/*.sh"), ROOT / ".ci" / "run"]
    for script in sorted(scripts):
        done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
