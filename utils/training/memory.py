"""An estimate of the memory of a training step, to warn before a first step that may be killed for lack of memory.

The constants were fitted to the peak memory of separate processes (test_memory.py repeats some): Python and Jittor; the
weights several times (gradients, moments, the arrays of an update); and for each pixel of the crops in one pass the
activations that the backward pass needs. Attention needs no extra memory.
"""

import ctypes
import os
from pathlib import Path

BASE = 80e6  # bytes: Python, Jittor, OpenCV
COPIES = {"sgd": 5.0, "adamw": 6.0}  # arrays of the size of the weights at the peak of a step
PER_CLASS = 1  # bytes a pixel for each class: nothing has the size classes x pixels (models/layers/pixel_loss.py)
PER_PIXEL = {  # bytes a pixel for all else, measured at 65x65 to 385x385, with 19 and 150 classes
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
ALIASES.update(dict.fromkeys(("van_b3", "van_b4", "van_b5", "van_b6"), "van_large"))  # the last three need more


def estimate(model, van_size, weights, pixels, classes, optimizer="sgd", frames=1):
    """Bytes of one rank, None where the network was not measured. `weights`: number of parameters; `pixels`: of the
    crops in one pass; `frames`: of a clip, nearly all layers see all of them."""
    name = model
    if model == "van":  # "tiny" and "b0" are allowed, as in models/van.py
        van_size = van_size or "van_base"
        name = van_size if van_size.startswith("van_") else f"van_{van_size}"
    per_pixel = PER_PIXEL.get(ALIASES.get(name, name))
    if per_pixel is None:
        return None
    return BASE + COPIES[optimizer] * 4 * weights + pixels * (frames * per_pixel + PER_CLASS * classes)


def available(device="cpu"):
    """Free memory in bytes: of the GPU, or of the machine and its container. None if it is unknown."""
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
    """The limit of the control group minus its memory in use, not counting cached files; None without a limit."""
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
    """Memory of the first visible GPU in bytes, or None."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, size = ctypes.c_int(0), ctypes.c_size_t(0)
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    return None if driver.cuDeviceTotalMem_v2(ctypes.byref(size), device) else size.value


def warning(need, have, ranks, shape, frames=1):
    """Lines for a step that needs more memory than is free. `ranks`: that share the memory; `shape`: (crops, H, W) of
    one pass; `frames`: of a clip."""
    if need is None or have is None or need * ranks <= have:
        return []
    crops, height, width = shape
    each = f"each of {ranks} ranks" if ranks > 1 else "this run"
    clips, fewer = (f" of {frames} frames", ", fewer --frames") if frames > 1 else ("", "")
    return [
        f"warning: {each} will need about {need / 1e9:.2g} GB for steps of {crops} crops of {height}x{width}{clips}, "
        f"and {have / 1e9:.2g} GB are free{' for all of them' * (ranks > 1)}: it may be killed without a message. Fix: "
        f"--accumulate{fewer}, or a smaller --batch-size, --input-size or network (--model ccnet_r18)"
    ]


def ranks_here(device="cpu"):
    """The number of ranks that share the memory: all on this machine, but each has its own GPU."""
    return 1 if device == "cuda" else int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
