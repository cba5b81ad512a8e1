"""How much memory a training step takes, about, and how much there is: said before the first step, which may be killed.

The rule was measured in processes of their own (test_memory.py repeats one): peak = what Python and Jittor
take, the weights several times over (gradients, moments, the arrays of an update), and for every pixel of the crops
that go through the network together what the backward pass needs of them. Attention adds nothing of its own.
"""

import ctypes
import os
from pathlib import Path

BASE = 80e6  # bytes: Python, Jittor, OpenCV
COPIES = {"sgd": 5.0, "adamw": 6.0}  # arrays of the size of the weights at the peak of a step
PER_CLASS = 73  # bytes a pixel for each class: both logits at the size of the label, and what the losses make of them
PER_PIXEL = {  # bytes of the rest, measured at 65x65 to 385x385, with 19 and 150 classes
    "ccnet_r18": 2450,
    "ccnet_r50": 6150,
    "ccnet": 8200,
    "ccnet_mmseg_r50": 5800,
    "ccnet_mmseg_r101": 7900,
    "van_tiny": 2950,
    "van_small": 3700,
    "van_base": 6400,
    "van_large": 9600,
}
ALIASES = {"ccnet_large": "ccnet", "van_b0": "van_tiny", "van_b1": "van_small", "van_b2": "van_base"}
ALIASES.update(dict.fromkeys(("van_b3", "van_b4", "van_b5", "van_b6"), "van_large"))  # the last three: at least that


def estimate(model, van_size, weights, pixels, classes, optimizer="sgd"):
    """Bytes of one rank. `weights`: numbers in the network; `pixels`: those of the crops in one pass. None where the
    network was not measured."""
    name = model
    if model == "van":  # "tiny" and "b0" will do, as models/van.py takes them
        name = van_size if van_size.startswith("van_") else f"van_{van_size}"
    per_pixel = PER_PIXEL.get(ALIASES.get(name, name))
    if per_pixel is None:
        return None
    return BASE + COPIES[optimizer] * 4 * weights + pixels * (per_pixel + PER_CLASS * classes)


def available(device="cpu"):
    """Bytes that this process may still take: of the GPU, or of the machine and of the container it is in."""
    if device == "cuda":
        return gpu_memory()
    known = [value for value in (free_memory(), cgroup_room()) if value is not None]
    return min(known) if known else None


def free_memory(path="/proc/meminfo"):
    try:
        words = dict(line.split(":") for line in Path(path).read_text().splitlines())
        return int(words["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def cgroup_room(root="/sys/fs/cgroup"):
    """Limit of the control group less what is used of it, files in memory aside; None without a limit."""
    for folder, limit, used, files in (
        (Path(root), "memory.max", "memory.current", "inactive_file"),
        (Path(root, "memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, now = int((folder / limit).read_text()), int((folder / used).read_text())
            words = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # not this version, or "max"
            continue
        return max(0, most - now + int(words.get(files, 0)))
    return None


def gpu_memory():
    """Bytes of the first GPU that the driver shows, or None."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, size = ctypes.c_int(0), ctypes.c_size_t(0)
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    return None if driver.cuDeviceTotalMem_v2(ctypes.byref(size), device) else size.value


def warning(need, have, ranks, shape):
    """Lines for a step that needs more than there is. `ranks`: those that share the memory; `shape`: (crops, H, W) of
    one pass."""
    if need is None or have is None or need * ranks <= have:
        return []
    crops, height, width = shape
    each = f"each of {ranks} ranks" if ranks > 1 else "this run"
    return [
        f"warning: {each} will need about {need / 1e9:.2g} GB for steps of {crops} crops of {height}x{width}, and "
        f"{have / 1e9:.2g} GB are free{' for all of them' * (ranks > 1)}: it may be killed without a word. Next: "
        "--accumulate, or a smaller --batch-size, --input-size or network (--model ccnet_r18)"
    ]


def ranks_here(device="cpu"):
    """How many ranks share the memory: those on this machine; each has a GPU of its own."""
    return 1 if device == "cuda" else int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
