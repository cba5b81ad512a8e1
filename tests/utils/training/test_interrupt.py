"""Signals, in a process of their own; whole runs that are stopped are in tests/walks/test_runs.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HEAD = "import ctypes, os, signal, sys, time\nfrom utils.training import interrupt\ninterrupt.listen()\n"
WAIT = """
ours, theirs = os.pipe()
if os.fork() == 0:  # a signal while the parent waits, then what it waits for
    time.sleep(0.2)
    os.kill(os.getppid(), signal.SIGUSR1)
    time.sleep(0.2)
    os.write(theirs, b"x")
    os._exit(0)
got = ctypes.CDLL(None).read(ours, ctypes.create_string_buffer(1), 1)
print("read", got, interrupt.asked())
"""


def answer(code, **env):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OMPI_")}
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code], cwd=ROOT, capture_output=True, text=True, env={**environment, **env}
    )
    return done.returncode, done.stdout, done.stderr


def test_a_wait_of_the_operating_system_goes_on_after_a_signal():
    """Jittor waits for its compile lock in such a call, and fails if that is interrupted."""
    assert answer(WAIT)[:2] == (0, "read 1 True\n")


@pytest.mark.parametrize(
    "env, expected", [({"OMPI_COMM_WORLD_SIZE": "2"}, "True False False"), ({}, "False False False")]
)
def test_what_mpirun_sends_ahead_of_sigterm_asks_for_one_checkpoint(env, expected):
    code = "os.kill(os.getpid(), signal.SIGCONT)\n"
    code += "print(interrupt.checkpoint_asked(), interrupt.checkpoint_asked(), interrupt.asked())"
    assert answer(code, **env)[:2] == (0, expected + "\n")


def test_a_second_signal_ends_the_process_at_once():
    code = "for _ in 'ab': os.kill(os.getpid(), signal.SIGTERM); print(interrupt.asked(), flush=True)"
    status, out, err = answer(code)
    assert (status, out) == (128 + 15, "True\n") and err.count("SIGTERM: the run ends after this step") == 1


def test_the_advice_names_what_can_be_lost():
    code = "print(*interrupt.advice({}), sep='|')"
    assert "kill -USR1 <pid of mpirun>" in answer(code.format(15))[1]  # the parent is pytest
    assert "the steps of up to 2.5 minutes since the last checkpoint are lost" in answer(code.format(2.5))[1]
    assert "all steps since the last checkpoint are lost" in answer(code.format(0))[1]
