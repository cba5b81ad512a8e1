#!/usr/bin/env python3
"""Make `import jittor` work on this machine: offline, without root, and fast.

    python scripts/prepare_jittor.py            # can be repeated: what is already in place is not changed
    python scripts/prepare_jittor.py --undo     # undo the repairs to Jittor

As published, Jittor 1.3.11 downloads oneDNN 2.2 at its first import. That fails without a network, and oneDNN 2.2 is up
to 80 times slower than 2.6 on small maps with many channels. This script copies oneDNN 2.6 from its wheels to where
Jittor looks, finds a compiler, Python's headers and Open MPI, repairs Jittor's compiler, compiles Jittor once, and
prints what it found. With a GPU it also makes a CUDA home and repairs Jittor's CUDA code. The parts are in
scripts/machine. ccnet_machine.json in the Python environment records the result (read by utils/machine.py), and a .pth
file makes a bare `import jittor` use the same settings.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from scripts.machine import architectures, bare_import, checks, cuda, first_import, onednn, operator_header, repair  # noqa: E402
from utils import machine, runtime  # noqa: E402  (these modules need only the standard library)
from utils.files import whole_file  # noqa: E402


def report(name, value):
    print(f"  {name:11} {value}", flush=True)


def prepare_cuda(args, device, reason):
    """-> (device, reason for it, the part of the record about CUDA, [(name, line)] to report)."""
    nvcc = runtime.find_nvcc()
    if nvcc is None:
        checks.fail("there is no nvcc to compile for CUDA", "install the CUDA toolkit, or set nvcc_path")
    try:
        archs = runtime.compute_capabilities() or args.cuda_archs or []
        record = cuda.prepare(nvcc, archs=archs)
        versions = {name: tuple(record[name]) for name in ("cuda", "cudnn")}
        repairs = repair.apply(repair.jittor_folder(), versions, args.yes)
    except runtime.MachineError as error:
        if args.device == "cuda":
            raise
        print(f"  The GPU cannot be used yet: {error}", flush=True)
        missing = str(error).split("\n")[0]
        return "cpu", f"there is a GPU, but {missing}", {"missing": missing}, []
    record["asked"], record["archs"] = nvcc, archs
    numbers = "CUDA {}.{}".format(*record["cuda"]) + ", cuDNN " + ".".join(map(str, record["cudnn"]))
    lines = [("CUDA", f"{numbers}, for {architectures.describe(archs, record['known'])}: {record['nvcc']}")]
    fix = f"{sys.executable} -m pip install nvidia-nccl-cu{record['cuda'][0]}"
    nccl = record["nccl"][1] if record["nccl"] else f"none: ranks exchange gradients through host memory (Fix: {fix})"
    return device, reason, record, [*lines, ("NCCL", nccl), *(("repair", line) for line in repairs)]


def repair_compiler(yes):
    """-> (whether operators may be compiled on all cores, the lines to report)."""
    try:
        return True, repair.apply(repair.jittor_folder(), yes=yes)
    except runtime.MachineError as error:
        return False, [f"operators are compiled one at a time: {error}"]


def write_record(record):
    """Written atomically: a run that reads half a record would ignore it and compile Jittor again."""
    with whole_file(machine.RECORD, "w") as file:
        file.write(json.dumps(record, indent=1) + "\n")


def undo():
    folder = repair.jittor_folder()
    names = repair.undo(folder)
    print(f"undone in {folder}: {', '.join(names)}" if names else f"{folder} is as published: nothing to undo")
    for name in bare_import.remove():
        print(f"removed {bare_import.site_folder() / name}")
    record = runtime.read_record()
    if names or "cuda" in record:
        write_record({name: value for name, value in record.items() if name not in ("cuda", "parallel_compiler")})
        shutil.rmtree(Path(sys.prefix) / "cuda", ignore_errors=True)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--no-compile", action="store_true", help="do not compile Jittor now; the first run does")
    add("--device", choices=runtime.DEVICES, default="auto", help="device to prepare for (default: auto)")
    add(
        "--cuda-archs", type=int, nargs="+", metavar="N",
        help="compute capabilities to build for on a machine without a GPU, for example 80 90",
    )  # fmt: skip
    add("--yes", action="store_true", help="allow repairs to a Jittor outside a virtual environment")
    add("--undo", action="store_true", help="undo the repairs, remove the .pth file and the CUDA home, and exit")
    return parser.parse_args()


def prepare_home():
    """-> the folder that contains .cache/jittor; it exists and can be written."""
    home = runtime.jittor_home()
    replaced = home == Path(sys.prefix) / "jittor_home"
    report("cache", f"{home}/.cache/jittor" + (" (the home folder cannot be written)" if replaced else ""))
    if not runtime.is_writable(home):
        checks.fail(f"neither the home folder nor {home} can be written", "set HOME to a folder that you can write")
    home.mkdir(parents=True, exist_ok=True)
    return home


def prepare_onednn(home):
    """-> None, or the MachineError with the reason why there is no oneDNN, which a GPU does not need."""
    try:
        report("oneDNN", onednn.lay_out(home))
    except runtime.MachineError as error:
        return error


def prepare_device(args, record):
    """Choose the device and, for a GPU, prepare CUDA and add its part to the record. -> (device, reason for it)."""
    if args.cuda_archs and not runtime.count_gpus()[0]:
        archs = ", ".join(f"sm_{arch}" for arch in args.cuda_archs)
        device, reason, args.device = "cuda", f"--cuda-archs: built for {archs}, no GPU on this machine", "cuda"
    else:
        write_record(record)  # without the CUDA part of an earlier record, which choose_device reads
        device, reason = runtime.choose_device(args.device)
    if device == "cuda":
        device, reason, record["cuda"], lines = prepare_cuda(args, device, reason)
        for name, line in lines:
            report(name, line)
    return device, reason


def main():
    args = parse_args()
    if args.undo:
        undo()
        return
    print("Preparing Jittor 1.3.11")
    report("python", checks.check_python())
    report("compiler", checks.check_compiler())
    report("headers", checks.check_headers())
    report("opencv", checks.check_opencv())
    no_onednn = prepare_onednn(prepare_home())
    mpicc, line = checks.find_mpi()
    report("MPI", line)
    parallel, lines = repair_compiler(args.yes)
    for line in lines:
        report("repair", line)
    record = {"mpicc": mpicc, "parallel_compiler": parallel}
    device, reason = prepare_device(args, record)
    if no_onednn:
        if device == "cpu":
            raise no_onednn
        record["onednn"] = False
        fix = f"{sys.executable} -m pip install {onednn.ONEDNN_WHEELS}"
        report("oneDNN", f"none: convolutions on the CPU will be slow (Fix: {fix})")
    report("device", f"{device} ({reason})")
    write_record(record)
    report("import", bare_import.install(yes=args.yes))
    if not args.no_compile:
        print("  compiling Jittor: two to five minutes the first time", flush=True)
        env = dict(os.environ, **runtime.environment(device))
        report("jittor", first_import.until_it_works(env, Path(sys.prefix) / "prepare_jittor.log"))
        report("operators", operator_header.prepare(env))
    print("ready")


if __name__ == "__main__":
    runtime.run(main, "prepare_jittor")
