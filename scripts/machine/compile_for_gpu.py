#!/usr/bin/env python3
"""Compile all CUDA operators of a training step without a GPU, to find out whether they compile.

    python scripts/prepare_jittor.py --cuda-archs 90       # once: CUDA's libraries, the repairs, Jittor itself
    python scripts/machine/compile_for_gpu.py              # ccnet_r18 and van_tiny in three dtypes
    python scripts/machine/compile_for_gpu.py --models ccnet --precisions bfloat16 --keep runs/compile

Each case is train.py with --device cuda: two steps, an evaluation and a checkpoint of generated scenes. An imitation of
the CUDA runtime (src/fake_cuda.cc) lets Jittor write, compile, link and load every operator with the real nvcc, for the
GPU of --cuda-archs, but kernels are not run, so the results are meaningless. What is compiled already is not compiled
again; --again compiles everything.
"""

import argparse
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from utils import runtime  # noqa: E402

SOURCE = Path(__file__).resolve().parent / "src" / "fake_cuda.cc"
LIBRARIES = "cudart cudnn cudnn_ops cudnn_cnn cublas cublasLt curand cufft cusparse nccl".split()
NAMES = re.compile(r"(__)?(cuda|cudnn|cublas|curand|cufft|cusparse|nccl)[A-Za-z_0-9]*")
MODELS = {  # name -> options of train.py
    "ccnet_r18": ["--model", "ccnet_r18"],
    "van_tiny": ["--model", "van", "--van-size", "van_tiny"],
    "ccnet": ["--model", "ccnet"],
}
PRECISIONS = ("float32", "float16", "bfloat16")
STEP = "--dataset scenes --scene-size 64,128 --input-size 65,65 --batch-size 2 --num-steps 2 --print-frequency 1 "
STEP += "--eval-every 2 --eval-images 2 --random-mirror --device cuda --verbose"
START = """
import ctypes, json, pathlib, runpy, sys
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
from utils import machine
archs = json.loads(sys.argv[2])
machine.count_gpus, machine.compute_capabilities = lambda: (1, ""), lambda: archs
sys.argv = ["train.py", *sys.argv[3:]]
runpy.run_path("train.py", run_name="__main__")
"""


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    text = "networks (default: ccnet_r18 van_tiny)"
    add("--models", nargs="+", choices=list(MODELS), default=["ccnet_r18", "van_tiny"], help=text)
    add("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="default: all three")
    add("--options", default="", metavar="TEXT", help="more options of train.py, such as '--ohem' (default: none)")
    add("--again", action="store_true", help="compile operators again that are compiled already (default: off)")
    add("--keep", metavar="DIR", help="folder for the logs (default: a temporary folder)")
    return parser.parse_args(argv)


def symbols(library):
    """The functions of CUDA that a library defines."""
    done = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True)
    words = (line.split()[-1].split("@")[0] for line in done.stdout.splitlines() if line)
    return {word for word in words if NAMES.fullmatch(word)}


def build_fakes(home, arch, folder):
    """Compile the imitation, with all functions of the libraries in the CUDA home, under the names of each of them.

    A library that is loaded already is not searched again, so these must be loaded before Jittor. -> their folder
    """
    real = [path for path in (home / "lib64" / f"lib{name}.so" for name in LIBRARIES) if path.exists()]
    run = functools.partial(subprocess.run, check=True, cwd=folder)
    run(["g++", "-std=c++17", "-O1", "-fPIC", "-w", f"-I{home}/include", f"-DCAPABILITY={arch}", "-c", SOURCE])
    run(["g++", "-shared", "fake_cuda.o", "-o", "fake.so"])
    names = set().union(*map(symbols, real)) - symbols(folder / "fake.so")
    (folder / "rest.c").write_text("".join(f"int {name}() {{ return 0; }}\n" for name in sorted(names)))
    run(["gcc", "-O1", "-fPIC", "-w", "-fno-builtin", "-c", "rest.c"])
    (folder / "fakes").mkdir(exist_ok=True)
    for path in real:
        facts = subprocess.run(["readelf", "-d", path], capture_output=True, text=True).stdout
        name = re.search(r"SONAME.*\[(.+)\]", facts).group(1)
        (folder / "version").write_text(f"{name} {{ global: *; }};\n")
        linker = [f"-Wl,-soname,{name}", "-Wl,--version-script,version"]
        run(["g++", "-shared", *linker, "fake_cuda.o", "rest.o", "-o", f"fakes/{name}"])
    return folder / "fakes"


def compiled(caches):
    """{operator: (time, with nvcc?)} of the operators compiled so far; Jittor keeps the command of each."""
    keys = [path for cache in caches for path in (cache / "jit").glob("*_op.so.key")]
    return {path.name: (path.stat().st_mtime_ns, "nvcc" in path.read_text(errors="replace")[:300]) for path in keys}


def cuda_caches():
    """Jittor's folders of this home with operators for CUDA."""
    root = runtime.jittor_home() / ".cache" / "jittor"
    return [path for path in root.rglob("cu[0-9]*") if (path / "jit").is_dir()]


def run_case(fakes, archs, model, precision, options, folder):
    """-> (exit code, seconds, the path of the log)"""
    log, began = folder / f"{model}_{precision}.log", time.time()
    flags = [*MODELS[model], *STEP.split(), *options, "--snapshot-dir", str(folder / "run"), "--overwrite"]
    flags += [] if precision == "float32" else ["--amp", precision]
    command = [sys.executable, "-c", START, str(fakes), json.dumps(archs), *flags]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    with open(log, "w") as sink:
        code = subprocess.run(command, cwd=ROOT, env=env, stdout=sink, stderr=subprocess.STDOUT).returncode
    return code, time.time() - began, log


def first_error(log):
    """The line of a log that names the cause best."""
    lines = [line.strip() for line in log.read_text(errors="replace").replace("\r", "\n").splitlines()]
    errors = [line for line in lines if re.search(r"error\b.*:|Error:|: error", line)] or lines[-1:]
    return errors[0][:300] if errors else "no output"


def prepared():
    """What the preparation recorded about CUDA; an error without it."""
    record = runtime.read_record().get("cuda", {})
    if "nvcc" not in record:
        missing = record.get("missing", "this environment is not prepared for CUDA")
        raise runtime.MachineError(f"{missing}. Fix: {runtime.PREPARE} --cuda-archs 90 (the GPU's architecture)")
    return record


def main():
    args = parse_args()
    record = prepared()
    folder = Path(args.keep or tempfile.mkdtemp(prefix="compile_for_gpu_"))
    folder.mkdir(parents=True, exist_ok=True)
    if args.again:
        for cache in cuda_caches():
            shutil.rmtree(cache / "jit")
            (cache / "jit").mkdir()
    home = Path(record["nvcc"]).parents[1]
    fakes, failed = build_fakes(home, max(record["archs"]), folder.resolve()), 0
    archs = ", ".join(f"sm_{arch}" for arch in record["archs"])
    print(f"CUDA {record['cuda'][0]}.{record['cuda'][1]} for {archs}; nothing is computed\n")
    print("| network | dtype | compiled with nvcc | with g++ | seconds | result |\n|---|---|---|---|---|---|")
    for model in args.models:
        for precision in args.precisions:
            before = compiled(cuda_caches())
            code, seconds, log = run_case(fakes, record["archs"], model, precision, args.options.split(), folder)
            after = compiled(cuda_caches())
            new = [value[1] for name, value in after.items() if before.get(name) != value]
            cuda = sum(new)
            result = "compiled" if code == 0 else f"failed ({code}): {first_error(log)}"
            print(f"| {model} | {precision} | {cuda} | {len(new) - cuda} | {seconds:.0f} | {result} |", flush=True)
            failed += code != 0
    if args.keep or failed:
        print(f"\nlogs: {folder}")
    else:
        shutil.rmtree(folder)
    sys.exit(f"compile_for_gpu.py: {failed} cases failed" if failed else 0)


if __name__ == "__main__":
    runtime.run(main, "compile_for_gpu.py")
