"""SIGTERM, SIGINT and SIGUSR1 end a run after the current step, with a checkpoint and exit code 75.

mpirun forwards SIGUSR1 to all ranks and does nothing else. At Ctrl-C and SIGTERM it ends the job: Open MPI 5 sends
SIGCONT to the ranks, SIGTERM a quarter of a second later, and SIGKILL another quarter later; Open MPI 4 waits one
second each time. That is enough for a short step but not for a long one, and Open MPI 5 has no option to change it.
Therefore SIGCONT already requests a checkpoint after the step, and a run under mpirun prints which signal to send.
"""

import os
import signal
import sys
from pathlib import Path

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command with --resume auto continues the run
received, announced = [], []


def listen():
    """Install the handlers, after `import jittor`. A second signal ends the process at once."""

    def note(number, frame):
        received.append(number)
        if len(received) > 1:
            os._exit(128 + number)
        name = signal.Signals(number).name
        os.write(
            sys.stderr.fileno(),
            f"\n{name}: the run ends after this step, with a checkpoint; send it again to end at once\n".encode(),
        )

    handlers = dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1), note)
    if under_mpirun():
        handlers[signal.SIGCONT] = lambda number, frame: announced.append(number)
    for number, handler in handlers.items():
        signal.signal(number, handler)
        signal.siginterrupt(number, False)  # Jittor fails if a signal interrupts its wait for the compile lock


def stop_requested():
    """Has a signal arrived that ends the run?"""
    return bool(received)


def checkpoint_requested():
    """Has SIGCONT arrived since the last call? mpirun sends it before SIGTERM."""
    arrived = bool(announced)
    announced.clear()
    return arrived


def under_mpirun():
    return "OMPI_COMM_WORLD_SIZE" in os.environ


def advice(minutes):
    """The lines that a run under mpirun prints at its start. `minutes`: of --save-every-minutes."""
    parent = os.getppid()
    try:
        launched = Path(f"/proc/{parent}/comm").read_text().strip() in ("mpirun", "prterun", "orterun")
    except OSError:
        launched = False
    most = f"the steps of up to {minutes:g} minutes" if minutes else "all steps"
    return [
        f"To stop this run with a checkpoint: kill -USR1 {parent if launched else '<pid of mpirun>'}",
        "After Ctrl-C or SIGTERM, mpirun ends the ranks within half a second (Open MPI 5) or two seconds (4): a "
        f"longer step is not finished, and {most} since the last checkpoint are lost (--save-every-minutes)",
    ]


def leave():
    """End this process with EXIT_CODE. Every rank calls it after the same step, when the checkpoint is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_CODE)  # an ordinary exit waits for the other ranks, which mpirun kills when the first one ends
