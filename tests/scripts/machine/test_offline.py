"""A folder of wheels: the set-up and the preparation install from it alone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.machine import checks

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def wheels(tmp_path):
    """A folder with the wheel of a package of one line, which no index has."""
    folder, name = tmp_path / "some wheels", "ccnet_test_package-1.0"
    folder.mkdir()
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as file:
        file.writestr("ccnet_test_package.py", "VALUE = 3\n")
        file.writestr(f"{name}.dist-info/METADATA", "Metadata-Version: 2.1\nName: ccnet-test-package\nVersion: 1.0\n")
        file.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{name}.dist-info/RECORD", "")
    return folder


def test_the_preparation_installs_from_the_folder_alone(wheels, tmp_path, monkeypatch):
    monkeypatch.setenv("WHEELS", str(wheels))
    assert checks.pip("install", "--target", str(tmp_path / "site"), "ccnet_test_package")
    assert (tmp_path / "site/ccnet_test_package.py").read_text() == "VALUE = 3\n"
    assert not checks.pip("install", "--target", str(tmp_path / "other"), "tqdm")  # of an index, which is not asked
    monkeypatch.setenv("WHEELS", str(tmp_path / "none"))
    assert checks.wheels() == {}


SETUP = """
set -euo pipefail
LOG=$1 VENV=$2
source scripts/machine/setup.sh
make_environment() { mkdir -p "$VENV/bin" && cp "$PROGRAM" "$VENV/bin/python"; }
setup requirements.txt
"""


@pytest.mark.parametrize("offline", [True, False])
def test_the_set_up_tells_pip_where_the_wheels_are(wheels, tmp_path, offline):
    calls, program = tmp_path / "calls", tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$@" >>"$CALLS"\nenv | grep ^PIP_ >>"$CALLS"\nexit 0\n')
    program.chmod(0o755)
    env = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    env.update(
        CALLS=str(calls), PROGRAM=str(program), WHEELS=str(wheels if offline else tmp_path), PYTHON=sys.executable
    )
    command = ["bash", "-c", SETUP, "setup", tmp_path / "log", tmp_path / "venv"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert (f"Installing from the wheels in {wheels} alone" in done.stdout) == offline, done.stderr
    text = calls.read_text()
    assert "-m pip install" in text and "scripts/prepare_jittor.py" in text
    assert ("PIP_NO_INDEX=1" in text) == (f"PIP_FIND_LINKS={wheels.as_uri()}" in text) == offline
