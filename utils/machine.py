"""What this machine offers a run: the record of its preparation, its GPUs, and the environment variables for Jittor.

Jittor reads its environment only when it is imported, so all of this is decided before, from the standard library
alone. scripts/prepare_jittor.py uses it before anything is installed, and scripts/machine/bare_import.py copies this
one file into the Python environment: it imports nothing of this project.
"""

import ctypes
import json
import math
import os
import shutil
import sys
from pathlib import Path

RECORD = Path(sys.prefix) / "ccnet_machine.json"  # written by scripts/prepare_jittor.py
PREPARE = "python scripts/prepare_jittor.py"
DEVICES = ("auto", "cpu", "cuda")


class MachineError(RuntimeError):
    """This machine cannot do what the command line asks for; the message gives the reason and the fix."""


def read_record():
    """What scripts/prepare_jittor.py recorded about this machine; {} where it has not run."""
    try:
        return json.loads(RECORD.read_text())
    except (OSError, ValueError):
        return {}


def is_writable(folder):
    """Can files be created in `folder`, or in its nearest existing parent? Tested by creating one: os.access is always
    true for root."""
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
    """The folder that holds Jittor's .cache/jittor: JITTOR_HOME, else the one Jittor recorded, else the home folder.

    Where that is not writable: a folder inside the Python environment.
    """
    home = Path(os.path.expanduser("~"))
    chosen = os.environ.get("JITTOR_HOME")
    if not chosen:
        try:  # Jittor records the last JITTOR_HOME here and uses it in processes that do not set it
            chosen = json.loads((home / ".cache/jittor/config.json").read_text()).get("JITTOR_HOME")
        except (OSError, ValueError):
            chosen = None
    cache = home / ".cache" / "jittor"  # Jittor writes here even when JITTOR_HOME points elsewhere
    if is_writable(cache) and is_writable(Path(chosen or home) / ".cache" / "jittor"):
        return Path(chosen or home)
    return Path(sys.prefix) / "jittor_home"


def check_compiler():
    """Jittor starts its compiler at each import, even if there is nothing left to compile."""
    compiler = os.environ.get("cc_path") or "g++"
    if not shutil.which(compiler):
        raise MachineError(
            f"no C++ compiler: there is no {compiler}, which Jittor needs at each start, even if all is compiled. "
            "Fix: sudo apt-get install g++ (without root: conda install gxx), or set cc_path to the path of a g++"
        )


def find_nvcc():
    """Path of nvcc: $nvcc_path, PATH, the usual folders, the wheels; None if there is none."""
    nvcc = os.environ.get("nvcc_path") or shutil.which("nvcc")
    if nvcc:
        return nvcc
    wheels = [f"{folder}/nvidia/cu13/bin/nvcc" for folder in sys.path]  # what nvidia-cuda-nvcc installs
    for path in ("/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc", *wheels):
        if os.path.isfile(path):
            return path
    return None


def count_gpus():
    """-> (number of GPUs that the NVIDIA driver reports, the reason if it is 0). Nothing is compiled for it."""
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
    """Compute capabilities of the GPUs as nvcc takes them, each once: [70] for a V100, [90] for an H100 or H200."""
    major, minor = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
    capabilities = set()
    for index in range(count_gpus()[0]):
        driver, device, value = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0), ctypes.c_int(0)
        driver.cuDeviceGet(ctypes.byref(device), index)
        number = 0
        for attribute in (major, minor):
            driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            number = 10 * number + value.value
        capabilities.add(number)
    return sorted(capabilities)


def choose_device(device="auto"):
    """`device`: auto, cpu or cuda. -> ("cpu" or "cuda", the reason)."""
    if device not in DEVICES:
        raise MachineError(f"--device {device!r} is unknown; choose from {', '.join(DEVICES)}")
    if device == "cpu":
        return "cpu", "--device cpu"
    gpus, why_none = count_gpus()
    nvcc = find_nvcc()
    missing = read_record().get("cuda", {}).get("missing", "") if nvcc else "no nvcc to compile its kernels"
    if gpus and not missing:
        return "cuda", f"{gpus} GPU{'s' if gpus > 1 else ''}, {nvcc}"
    reason = why_none if not gpus else f"there is a GPU, but {missing}"
    if device == "cuda":
        fix = "install the CUDA toolkit or set nvcc_path" if not nvcc else f"{PREPARE} --device cuda"
        fix = fix if gpus else "check nvidia-smi"
        raise MachineError(f"--device cuda: {reason}. Fix: {fix}, or run with --device cpu")
    return "cpu", reason


def mpi_size():
    """Number of processes that mpirun started; 1 without mpirun. Does not need Jittor."""
    return int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))


def check_gpus_for_ranks(gpus):
    """Jittor assigns GPU k of a machine to its rank k. Two ranks cannot share a GPU: NCCL does not support it."""
    ranks = int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
    if ranks > gpus:
        raise MachineError(
            f"{ranks} ranks on this machine see {gpus} GPU{'s' if gpus > 1 else ''}, and each needs its own. "
            f"Fix: mpirun -np {gpus}, or make all GPUs visible to every rank (CUDA_VISIBLE_DEVICES)"
        )


def mpi_rank():
    """Index of this process among those of mpirun; 0 without mpirun."""
    return int(os.environ.get("OMPI_COMM_WORLD_RANK", "0"))


def cpu_limit(cgroups="/sys/fs/cgroup", groups_file="/proc/self/cgroup"):
    """Processors that the limit of a container allows (docker --cpus), rounded up; None if there is no limit.

    A limit of a parent group counts as well. `groups_file`: names the groups of this process.
    """
    limits = []
    try:
        groups = [
            line.strip().split(":", 2)[2]
            for line in Path(groups_file).read_text().splitlines()
            if ":cpu" in line or line.startswith("0:")
        ]
    except OSError:
        groups = []
    for group in groups or ["/"]:
        for folder in (Path(group), *Path(group).parents):
            for name in ("", "cpu", "cpu,cpuacct"):  # version 2 of cgroups, version 1
                limits.append(read_limit(Path(cgroups, name, *folder.parts[1:])))
    limits = [limit for limit in limits if limit]
    return max(1, math.ceil(min(limits))) if limits else None


def read_limit(folder):
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # "max": no limit
        return None


def environment(device, verbose=False):
    """The environment variables that Jittor needs for this device. Variables that the user has set are kept."""
    record = read_record()
    env = {"cache_name": "default"}  # otherwise Jittor compiles a separate cache for each git branch, for minutes
    env["mpicc_path"] = record.get("mpicc", "")  # "": no MPI. Part of the cache key, so it must not depend on PATH
    env["gdb_path"] = ""
    limit, ranks = cpu_limit() or os.cpu_count() or 1, int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
    threads = min(16, os.cpu_count() or 1, limit)
    env["use_parallel_op_compiler"] = str(threads if record.get("parallel_compiler") else 0)  # see compiler_repairs.py
    env["FIX_TORCH_ERROR"] = "0"  # otherwise Jittor imports torch first, if it is installed
    if not verbose:
        env["log_silent"] = "1"
    if not record.get("onednn", True):
        env["use_mkl"] = "0"  # otherwise Jittor downloads oneDNN
    if device == "cuda":
        env.update(cuda_environment(record.get("cuda", {})))
    cores = len(os.sched_getaffinity(0))  # mpirun usually binds each rank to its own cores
    if cores == os.cpu_count():
        cores //= ranks
    env["OMP_NUM_THREADS"] = str(max(1, min(cores, limit // ranks)))
    env = {key: value for key, value in env.items() if key not in os.environ}
    if device == "cpu":
        env["nvcc_path"] = ""  # Jittor would use an nvcc that it finds, even without a GPU
    elif "nvcc" in record.get("cuda", {}):
        env["nvcc_path"] = record["cuda"]["nvcc"]
    home = jittor_home()
    if os.environ.get("JITTOR_HOME") == "":
        env["JITTOR_HOME"] = str(home)  # Jittor takes the empty text for a folder, and does not start
    if home == Path(sys.prefix) / "jittor_home":  # both: with JITTOR_HOME alone Jittor still writes to the home folder
        env["HOME"] = env["JITTOR_HOME"] = str(home)
    return env


def cuda_environment(cuda):
    """The environment variables for CUDA. `cuda`: what the preparation recorded about it, or {}."""
    env = {"nvcc_path": find_nvcc()}
    if "nvcc" not in cuda:
        return env
    nvcc = os.environ.get("nvcc_path")
    if nvcc and nvcc not in (cuda["nvcc"], cuda["asked"]):
        raise MachineError(f"nvcc_path is {nvcc}, but this environment is prepared for {cuda['asked']}. Fix: {PREPARE}")
    archs = compute_capabilities()
    others = [arch for arch in archs if arch not in cuda.get("known", archs) and arch not in cuda["archs"]]
    if others:
        here, prepared = (", ".join(f"sm_{arch}" for arch in listed) for listed in (others, cuda["archs"]))
        raise MachineError(f"a GPU here is {here}, and this environment is prepared for {prepared}. Fix: {PREPARE}")
    env["cuda_archs"] = " ".join(map(str, archs or cuda["archs"]))
    # Jittor's default, 1, makes each jt.array wait until the GPU is idle; 0 copies in the background. A build without a
    # GPU has no pinned memory at all.
    env["use_cuda_host_allocator"] = "0"
    env["use_cutt"] = env["use_cutlass"] = "0"  # otherwise Jittor downloads both; a repair replaces cuTT
    env["use_nccl"] = "1" if cuda["nccl"] else "0"
    if cuda["nccl"]:
        env["nccl_include_path"], env["nccl_lib_path"] = cuda["nccl"]
    return env
