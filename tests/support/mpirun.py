"""mpirun for tests: allows more ranks than cores, and the root user."""

import time
from pathlib import Path

from utils import runtime

MPIRUN = Path(runtime.read_record().get("mpicc") or "none").with_name("mpirun")
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def mpi(run_command, *command, ranks=2, env=None, timeout=120):
    began = time.time()
    command = (MPIRUN, "--oversubscribe", "-np", ranks, "python", *command)
    done = run_command(*command, env={**AS_ROOT, **(env or {})}, timeout=timeout)
    return done, time.time() - began
