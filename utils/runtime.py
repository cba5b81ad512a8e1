"""Decides, before Jittor is imported, where a run happens; Jittor reads its environment only on import.

    from utils import runtime
    run = runtime.start(device="auto")      # imports jittor
    print(runtime.describe(run, "reference"))

Standard library only, so that `--help` stays instant and scripts/prepare_jittor.py can use it before
anything is installed. What the preparation found out (which mpicc, which CUDA) is read from RECORD.
"""

import atexit
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

RECORD = Path(sys.prefix) / "ccnet_machine.json"  # written by scripts/prepare_jittor.py
PREPARE = "python scripts/prepare_jittor.py"
DEVICES = ("auto", "cpu", "cuda")


class MachineError(RuntimeError):
    """This machine cannot do what was asked; the message says why and what to do."""


def read_record():
    try:
        return json.loads(RECORD.read_text())
    except (OSError, ValueError):
        return {}


def is_writable(folder):
    """Can files be made in `folder`, or in the nearest parent that exists? Tried, not asked: root passes os.access."""
    folder = Path(folder)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    probe = folder / f".ccnet_probe_{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def jittor_home():
    """The folder in which Jittor keeps .cache/jittor: JITTOR_HOME, else the one it remembered, else the home folder.

    Where that cannot be written, a folder inside the Python environment stands in for it.
    """
    home = Path(os.path.expanduser("~"))
    chosen = os.environ.get("JITTOR_HOME")
    if not chosen:
        try:  # Jittor remembers the last JITTOR_HOME here, also for processes that do not set it
            chosen = json.loads((home / ".cache/jittor/config.json").read_text()).get("JITTOR_HOME")
        except (OSError, ValueError):
            chosen = None
    cache = home / ".cache" / "jittor"  # Jittor writes here even when JITTOR_HOME points elsewhere
    if is_writable(cache) and is_writable(Path(chosen or home) / ".cache" / "jittor"):
        return Path(chosen or home)
    return Path(sys.prefix) / "jittor_home"


def find_nvcc():
    named = os.environ.get("nvcc_path") or shutil.which("nvcc")
    if named:
        return named
    wheels = [f"{folder}/nvidia/cu13/bin/nvcc" for folder in sys.path]  # what nvidia-cuda-nvcc installs
    for path in ("/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc", *wheels):
        if os.path.isfile(path):
            return path
    return None


def count_gpus():
    """(number of GPUs that the driver shows, why there is none). Asks the driver itself: nothing is compiled."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0, "no NVIDIA driver (libcuda.so.1) on this machine"
    if driver.cuInit(0) != 0:
        return 0, "the NVIDIA driver does not start (cuInit failed)"
    count = ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    return count.value, "" if count.value else "the NVIDIA driver shows no GPU (see CUDA_VISIBLE_DEVICES)"


def compute_capabilities():
    """What the GPUs are, for nvcc: [70] for a V100, [90] for an H100 or H200; each kind once."""
    major, minor = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
    found = set()
    for index in range(count_gpus()[0]):
        driver, device, value = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0), ctypes.c_int(0)
        driver.cuDeviceGet(ctypes.byref(device), index)
        number = 0
        for attribute in (major, minor):
            driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            number = 10 * number + value.value
        found.add(number)
    return sorted(found)


def choose_device(device="auto"):
    """`auto`, `cpu` or `cuda` -> ("cpu" or "cuda", why)."""
    if device not in DEVICES:
        raise MachineError(f"--device {device!r} is unknown; choose from {', '.join(DEVICES)}")
    if device == "cpu":
        return "cpu", "asked for"
    gpus, why_none = count_gpus()
    nvcc = find_nvcc()
    missing = read_record().get("cuda", {}).get("missing", "") if nvcc else "no nvcc to compile its kernels"
    if gpus and not missing:
        return "cuda", f"{gpus} GPU{'s' if gpus > 1 else ''}, {nvcc}"
    reason = why_none if not gpus else f"there is a GPU, but {missing}"
    if device == "cuda":
        mend = "install the CUDA toolkit or set nvcc_path" if not nvcc else f"{PREPARE} --device cuda"
        mend = mend if gpus else "check nvidia-smi"
        raise MachineError(f"--device cuda: {reason}. Next: {mend}, or run with --device cpu")
    return "cpu", reason


def mpi_size():
    """Number of processes that mpirun started; 1 without it. Known before Jittor is imported."""
    return int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))


def check_gpus_for_ranks(gpus):
    """Jittor gives rank k of a machine its k-th GPU; with fewer GPUs than ranks two would share one, without NCCL."""
    ranks = int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
    if ranks > gpus:
        raise MachineError(
            f"{ranks} ranks on this machine see {gpus} GPU{'s' if gpus > 1 else ''}, and each needs its own. "
            f"Next: mpirun -np {gpus}, or see to it that every rank sees all GPUs (CUDA_VISIBLE_DEVICES)"
        )


def mpi_rank():
    return int(os.environ.get("OMPI_COMM_WORLD_RANK", "0"))


def environment(device, verbose=False):
    """What Jittor must find in os.environ for this choice. Values the user set himself are kept."""
    record = read_record()
    env = {"cache_name": "default"}  # otherwise each git branch gets a cache of its own: minutes of compiling
    env["mpicc_path"] = record.get("mpicc", "")  # "": no MPI; part of the cache key, so never left to PATH
    env["gdb_path"] = ""
    threads = min(16, os.cpu_count() or 1) if record.get("parallel_compiler") else 0  # see scripts/machine/repairs.py
    env["use_parallel_op_compiler"] = str(threads)
    env["FIX_TORCH_ERROR"] = "0"  # Jittor would import torch first if it is installed
    if not verbose:
        env["log_silent"] = "1"
    if not record.get("onednn", True):
        env["use_mkl"] = "0"  # Jittor would download it
    if device == "cuda":
        env.update(cuda_environment(record.get("cuda", {})))
    cores = len(os.sched_getaffinity(0))  # under mpirun a rank is usually bound to its own cores
    if cores == os.cpu_count():
        cores //= int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
    env["OMP_NUM_THREADS"] = str(max(1, cores))
    env = {key: value for key, value in env.items() if key not in os.environ}
    if device == "cpu":
        env["nvcc_path"] = ""  # an nvcc without a GPU must not be used
    elif "nvcc" in record.get("cuda", {}):
        env["nvcc_path"] = record["cuda"]["nvcc"]
    home = jittor_home()
    if home == Path(sys.prefix) / "jittor_home":  # both: JITTOR_HOME alone is written to, and needs, the real home
        env["HOME"] = env["JITTOR_HOME"] = str(home)
    return env


def cuda_environment(cuda):
    """What Jittor must find for CUDA; `cuda` is what the preparation recorded of it, if it did."""
    env = {"nvcc_path": find_nvcc()}
    if "nvcc" not in cuda:
        return env
    named = os.environ.get("nvcc_path")
    if named and named not in (cuda["nvcc"], cuda["asked"]):
        raise MachineError(
            f"nvcc_path is {named}, but this environment is prepared for {cuda['asked']}. Next: {PREPARE}"
        )
    archs = compute_capabilities()
    env["cuda_archs"] = " ".join(map(str, archs or cuda["archs"]))
    if not archs:
        env["use_cuda_host_allocator"] = "0"  # a build without a GPU: nothing can be pinned
    env["use_cutt"] = env["use_cutlass"] = "0"  # downloads; transposes are among the repairs
    env["use_nccl"] = "1" if cuda["nccl"] else "0"
    if cuda["nccl"]:
        env["nccl_include_path"], env["nccl_lib_path"] = cuda["nccl"]
    return env


def start(device="auto", verbose=False, quiet=True, gpu=None):
    """Set the environment, import Jittor, switch the device on. Returns what was decided, for `describe`.

    `gpu`: the GPUs to see, as "0,1"; under mpirun each rank takes the one of its own number, and `gpu` is not used.
    """
    if "jittor" in sys.modules:
        raise MachineError("runtime.start() comes before the first `import jittor`; Jittor is imported already")
    if gpu and gpu.lower() != "none" and mpi_size() == 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    device, reason = choose_device(device)
    if device == "cuda":
        check_gpus_for_ranks(count_gpus()[0])
    os.environ.update(environment(device, verbose))
    warnings.filterwarnings("ignore", message="The value of the smallest subnormal")  # Jittor flushes those to zero
    jt = import_jittor()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # Jittor's handler ends this process when any child is killed
    jt.flags.use_cuda = int(device == "cuda")
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
    """The one line that every run prints: where it happens, and why."""
    ranks = f"{run['mpi_size']} MPI rank" + ("s" if run["mpi_size"] > 1 else "")
    threads = f"{run['threads']} thread" + ("s" if run["threads"] > 1 else "")
    return f"{run['device']} ({run['reason']}) · {ranks} · {threads} · attention {attention} · jittor {run['jittor']}"


def import_jittor():
    """`import jittor`, with Jittor's ways of failing turned into one message that says what to do."""
    try:
        keep_signals_from_compilers()
        import jittor
    except SystemExit:  # "jit_utils updated, please rerun": a half-written cache; Jittor leaves with exit code 0
        raise MachineError(f"Jittor's cache was half written. Next: {PREPARE}, then the same command") from None
    except ModuleNotFoundError as error:
        raise MachineError(f"{error}. Next: pip install -r requirements.txt, then {PREPARE}") from None
    except Exception as error:
        detail = str(error).strip().splitlines() or [type(error).__name__]
        raise MachineError(f"Jittor does not start: {detail[-1][:300]}. Next: {PREPARE}") from error
    return jittor


def keep_signals_from_compilers():
    """Jittor's compile processes leave this process's group before they are used: Ctrl-C, and what mpirun sends to a
    rank's group, is not meant for them, and Jittor ends a process whose child was killed."""
    import jittor_utils

    initialise = jittor_utils.pool_initializer

    def apart():
        os.setpgid(0, 0)
        initialise()

    jittor_utils.pool_initializer = apart


def silence_compiler():
    """Keep Jittor's "Compiling Operators(3/40)" lines off the terminal: they come from C++ and obey no flag.

    File descriptor 2 goes through `sed`, a process of its own, so that what C++ says while it crashes still arrives;
    Python's sys.stderr (progress bars, tracebacks) keeps the terminal itself.
    """
    sed = shutil.which("sed")
    if not sed:
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    filter = [sed, "-u", "/Compiling Operators/d;/^$/d"]  # in a session of its own: Ctrl-C is not meant for it
    child = subprocess.Popen(filter, stdin=subprocess.PIPE, stdout=terminal, start_new_session=True)
    os.dup2(child.stdin.fileno(), 2)
    child.stdin.close()
    sys.stderr = os.fdopen(terminal, "w", buffering=1)

    def finish():
        os.dup2(terminal, 2)  # the pipe's last writer is gone, so sed prints what it holds and ends
        try:
            child.wait(timeout=2)
        except subprocess.TimeoutExpired:  # a worker process still has the pipe
            child.kill()

    atexit.register(finish)


EXPECTED = (MachineError, ValueError, FloatingPointError, OSError)  # each with a message that says what to do


def run(main, name):
    """Call `main`; what is expected to go wrong ends in one line and exit code 1, under mpirun naming the rank."""
    try:
        main()
    except EXPECTED as error:
        stop(f"{name}: {error}")
    except SystemExit as leaving:  # an uncaught one would wait for the other ranks, and they for this one
        if mpi_size() > 1:
            print(f"{name}: rank {mpi_rank()} of {mpi_size()} leaves ({leaving.code})", file=sys.stderr)
            flush_and_exit(leaving.code if isinstance(leaving.code, int) else 1)
        raise


def stop(message):
    """End this process, and under mpirun the whole job, with one line and exit code 1."""
    if mpi_size() == 1:
        sys.exit(message)
    print(f"{message} [rank {mpi_rank()} of {mpi_size()}]", file=sys.stderr)
    flush_and_exit(1)


def flush_and_exit(code):
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a rank that leaves in the ordinary way waits for the others


def _abort_all_ranks(kind, error, trace):
    """Under mpirun an uncaught exception must end the job: Jittor's own shutdown waits for the other ranks forever."""
    traceback.print_exception(kind, error, trace)
    print(f"rank {mpi_rank()} of {mpi_size()} failed; the job ends", file=sys.stderr)
    flush_and_exit(1)
