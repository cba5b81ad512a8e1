#!/usr/bin/env python3
"""Make `import jittor` work on this machine: offline, without root, and fast.

    python scripts/prepare_jittor.py            # run again at any time: what is right already is left alone
    python scripts/prepare_jittor.py --undo     # take back the repairs to Jittor

As published, Jittor 1.3.11 downloads oneDNN 2.2 when it is first imported, which fails without a network and is up to
80 times slower than oneDNN 2.6 on small maps with many channels. This script lays out oneDNN 2.6 from its wheels where
Jittor looks, finds a compiler, Python's headers and Open MPI, compiles Jittor once, and prints what it found and chose.
It repairs Jittor's compiler (repair_jittor.py); where there is a GPU it also lays out CUDA (prepare_cuda.py) and
repairs Jittor's CUDA side.
What later runs need to know is written to ccnet_machine.json in the Python environment (read by utils/machine.py), and
a .pth file there lets a bare `import jittor` find the same (prepare_import.py).
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from scripts.machine import bare_import, checks, first_import, onednn  # noqa: E402
from scripts.machine import cuda as prepare_cuda  # noqa: E402
from scripts.machine import repair as repair_jittor  # noqa: E402
from utils import machine, runtime  # noqa: E402  (all of it needs the standard library only)


def prepare_cuda_side(args, device, reason):
    """-> (device, why, what the record says about CUDA, lines to report)."""
    nvcc = runtime.find_nvcc()
    if nvcc is None:
        checks.fail("there is no nvcc to compile for CUDA", "install the CUDA toolkit, or set nvcc_path")
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


def repair_compiler(yes):
    """-> whether operators may be compiled on all cores, a line about it."""
    try:
        return True, repair_jittor.apply(repair_jittor.jittor_folder(), yes=yes)[0]
    except runtime.MachineError as error:
        return False, f"operators compile one after the other: {error}"


def write_record(record):
    """Written atomically: a run that starts meanwhile would take half of it for none, and compile Jittor anew."""
    part = machine.RECORD.with_name(f"{machine.RECORD.name}.{os.getpid()}.part")
    part.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(part, machine.RECORD)


def undo():
    folder = repair_jittor.jittor_folder()
    names = repair_jittor.undo(folder)
    print(f"taken back in {folder}: {', '.join(names)}" if names else f"{folder} is as published: nothing to take back")
    for name in bare_import.remove():
        print(f"removed {bare_import.site_folder() / name}")
    record = runtime.read_record()
    if names or "cuda" in record:
        kept = {name: value for name, value in record.items() if name not in ("cuda", "parallel_compiler")}
        write_record(kept)
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
    parser.add_argument("--yes", action="store_true", help="repair Jittor even outside an environment")
    parser.add_argument(
        "--undo", action="store_true", help="take back the repairs, the .pth file and the CUDA folder, and stop"
    )
    args = parser.parse_args()
    if args.undo:
        undo()
        return

    def report(name, value):
        print(f"  {name:11} {value}", flush=True)

    print("Preparing Jittor 1.3.11")
    report("python", checks.check_python())
    report("compiler", checks.check_compiler())
    report("headers", checks.check_headers())
    report("opencv", checks.check_opencv())
    home = runtime.jittor_home()
    stand_in = home == Path(sys.prefix) / "jittor_home"
    report("cache", f"{home}/.cache/jittor" + (" (the home folder cannot be written)" if stand_in else ""))
    if not runtime.is_writable(home):
        checks.fail(f"neither the home folder nor {home} can be written", "set HOME to a folder of yours")
    home.mkdir(parents=True, exist_ok=True)
    without_onednn = None
    try:
        report("oneDNN", onednn.lay_out(home))
    except runtime.MachineError as error:  # a GPU does without
        without_onednn = error
    mpicc, mpi_line = checks.find_mpi()
    report("MPI", mpi_line)
    parallel, line = repair_compiler(args.yes)
    report("repair", line)
    record = {"mpicc": mpicc, "parallel_compiler": parallel}
    if args.cuda_archs and not runtime.count_gpus()[0]:
        device, reason = "cuda", f"asked for: built for sm_{', sm_'.join(map(str, args.cuda_archs))}, no GPU to run on"
        args.device = "cuda"
    else:
        write_record(record)  # what was missing may be there now
        device, reason = runtime.choose_device(args.device)
    if device == "cuda":
        device, reason, record["cuda"], lines = prepare_cuda_side(args, device, reason)
        for name, line in lines:
            report(name, line)
    if without_onednn:
        if device == "cpu":
            raise without_onednn
        record["onednn"] = False
        mend = f"{sys.executable} -m pip install {onednn.ONEDNN_WHEELS}"
        report("oneDNN", f"none: convolutions on the CPU will be slow ({mend})")
    report("device", f"{device} ({reason})")
    write_record(record)
    report("import", bare_import.install(yes=args.yes))
    if not args.no_compile:
        print("  compiling Jittor: two to five minutes the first time, then kept", flush=True)
        env = dict(os.environ, **runtime.environment(device))
        report("jittor", first_import.until_it_works(env, Path(sys.prefix) / "prepare_jittor.log"))
    print("ready")


if __name__ == "__main__":
    runtime.run(main, "prepare_jittor")
