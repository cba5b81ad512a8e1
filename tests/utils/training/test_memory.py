"""The estimate of the memory of a training step, against the peak memory of a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils.training import memory

ROOT = Path(__file__).resolve().parents[3]
STEPS = """
import sys
from utils import runtime
runtime.start("cpu")
import jittor as jt
import numpy as np
from models import build_model
from models.losses import Criterion
from utils.training import memory, optim
side, optimizer_name, frames = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
model = build_model("ccnet_r18", 19, frames=frames)
criterion = Criterion(model, 19)
optimizer = optim.build(list(model.named_parameters()), optimizer_name, 1e-3)
for step in range(3):
    images = jt.array(np.random.rand(2, 3 * frames, side, side).astype("float32"))
    label = jt.array(np.random.randint(0, 19, (2, side, side)).astype("int32"))
    optimizer.backward(criterion(model(images), label)["loss"])
    optim.update(optimizer, step)
weights = sum(p.numel() for p in model.parameters())
estimate = memory.estimate("ccnet_r18", None, weights, 2 * side * side, 19, optimizer_name, frames=frames)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak * 1024 / estimate)  # ru_maxrss would count the process that started this one
"""


@pytest.mark.parametrize(
    "side, optimizer_name, frames", [(65, "sgd", 1), (257, "sgd", 1), (257, "adamw", 1), (257, "sgd", 3)]
)
def test_the_estimate_is_within_a_factor_of_one_and_a_half(side, optimizer_name, frames):
    command = [sys.executable, "-c", STEPS, str(side), optimizer_name, str(frames)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ, timeout=400)
    assert done.returncode == 0, done.stderr
    assert 1 / 1.5 < float(done.stdout.split()[-1]) < 1.5


def test_the_default_command_line_needs_far_more_than_22_gigabytes_and_small_ones_do_not():
    """`python train.py` on the CPU: the official network, eight crops of 769x769."""
    assert memory.estimate("ccnet", None, 71.3e6, 8 * 769**2, 19) > 30e9
    assert memory.estimate("ccnet_r18", None, 13.1e6, 4 * 96 * 128, 9) < 1e9
    few, many = (memory.estimate("ccnet_r18", None, 13.1e6, 4 * 512**2, classes) for classes in (19, 150))
    assert few < many < 1.1 * few  # no array has the size classes x pixels
    assert memory.estimate("tiny", None, 1e4, 100, 9) is None


def test_the_limit_of_a_container(tmp_path):
    def write(folder, **files):
        folder.mkdir()
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)
        return folder

    new = write(tmp_path / "v2", memory__max="1000", memory__current="700", memory__stat="anon 5\ninactive_file 100\n")
    assert memory.cgroup_room(new) == 400
    free = write(tmp_path / "free", memory__max="max\n", memory__current="7", memory__stat="")
    assert memory.cgroup_room(free) is None and memory.cgroup_room(tmp_path / "none") is None
    old = tmp_path / "v1"
    old.mkdir()
    files = {"memory__limit_in_bytes": "900", "memory__usage_in_bytes": "300", "memory__stat": "total_inactive_file 50"}
    write(old / "memory", **files)
    assert memory.cgroup_room(old) == 650
    (tmp_path / "meminfo").write_text("MemTotal:       200 kB\nMemAvailable:   100 kB\n")
    assert memory.free_memory(tmp_path / "meminfo") == 102400 and memory.free_memory(tmp_path / "gone") is None
    assert 0 < memory.available() < 1e15


def test_the_warning_names_both_numbers_and_the_flags_to_change():
    assert memory.warning(1e9, 2e9, 1, (8, 769, 769)) == [] == memory.warning(None, 2e9, 1, (8, 9, 9))
    (line,) = memory.warning(47e9, 22e9, 1, (8, 769, 769))
    assert "about 47 GB for steps of 8 crops of 769x769, and 22 GB are free" in line
    assert all(flag in line for flag in ("--accumulate", "--batch-size", "--input-size"))
    assert "each of 3 ranks" in memory.warning(1e9, 2e9, 3, (1, 9, 9))[0]
    (line,) = memory.warning(47e9, 22e9, 1, (8, 360, 480), frames=5)
    assert "8 crops of 360x480 of 5 frames, and 22 GB" in line and "--accumulate, fewer --frames, or" in line
