"""A CUDA home for Jittor, made of links to the toolkit and to libraries of the system or of pip wheels.

Jittor searches one CUDA home for headers and for libraries without a version in their names (libcublas.so). Wheels and
package managers install them elsewhere under versioned names, and CUDA 13 requires C++17 where Jittor passes C++14.
`lay_out` makes a folder of links in the Python environment where Jittor finds everything. Nothing is downloaded.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.machine import architectures
from utils.runtime import MachineError

HOME = Path(sys.prefix) / "cuda"
HEADERS = {  # library: the header that Jittor looks for
    "cudart": "cuda_runtime.h",
    "cublas": "cublas.h",
    "cublasLt": "cublasLt.h",
    "cudnn": "cudnn.h",
    "curand": "curand.h",
    "cufft": "cufft.h",
    "cusparse": "cusparse.h",
}
WHEELS = (
    "cuda_runtime",
    "cublas",
    "cudnn",
    "curand",
    "cufft",
    "cusparse",
    "nccl",
    "npp",
)  # nvidia/<name>/lib, CUDA <= 12
CUDNN_8_NAMES = {"ops_infer": "ops", "ops_train": "ops", "cnn_infer": "cnn", "cnn_train": "cnn"}
OLDEST = (10, 2)
SYSTEM = Path("/usr/include")

NPP = """// Replaces NVIDIA's npp.h: Jittor (src/misc/cuda_limits.h) uses only these limits of it.
#pragma once
#define NPP_MIN_32U 0
#define NPP_MAX_32U 4294967295U
#define NPP_MIN_32S (-2147483647 - 1)
#define NPP_MAX_32S 2147483647
#define NPP_MIN_64U 0
#define NPP_MAX_64U 18446744073709551615ULL
#define NPP_MIN_64S (-9223372036854775807LL - 1)
#define NPP_MAX_64S 9223372036854775807LL
"""


def output_of(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError:
        return ""
    return done.stdout


def find_toolkit(nvcc):
    """-> (nvcc, toolkit folder, version). The nvcc on PATH may be a wrapper script: --dryrun prints the real folder."""
    text = output_of(nvcc, "--version")
    version = re.search(r"release (\d+)\.(\d+)", text)
    if not version:
        raise MachineError(f"{nvcc} --version does not name a CUDA release\n  Fix: point nvcc_path at a working nvcc")
    version = tuple(map(int, version.groups()))
    if version < OLDEST:
        raise MachineError(f"{nvcc} is of CUDA {version[0]}.{version[1]}; Jittor 1.3.11 needs 10.2 or newer")
    top = re.search(r"TOP=(\S.*)", output_of(nvcc, "--dryrun", "-x", "cu", "/dev/null"))
    root = Path(top.group(1).strip() if top else Path(nvcc).resolve().parent.parent).resolve()
    return root / "bin" / "nvcc", root, version


def library_folders(root, version, search=None):
    """[(folder with headers, folder with libraries)]: toolkit, pip wheels, conda, system, in this order."""
    machine = platform.machine()
    target = root / "targets" / ("x86_64-linux" if machine == "x86_64" else "sbsa-linux")
    pairs = [(root / "include", root / "lib64"), (target / "include", target / "lib"), (root / "include", root / "lib")]
    for folder in sys.path if search is None else search:
        nvidia = Path(folder) / "nvidia"
        for name in (f"cu{version[0]}", *WHEELS):
            if fits(Path(folder), f"nvidia_{name}_cu", version):
                pairs.append((nvidia / name / "include", nvidia / name / "lib"))
    if search is None:
        conda = os.environ.get("CONDA_PREFIX")
        pairs += [(Path(conda) / "include", Path(conda) / "lib")] if conda else []
        pairs += [(SYSTEM, Path(f"/usr/lib/{machine}-linux-gnu")), (SYSTEM, Path("/usr/lib64"))]
    return [(headers, libraries) for headers, libraries in pairs if headers.is_dir() and libraries.is_dir()]


def fits(site, prefix, version):
    """Is the wheel in `site` for this CUDA? All versions use the folder nvidia/cudnn: read the name of the wheel."""
    names = [path.name for path in site.glob(f"{prefix}*.dist-info")]
    return not names or any(name.startswith(f"{prefix}{version[0]}-") for name in names)


def library_file(folder, library):
    """lib<library>.so in a folder, else the newest lib<library>.so.9.1; None if there is neither."""
    pattern = re.compile(rf"lib{re.escape(library)}\.so((?:\.\d+)*)")
    files = [(match.group(1), path) for path in folder.iterdir() if (match := pattern.fullmatch(path.name))]
    return max(files, key=lambda file: (file[0] == "", [int(n) for n in file[0].split(".")[1:]]), default=(None, None))[
        1
    ]


def find_libraries(folders, version):
    """{library: (headers, libraries)}, both from one installation, for what Jittor needs and for NCCL if installed."""
    libraries = {}
    for library, header in {**HEADERS, "nccl": "nccl.h"}.items():
        for headers, folder in folders:
            if (headers / header).is_file() and library_file(folder, library):
                libraries[library] = (headers, folder)
                break
    missing = [library for library in HEADERS if library not in libraries]
    if missing:
        wheels = {"cudart": "nvidia-cuda-runtime", "cudnn": f"nvidia-cudnn-cu{version[0]}", "cublasLt": "nvidia-cublas"}
        names = sorted({wheels.get(library, f"nvidia-{library}") for library in missing})
        if version[0] < 13:
            names = [name if name.endswith(f"-cu{version[0]}") else f"{name}-cu{version[0]}" for name in names]
        searched = ", ".join(dict.fromkeys(str(folder) for _, folder in folders)) or "no existing folder"
        raise MachineError(
            f"CUDA {version[0]}.{version[1]} without {', '.join(f'lib{name} and {HEADERS[name]}' for name in missing)} "
            f"(searched {searched})\n  Fix: {sys.executable} -m pip install {' '.join(names)}, or install them for the "
            "system, then run this again"
        )
    return libraries


def cudnn_version(headers):
    for name in ("cudnn_version.h", "cudnn.h"):
        if (headers / name).is_file():
            text = (headers / name).read_text(errors="replace")
            numbers = [re.search(rf"#define CUDNN_{part}\s+(\d+)", text) for part in ("MAJOR", "MINOR", "PATCHLEVEL")]
            if all(numbers):
                return tuple(int(number.group(1)) for number in numbers)
    raise MachineError(f"{headers}/cudnn.h does not contain the version of cuDNN; install its development files")


def is_enough(nvcc, root, version, cudnn, libraries, usual):
    """Does Jittor find everything by itself? It does on a usual installation of CUDA 10 to 12 with cuDNN 8. `usual`:
    the GPUs are of one kind, which nvcc knows."""
    if (
        not usual
        or version >= (13,)
        or cudnn >= (9,)
        or not nvcc.is_file()
        or not (root / "include" / "npp.h").is_file()
    ):
        return False
    searched = (root / "lib64", Path(f"/usr/lib/{platform.machine()}-linux-gnu"))
    return all(folder in searched and (folder / f"lib{name}.so").exists() for name, (_, folder) in libraries.items())


def lay_out(home, root, cudnn, libraries, nvcc_script):
    """Make the CUDA home (bin/nvcc, include, lib64), written atomically; one that differs is replaced."""
    home.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="cuda_", dir=home.parent))
    part = work / "new"
    for name in ("bin", "include", "lib64"):
        (part / name).mkdir(parents=True)
    for headers in dict.fromkeys([root / "include", *(headers for headers, _ in libraries.values())]):
        if headers.is_dir() and headers != SYSTEM:  # compilers search it anyway
            for entry in sorted(headers.iterdir()):
                link(entry.resolve(), part / "include" / entry.name)
    if not (part / "include" / "npp.h").exists():
        (part / "include" / "npp.h").write_text(NPP)
    for name, (headers, folder) in libraries.items():
        for file in sorted(folder.glob(f"lib{name}*" if headers == SYSTEM else "lib*")):
            if file.is_file() and re.search(r"\.(so(\.\d+)*|a)$", file.name):
                link(file.resolve(), part / "lib64" / file.name)
    for name in {file.name.split(".so.")[0][3:] for file in (part / "lib64").glob("lib*.so.*")}:
        link(library_file(part / "lib64", name).name, part / "lib64" / f"lib{name}.so")
    if cudnn >= (9,):  # Jittor opens these libraries of cuDNN 8 by name
        for old, new in CUDNN_8_NAMES.items():
            link(f"libcudnn_{new}.so", part / "lib64" / f"libcudnn_{old}.so")
    script = part / "bin" / "nvcc"  # no link: Jittor would follow it and use the folder it leads to as CUDA home
    script.write_text(nvcc_script)
    script.chmod(0o755)
    if contents(part) != contents(home):
        if home.exists():
            home.rename(work / "old")
        part.rename(home)
    shutil.rmtree(work)


def contents(home):
    """{path in the CUDA home: target of a link, or bytes of a file}."""
    entries = [
        entry for name in ("bin", "include", "lib64") if (home / name).is_dir() for entry in (home / name).iterdir()
    ]
    return {
        str(entry.relative_to(home)): os.readlink(entry) if entry.is_symlink() else entry.read_bytes()
        for entry in entries
    }


def link(target, path):
    if not (path.exists() or path.is_symlink()):
        path.symlink_to(target)


def prepare(nvcc, home=HOME, search=None, archs=()):
    """Find the libraries and make the CUDA home if needed. `archs`: the compute capabilities of the GPUs.

    -> the record that runs and repairs read.
    """
    nvcc, root, version = find_toolkit(nvcc)
    known = architectures.known_to(output_of(str(nvcc), "--list-gpu-arch"), version)
    architectures.check(archs, known, nvcc, version)
    libraries = find_libraries(library_folders(root, version, search), version)
    cudnn = cudnn_version(libraries["cudnn"][0])
    record = {"toolkit": str(root), "cuda": list(version), "cudnn": list(cudnn), "nccl": [], "known": known}
    if is_enough(nvcc, root, version, cudnn, libraries, len(archs) < 2 and set(archs) <= set(known)):
        record.update(nvcc=str(nvcc), nccl=[str(folder) for folder in libraries.get("nccl", ())])
        return record
    lay_out(home, root, cudnn, libraries, architectures.nvcc_script(nvcc, version, known))
    record.update(nvcc=str(home / "bin" / "nvcc"))
    if "nccl" in libraries:
        record["nccl"] = [str(home / "include"), str(home / "lib64")]
    return record
