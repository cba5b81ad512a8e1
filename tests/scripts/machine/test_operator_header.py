"""The precompiled header of CPU operators: used, kept while it fits, and replaced when it does not."""

import os
import subprocess
import time
from pathlib import Path

import jittor as jt
import pytest

from scripts.machine import operator_header


@pytest.fixture
def header(tmp_path, monkeypatch):
    """A header in a folder of its own, and Jittor's facts without starting Jittor."""
    facts = [str(tmp_path), jt.flags.cc_path, jt.flags.cc_flags + " " + jt.compiler.kernel_opt_flags]
    facts.append(jt.compiler.jittor_path)
    printed = "FACTS " + operator_header.json.dumps(facts) + "\n"
    monkeypatch.setattr(operator_header, "output_of", lambda *command, env: printed)
    return tmp_path / "operator.h"


def test_compiled_once_and_again_after_a_change(header):
    assert operator_header.prepare({}).startswith("compiled (") and operator_header.prepare({}) == "in place"
    header.write_text("// another command\n" + header.read_text())
    assert operator_header.prepare({}).startswith("compiled (")
    old = time.time() - 10**9
    os.utime(header.with_suffix(".h.gch"), (old, old))  # older than Jittor's headers
    assert operator_header.prepare({}).startswith("compiled (") and not list(header.parent.glob("*.part"))


def test_a_compiler_that_fails_leaves_nothing_that_could_be_read(header, monkeypatch):
    monkeypatch.setattr(operator_header, "TEXT", "#include <there_is_no_such_file>\n")
    assert "there_is_no_such_file" in operator_header.prepare({})
    assert [path.name for path in header.parent.iterdir()] == ["operator.h"]


def test_without_jittor_the_reason_is_reported(monkeypatch):
    monkeypatch.setattr(operator_header, "output_of", lambda *command, env: None)
    assert operator_header.prepare({}) == "not compiled: Jittor does not name its cache"


def test_an_operator_is_compiled_with_it_and_without_the_tuner(tmp_path):
    """A new operator in this cache: its recorded command includes the header, and the compiler accepts it."""
    header = Path(jt.compiler.cache_path) / "operator.h"
    assert header.is_file() and header.with_suffix(".h.gch").is_file(), "prepare_jittor.py makes it"
    number = time.time_ns() % 10**9
    code = f"*out0_p = {number}.0 - {number - 3}.0;"
    assert jt.code((1,), "float32", [], cpu_src=code).item() == 3
    recorded = [path for path in (Path(jt.compiler.cache_path) / "jit").glob("code*.cc") if code in path.read_text()]
    command = recorded[0].with_suffix(".so.key").read_text().split("\n")[0]
    assert "asm_tuner" not in command and f'--include="{header}"' in command
    command = command.replace(str(recorded[0].with_suffix(".so")), str(tmp_path / "again.so")) + " -H"
    read = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stderr
    assert f"! {header}.gch" in read and "/algorithm" not in read
