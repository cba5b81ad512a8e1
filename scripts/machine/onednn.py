"""Copies oneDNN 2.6 from its wheels to the folder where Jittor 1.3.11 looks for oneDNN 2.2, which it would download."""

import shutil
import sys
import tempfile
from pathlib import Path

from scripts.machine.checks import fail, output_of
from utils import runtime

ONEDNN_FOLDER = "dnnl_lnx_2.2.0_cpu_gomp"  # the name that Jittor looks for; it contains 2.6
ONEDNN_WHEELS = "onednn-cpu-gomp==2022.2.1 onednn-devel-cpu-gomp==2022.2.1"


def lay_out(home):
    """Put oneDNN 2.6 where Jittor expects 2.2. The folder is written atomically. -> the line to report."""
    target = home / ".cache" / "jittor" / "mkl" / ONEDNN_FOLDER
    version = version_of(target)
    if version and version >= (2, 6):
        return f"{'.'.join(map(str, version))} at {target}"
    prefix = Path(sys.prefix)
    library = next(iter(sorted((prefix / "lib").glob("libdnnl.so.2*"))), None)
    if library is None or not (prefix / "include" / "dnnl.hpp").is_file():
        fail(
            "the oneDNN wheels are not installed in this environment",
            f"{sys.executable} -m pip install {ONEDNN_WHEELS}",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="onednn_", dir=target.parent.parent))  # Jittor would use any dnnl* in mkl/
    part = work / "new"
    (part / "lib").mkdir(parents=True)
    shutil.copytree(prefix / "include" / "oneapi", part / "include" / "oneapi")
    for header in (prefix / "include").glob("dnnl*"):
        shutil.copy(header, part / "include")
    shutil.copy(library.resolve(), part / "lib" / "libdnnl.so.2")  # operators load it by its SONAME ...
    (part / "lib" / "libmkldnn.so").symlink_to("libdnnl.so.2")  # ... and are linked by this name
    if target.exists():
        target.rename(work / "old")
    try:
        part.rename(target)
    except OSError:
        pass  # another process has just made it
    shutil.rmtree(work)
    new = version_of(target)
    if not new:
        fail(
            f"oneDNN was laid out at {target}, but does not load", f"remove that folder and run {runtime.PREPARE} again"
        )
    instead = f" instead of {'.'.join(map(str, version))}" if version else ""
    return f"{'.'.join(map(str, new))} laid out at {target}{instead}"


def version_of(folder):
    """(major, minor, patch) of the oneDNN in a folder; None if there is none or it does not load."""
    code = (
        "import ctypes, sys\n"
        "class V(ctypes.Structure): _fields_ = [(n, ctypes.c_int) for n in 'abc']\n"
        "lib = ctypes.CDLL(sys.argv[1]); lib.dnnl_version.restype = ctypes.POINTER(V)\n"
        "v = lib.dnnl_version().contents; print(v.a, v.b, v.c)"
    )
    if not (folder / "include" / "dnnl.hpp").is_file() or not (folder / "lib" / "libdnnl.so.2").is_file():
        return None
    text = output_of(sys.executable, "-c", code, str(folder / "lib" / "libmkldnn.so"))
    return tuple(map(int, text.split())) if text else None
