"""The record of a build of Jittor's core: it holds until a source, a command or the result changes."""

import os
import subprocess
import sys

import pytest

from scripts.machine import import_repairs


@pytest.fixture
def records(tmp_path):
    """The functions as they stand in the repaired pyjt_compiler.py, and a Jittor of three files."""
    for name in ("jittor/src/var.h", "jittor/src/var.cc", "jittor/compiler.py", "cache/gen/bindings.cc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("// " + name)

    def fresh():
        names = {}
        exec("import glob, os\n" + import_repairs.RECORDS, names)
        return names

    return fresh


def record_of(records, folder, inputs=("jittor/src/var.cc", "cache/gen/bindings.cc"), command="g++"):
    paths = [str(folder / name) for name in inputs]
    return records()["build_record"](str(folder / "jittor"), str(folder / "cache"), paths, [command])


def test_it_changes_with_sources_and_commands(records, tmp_path):
    first = record_of(records, tmp_path)
    assert first and record_of(records, tmp_path) == first != record_of(records, tmp_path, command="g++ -O3")
    seen = {first}
    (tmp_path / "jittor/src/var.h").write_text("// longer than before")
    seen.add(record_of(records, tmp_path))
    os.utime(tmp_path / "jittor/src/var.h", (1, 1))
    seen.add(record_of(records, tmp_path))
    (tmp_path / "cache/gen/bindings.cc").write_text("// other bindings")
    seen.add(record_of(records, tmp_path))
    (tmp_path / "jittor/src/new.h").write_text("")
    seen.add(record_of(records, tmp_path))
    assert len(seen) == 5 and None not in seen


def test_operators_of_others_are_always_checked(records, tmp_path):
    """Their headers are not known."""
    (tmp_path / "mine.cc").write_text("")
    assert record_of(records, tmp_path, ("jittor/src/var.cc", "mine.cc")) is None
    assert record_of(records, tmp_path, ("cache/gen/bindings.cc",)) is None


def test_another_result_is_not_taken_for_the_built_one(records, tmp_path):
    names, output = records(), tmp_path / "core.so"
    assert not names["is_built"](str(output), "r")
    output.write_bytes(b"first")
    names["write_record"](f"{output}.record", names["output_record"](str(output), "r"))
    assert names["is_built"](str(output), "r") and not names["is_built"](str(output), "s")
    output.write_bytes(b"fir")
    assert not names["is_built"](str(output), "r") and not list(tmp_path.glob("*.part"))


def test_an_import_starts_no_compiler_processes():
    code = "import jittor, jittor_utils; print('POOL', jittor_utils.pool_size)"
    for _ in range(2):  # the first one may have to build
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "POOL 0" in done.stdout, done.stdout + done.stderr
