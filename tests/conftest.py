"""Starts Jittor once in each worker, before a test module imports it: on the CPU, or on a GPU with
CCNET_TEST_DEVICE=cuda. Workers share the compiled operators; a test that must not run beside others is marked `alone`.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from utils import runtime

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # no TF32 in tests
MACHINE = runtime.start(os.environ.get("CCNET_TEST_DEVICE", "cpu"), quiet=False)

ROOT = Path(__file__).resolve().parent.parent


SHARED_FILES = ("test_printed.py",)  # takes long, and its tests are independent: any worker takes the next one


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    for item in items:  # the tests of a file run in one worker: they share what its fixtures made
        if item.path.name not in SHARED_FILES:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    if MACHINE["device"] != "cuda":
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU: CCNET_TEST_DEVICE=cuda"))
    items.sort(key=order(items))


def order(items):
    """The sort key of a test. Files with tests that run alone come first, when no other test must be waited for, then
    long files, so that the workers finish at about the same time."""
    marks = {}
    for item in items:
        marks.setdefault(item.path, set()).update(mark.name for mark in item.iter_markers())
    first = {
        path: ("alone" not in names, "slow" not in names and path.parent.name != "walks")
        for path, names in marks.items()
    }
    return lambda item: (first[item.path], item.get_closest_marker("alone") is None)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """A test marked `alone` runs while no other worker runs a test: it breaks the cache that all of them use. It is the
    writer of a readers-writer lock: it holds the gate while running tests finish, so that no other test can start."""
    if not hasattr(item.config, "workerinput"):
        yield
        return
    folder = item.config._tmp_path_factory.getbasetemp().parent  # one folder for all workers of this run
    with open(folder / "gate.lock", "w") as gate, open(folder / "running.lock", "w") as running:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(running, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)  # explicitly: processes that a test forks keep the files open
        try:
            yield
        finally:
            fcntl.flock(running, fcntl.LOCK_UN)


@pytest.fixture(autouse=True)
def seeded():
    import jittor as jt

    jt.set_global_seed(7)
    np.random.seed(7)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def run_command():
    """Run a command in the repository -> CompletedProcess with text. `env` is added to this environment."""

    def call(*command, env=None, cwd=ROOT, timeout=900):
        command = [sys.executable if part == "python" else str(part) for part in command]
        full = {key: value for key, value in os.environ.items() if value is not None}
        full.update(env or {})
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=full, timeout=timeout)

    return call


@pytest.fixture
def checkout(tmp_path):
    """A copy of the tracked files of the project and of new ones that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            target = tmp_path / "clone" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return tmp_path / "clone"


@pytest.fixture(scope="session")
def roots(tmp_path_factory):
    from support import scene_roots

    return scene_roots.write_all(tmp_path_factory.mktemp("roots"))


@pytest.fixture
def script(monkeypatch, capfd):
    """Run a script in this process, where Jittor is already imported: this saves two seconds a call. The result is a
    CompletedProcess; .output is its whole output."""
    import runpy

    monkeypatch.setattr(runtime, "start", lambda device: None)

    def call(python, path, *arguments):
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            runpy.run_path(str(ROOT / path), run_name="__main__")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) or end.code is None else 1
            print(end.code if isinstance(end.code, str) else "", file=sys.stderr)
        out, err = capfd.readouterr()
        done = subprocess.CompletedProcess(path, code or 0, out, err)
        done.output = out + err
        return done

    return call


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window; see tests/support/browser.py."""
    from support.browser import Browser, find_chromium

    program = find_chromium()
    if not program:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    try:
        started = Browser(program)
    except (OSError, TimeoutError) as error:
        pytest.skip(f"{program} does not start here: {error}")
    with started:
        yield started
