"""Signals, in separate processes; tests/walks/test_runs.py stops whole runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HEAD = "import ctypes, os, signal, sys, time\nfrom utils.training import interrupt\ninterrupt.listen()\n"
WAIT = """
reader, writer = os.pipe()
if os.fork() == 0:  # a signal while the parent waits, then the byte that it waits for
    time.sleep(0.2)
    os.kill(os.getppid(), signal.SIGUSR1)
    time.sleep(0.2)
    os.write(writer, b"x")
    os._exit(0)
count = ctypes.CDLL(None).read(reader, ctypes.create_string_buffer(1), 1)
print("read", count, interrupt.stop_requested())
"""


def run(code, **env):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OMPI_")}
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code], cwd=ROOT, capture_output=True, text=True, env={**environment, **env}
    )
    return done.returncode, done.stdout, done.stderr


def test_a_blocking_system_call_continues_after_a_signal():
    """Jittor waits for its compile lock in such a call, and fails if it is interrupted."""
    assert run(WAIT)[:2] == (0, "read 1 True\n")


@pytest.mark.parametrize(
    "env, expected", [({"OMPI_COMM_WORLD_SIZE": "2"}, "True False False"), ({}, "False False False")]
)
def test_sigcont_of_mpirun_requests_one_checkpoint(env, expected):
    code = "os.kill(os.getpid(), signal.SIGCONT)\n"
    code += "print(interrupt.checkpoint_requested(), interrupt.checkpoint_requested(), interrupt.stop_requested())"
    assert run(code, **env)[:2] == (0, expected + "\n")


def test_a_second_signal_ends_the_process_at_once():
    code = "for _ in 'ab': os.kill(os.getpid(), signal.SIGTERM); print(interrupt.stop_requested(), flush=True)"
    status, out, err = run(code)
    assert (status, out) == (128 + 15, "True\n") and err.count("SIGTERM: the run ends after this step") == 1


def test_the_advice_names_the_steps_that_can_be_lost():
    code = "print(*interrupt.advice({}), sep='|')"
    assert "kill -USR1 <pid of mpirun>" in run(code.format(15))[1]  # the parent is pytest
    assert "the steps of up to 2.5 minutes since the last checkpoint are lost" in run(code.format(2.5))[1]
    assert "all steps since the last checkpoint are lost" in run(code.format(0))[1]
