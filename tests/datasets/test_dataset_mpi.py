"""The data path on two ranks: the same global batches as on one, each image evaluated once, errors that end the
job."""

import json
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from support.mpirun import MPIRUN, mpi

from datasets import training_data
from datasets.scenes import folders

pytestmark = pytest.mark.skipif(not MPIRUN.is_file(), reason="no Open MPI on this machine")
ROOT = Path(__file__).resolve().parents[2]
TRAIN = "--device cpu --input-size 48,64 --batch-size 2 --num-steps 3 --num-workers 1".split()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folders.write_folder(tmp_path_factory.mktemp("set"), 7, (48, 96), 4)


BATCHES = """
import json, sys, zlib
from itertools import islice
from utils import runtime
runtime.start("cpu")
import jittor as jt
from datasets import training_data
root, workers, out = sys.argv[1:]
data = training_data("auto", "train", (40, 40), random_scale=True, random_mirror=True, color_jitter=True,
                     data_dir=root, batch_size=4, seed=9, num_workers=int(workers))
def sums(batch):
    return [[int(i), zlib.crc32(x.tobytes()), zlib.crc32(y.tobytes())] for x, y, _, i in zip(*batch)]
stream = [sums(batch) for batch in islice(data.forever(2), 6)]
data.set_attrs(shuffle=False, drop_last=False)
once = [int(i) for batch in data for i in batch.indices]
json.dump([stream, once], open(f"{out}.{jt.rank}", "w"))
"""


@pytest.mark.parametrize(("ranks", "workers"), [(2, 0), (2, 2)])
def test_ranks_and_workers_see_the_same_global_batches(run_command, root, tmp_path, ranks, workers):
    import zlib

    done, _ = mpi(run_command, "-c", BATCHES, root, workers, tmp_path / "out", ranks=ranks)
    assert done.returncode == 0, done.stderr
    parts = [json.loads((tmp_path / f"out.{rank}").read_text()) for rank in range(ranks)]
    joined = [sum(batch, []) for batch in zip(*(stream for stream, _ in parts))]
    rules = dict(random_scale=True, random_mirror=True, color_jitter=True, batch_size=4, seed=9)
    data = training_data("auto", "train", (40, 40), data_dir=root, **rules)
    want = [
        [[int(i), zlib.crc32(x.tobytes()), zlib.crc32(y.tobytes())] for x, y, _, i in zip(*batch)]
        for batch in islice(data.forever(2), 6)
    ]
    assert joined == want
    assert sorted(sum((once for _, once in parts), [])) == list(range(7))  # 7 images in batches of 4, each once


def test_a_bad_file_in_a_worker_ends_the_job_with_one_message(run_command, tmp_path):
    root = folders.write_folder(tmp_path / "set", 4, (48, 96), 4)
    for path in sorted((root / "labels" / "train").iterdir())[1:3]:
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    done, seconds = mpi(run_command, "train.py", "--data-dir", root, *TRAIN, "--snapshot-dir", tmp_path / "out")
    assert done.returncode not in (0, 124) and seconds < 60
    lines = [line for line in done.stderr.splitlines() if "train.py: " in line]
    assert lines and all("git-lfs pointer" in line and "scene" in line and "git lfs pull" in line for line in lines)
    assert len(lines) <= 2 and "Traceback" not in done.stderr  # one of each rank that met one


def test_skipped_samples_do_not_end_the_job(run_command, tmp_path):
    root = folders.write_folder(tmp_path / "set", 4, (48, 96), 4)
    sorted((root / "images" / "train").iterdir())[1].write_bytes(b"x" * 50)
    options = ["--on-bad-sample", "skip", "--snapshot-dir", tmp_path / "out"]
    done, _ = mpi(run_command, "train.py", "--data-dir", root, *TRAIN, *options)
    assert done.returncode == 0, done.stderr
    assert "skipped (1 so far)" in done.stderr and "scene1.png" in done.stderr


DYING = """
import os, signal, sys
from utils import runtime
runtime.start("cpu")
from datasets.scenes.dataset import Scenes
class Dying(Scenes):
    def open_pair(self, index):
        if index == 5:
            print("cores of a worker:", len(os.sched_getaffinity(0)), file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open_pair(index)
try:
    data = Dying("train", 24, 32, count=16, batch_size=4, num_workers=2)
    for batch in data:
        pass
    import jittor as jt
    jt.mpi_barrier() if hasattr(jt, "mpi_barrier") else jt.array([1.0]).mpi_all_reduce("add").numpy()
except ValueError as error:
    runtime.stop(f"test: {error}")
"""


def test_a_worker_that_is_killed_ends_the_job(run_command, tmp_path):
    done, seconds = mpi(run_command, "-c", DYING)
    assert done.returncode not in (0, 124) and seconds < 60
    assert "was killed (signal 9" in done.stderr and "scene_0000005" in done.stderr, done.stderr
    assert f"cores of a worker: {os.cpu_count()}" in done.stderr  # and not the one core that its rank is bound to
    assert np.count_nonzero(["test: data worker" in line for line in done.stderr.splitlines()]) == 1
