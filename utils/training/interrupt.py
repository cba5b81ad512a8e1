"""SIGTERM, SIGINT and SIGUSR1 end a run after the step that is under way: saved, and with an exit code of its own.

mpirun forwards SIGUSR1 to all ranks and does nothing else. At Ctrl-C and SIGTERM it ends the job: Open MPI 5 sends
SIGCONT to the ranks, SIGTERM a quarter of a second later, and SIGKILL another quarter later; Open MPI 4 waits one
second each time. That is enough for a short step, not for a long one, and Open MPI 5 has no parameter for it. So
SIGCONT already asks for a checkpoint after the step, and a run under mpirun prints what to send instead.
"""

import os
import signal
import sys
from pathlib import Path

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command with --resume auto goes on
received, announced = [], []


def listen():
    """From now on the signals are noted for `asked`; a second one ends the process at once. After `import jittor`."""

    def note(number, frame):
        received.append(number)
        if len(received) > 1:
            os._exit(128 + number)
        name = signal.Signals(number).name
        os.write(
            sys.stderr.fileno(),
            f"\n{name}: this step is finished and saved, then the run ends; again to end at once\n".encode(),
        )

    handlers = dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1), note)
    if under_mpirun():
        handlers[signal.SIGCONT] = lambda number, frame: announced.append(number)
    for number, handler in handlers.items():
        signal.signal(number, handler)
        signal.siginterrupt(number, False)  # Jittor fails where a signal interrupts its wait for the compile lock


def asked():
    """Has one of the signals arrived that end the run?"""
    return bool(received)


def checkpoint_asked():
    """Has SIGCONT arrived since the last call? mpirun sends it ahead of SIGTERM; after a pause it does no harm."""
    arrived = bool(announced)
    announced.clear()
    return arrived


def under_mpirun():
    return "OMPI_COMM_WORLD_SIZE" in os.environ


def advice(minutes):
    """The lines that a run under mpirun prints at its start. `minutes`: between two checkpoints by time, 0 for none."""
    parent = os.getppid()
    try:
        launched = Path(f"/proc/{parent}/comm").read_text().strip() in ("mpirun", "prterun", "orterun")
    except OSError:
        launched = False
    most = f"the steps of up to {minutes:g} minutes" if minutes else "all steps"
    return [
        f"To stop this run with a checkpoint: kill -USR1 {parent if launched else '<pid of mpirun>'}",
        "Ctrl-C and SIGTERM to mpirun leave the ranks half a second (Open MPI 5) or two seconds (4): a longer step is "
        f"not finished, and {most} since the last checkpoint are lost (--save-every-minutes)",
    ]


def leave():
    """Every rank calls this after the same step, when all is saved."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_CODE)  # the ordinary way waits for the other ranks, and mpirun stops those at the first that is gone
