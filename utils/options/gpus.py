"""The flags about the machine of train.py, evaluate.py and scripts/predict.py; remarks about those for GPUs."""

import argparse
import shlex
import shutil
import sys

from utils import runtime


def part(text):
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a part of the GPU's memory from 0 to 1, such as 0.03")
    return value


def add_machine(add, devices):
    add("--device", choices=devices, default="auto", help="auto: cuda if there is a GPU, else cpu (default: auto)")
    text = "visible GPUs, as CUDA_VISIBLE_DEVICES; each process uses one (default: all)"
    add("--gpu", metavar="0,1", help=text)
    add_workspace(add)
    add("--verbose", action="store_true", help="show the messages of Jittor (default: off)")


def add_workspace(add):
    text = "largest workspace of a cuDNN convolution, as a part of the GPU's memory (default: %(default)s)"
    add("--cudnn-workspace", type=part, default=runtime.CUDNN_WORKSPACE, metavar="RATIO", help=text)


def workspace_remark(device, argv=None):
    """The line about a --cudnn-workspace without effect."""
    words = [word.split("=", 1)[0] for word in (sys.argv[1:] if argv is None else argv)]
    return ["--cudnn-workspace has no effect on the CPU"] * (device == "cpu" and "--cudnn-workspace" in words)


def remarks(gpu, ranks, device, argv=None, parallel=True):
    """Lines about a --gpu whose effect may be unexpected. `parallel`: can mpirun start this program?"""
    if not gpu or gpu.lower() == "none":
        return []
    if ranks > 1:
        return [f"--gpu {gpu} has no effect under mpirun: each rank uses the GPU of its own number"]
    names = [name for name in gpu.split(",") if name.strip()]
    lines = [f"--gpu {gpu} has no effect on the CPU"] if device == "cpu" else []
    if len(names) > 1 and not parallel:
        lines += [f"--gpu {gpu} names {len(names)} GPUs; this program is one process and uses the first"] * (not lines)
    elif len(names) > 1:
        where = "one process uses one of them" if device == "cuda" else "where these GPUs are"
        lines.append(f"--gpu {gpu} names {len(names)} GPUs; {where}: {mpirun(names, argv)}")
    return lines


def mpirun(gpus, argv=None):
    """The mpirun command of this command line, with one process for each GPU."""
    words, skip = [], False
    for word in sys.argv[1:] if argv is None else argv:
        if not skip and word.split("=", 1)[0] not in ("--gpu", "--device"):
            words.append(word)
        skip = word in ("--gpu", "--device")  # the value is the next word
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    visible = f"CUDA_VISIBLE_DEVICES={','.join(name.strip() for name in gpus)}"
    return shlex.join(["mpirun", "-np", str(len(gpus)), "-x", "PATH", "-x", visible, python, sys.argv[0], *words])
