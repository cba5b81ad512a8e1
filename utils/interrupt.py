"""SIGTERM, SIGINT and SIGUSR1 end a run after the step that is under way: saved, and with an exit code of its own.

mpirun passes SIGUSR1 on to all ranks and lets them be. At SIGTERM and Ctrl-C it gives them about a second and then
kills: enough for a short step, not for a long one.
"""

import os
import signal
import sys

EXIT_CODE = 75  # "try again later" of sysexits.h: the same command with --resume auto goes on
received = []


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

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, note)


def asked():
    return bool(received)


def leave():
    """Every rank calls this after the same step, when all is saved."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_CODE)  # the ordinary way waits for the other ranks, and mpirun stops those at the first that is gone
