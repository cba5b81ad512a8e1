"""Remarks about --gpu of train.py, evaluate.py and scripts/predict.py, and the mpirun command for several GPUs."""

import shlex
import shutil
import sys


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
