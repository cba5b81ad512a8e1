"""Start Jittor on the chosen device, print where a run happens, and end it with one line when it fails.

    from utils import runtime
    run = runtime.start(device="auto")      # imports jittor
    print(runtime.describe(run, "reference"))

Standard library only, so that `--help` answers at once and scripts/prepare_jittor.py can use it before anything is
installed. What a run finds out about the machine is in machine.py; its names can be imported from here as well.
"""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import traceback
import warnings

from utils.machine import (  # noqa: F401  (names that the programs take from here)
    DEVICES,
    PREPARE,
    MachineError,
    check_compiler,
    check_gpus_for_ranks,
    choose_device,
    compute_capabilities,
    count_gpus,
    cpu_limit,
    environment,
    find_nvcc,
    is_writable,
    jittor_home,
    mpi_rank,
    mpi_size,
    read_record,
)

CUDNN_WORKSPACE = 0.03  # of the memory of a GPU; Jittor's own limit is 0.25, and it keeps what it has allocated


def start(device="auto", verbose=False, quiet=True, gpu=None, cudnn_workspace=CUDNN_WORKSPACE):
    """Set the environment, import Jittor, select the device. -> facts about the run, for `describe`.

    `verbose`: show Jittor's own messages; `quiet`: hide the lines of its compiler; `gpu`: the visible GPUs, as "0,1"
    (not used under mpirun, where each rank takes the GPU of its own number); `cudnn_workspace`: the largest workspace
    of a convolution, as a part of the GPU's memory.
    """
    if "jittor" in sys.modules:
        raise MachineError("call runtime.start() before the first `import jittor`; Jittor is imported already")
    if gpu and gpu.lower() != "none" and mpi_size() == 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    device, reason = choose_device(device)
    if device == "cuda":
        check_gpus_for_ranks(count_gpus()[0])
    os.environ.update(environment(device, verbose))
    warnings.filterwarnings("ignore", message="The value of the smallest subnormal")  # Jittor flushes these to zero
    jt = import_jittor()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # Jittor's handler ends this process when any child process is killed
    jt.flags.use_cuda = int(device == "cuda")
    if device == "cuda":
        jt.cudnn.set_max_workspace_ratio(cudnn_workspace)
    if jt.in_mpi:
        sys.excepthook = _abort_all_ranks
    if quiet and not verbose:
        silence_compiler()
    return {
        "device": device,
        "reason": reason,
        "mpi_size": jt.world_size,
        "rank": jt.rank,
        "threads": int(os.environ["OMP_NUM_THREADS"]),
        "jittor": jt.__version__,
    }


def describe(run, attention):
    """The line that every run prints first: device and reason, ranks, threads, attention, Jittor."""
    ranks = f"{run['mpi_size']} MPI rank" + ("s" if run["mpi_size"] > 1 else "")
    threads = f"{run['threads']} thread" + ("s" if run["threads"] > 1 else "")
    return f"{run['device']} ({run['reason']}) · {ranks} · {threads} · attention {attention} · jittor {run['jittor']}"


def import_jittor():
    """`import jittor`; each way in which that can fail becomes a MachineError with the fix."""
    check_compiler()
    try:
        keep_signals_from_compilers()
        import jittor
    except SystemExit:  # "jit_utils updated, please rerun": Jittor exits with code 0 after an incomplete cache
        raise MachineError(f"Jittor's cache was incomplete. Fix: {PREPARE}, then the same command") from None
    except ModuleNotFoundError as error:
        raise MachineError(f"{error}. Fix: pip install -r requirements.txt, then {PREPARE}") from None
    except Exception as error:
        detail = str(error).strip().splitlines() or [type(error).__name__]
        raise MachineError(f"Jittor does not start: {detail[-1][:300]}. Fix: {PREPARE}") from error
    return jittor


def keep_signals_from_compilers():
    """Move Jittor's compile processes into process groups of their own. Otherwise Ctrl-C and the signals of mpirun
    reach them as well, and Jittor ends a process whose child was killed."""
    import jittor_utils

    initialise = jittor_utils.pool_initializer

    def in_new_group():
        os.setpgid(0, 0)
        initialise()

    jittor_utils.pool_initializer = in_new_group


def silence_compiler():
    """Hide Jittor's "Compiling Operators(3/40)" lines. They are printed from C++, and no flag of Jittor disables them.

    File descriptor 2 is piped through `sed`, a separate process, so that messages of a crash in C++ are still printed.
    Python's sys.stderr (progress bars, tracebacks) is connected to the terminal directly.
    """
    sed = shutil.which("sed")
    if not sed:
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    command = [sed, "-u", "/Compiling Operators/d;/^$/d"]  # in a separate session, so that Ctrl-C does not end it
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=terminal, start_new_session=True)
    os.dup2(child.stdin.fileno(), 2)
    child.stdin.close()
    sys.stderr = os.fdopen(terminal, "w", buffering=1)

    def finish():
        os.dup2(terminal, 2)  # closes the last writer of the pipe: sed prints the rest and ends
        try:
            child.wait(timeout=2)
        except subprocess.TimeoutExpired:  # a worker process still holds the pipe open
            child.kill()

    atexit.register(finish)


EXPECTED = (MachineError, ValueError, FloatingPointError, OSError)  # their messages contain the fix


def run(main, name):
    """Call `main`. An expected error ends the program with one line and exit code 1; under mpirun it names the rank."""
    try:
        main()
    except EXPECTED as error:
        stop(f"{name}: {error}")
    except SystemExit as leaving:  # an ordinary exit would wait for the other ranks, and they for this one
        if mpi_size() > 1:
            print(f"{name}: rank {mpi_rank()} of {mpi_size()} exits ({leaving.code})", file=sys.stderr)
            flush_and_exit(leaving.code if isinstance(leaving.code, int) else 1)
        raise


def stop(message):
    """Print one line and end this process, under mpirun the whole job, with exit code 1."""
    if mpi_size() == 1:
        sys.exit(message)
    print(f"{message} [rank {mpi_rank()} of {mpi_size()}]", file=sys.stderr)
    flush_and_exit(1)


def flush_and_exit(code):
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an ordinary exit waits for the other ranks


def _abort_all_ranks(error_class, error, trace):
    """Under mpirun an uncaught exception must end the job: Jittor's own shutdown waits for the other ranks forever."""
    traceback.print_exception(error_class, error, trace)
    print(f"rank {mpi_rank()} of {mpi_size()} failed; the job ends", file=sys.stderr)
    flush_and_exit(1)
