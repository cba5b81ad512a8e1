import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command.split(), "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_clang_format():
    files = [
        str(f)
        for ending in ("h", "cuh", "cc", "cu")
        for f in ROOT.glob(f"[!.]*/**/*.{ending}")
        if "runs" not in f.parts
    ]
    if not files:
        pytest.skip("no C++ yet")
    tool = shutil.which("clang-format", path=str(Path(sys.executable).parent)) or "clang-format"
    done = subprocess.run([tool, "--dry-run", "--Werror", *files], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_shell_scripts_parse():
    for script in sorted([*ROOT.glob("*.sh"), *ROOT.glob("scripts/**/*.sh"), *ROOT.glob("tests/**/*.sh")]) + [
        ROOT / ".ci" / "run"
    ]:
        done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
