"""Threads and loader processes follow the CPU limit of a container, which os.cpu_count does not know."""

import pytest

from datasets.reading import workers
from datasets.scenes.dataset import Scenes
from scripts.data import jobs
from utils import machine


@pytest.fixture
def container(tmp_path):
    """-> write(file, text) into a folder of cgroups, and limit() there."""

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    return write, lambda: machine.cpu_limit(tmp_path, tmp_path / "own")


@pytest.mark.parametrize(
    "text, cpus", [("100000 100000", 1), ("150000 100000", 2), ("5000 100000", 1), ("max 100000", None)]
)
def test_the_limit_of_version_2(container, text, cpus):
    write, limit = container
    assert limit() is None  # no files at all
    write("cpu.max", text)
    assert limit() == cpus
    write("own", "0::/user.slice/job.scope\n")
    assert limit() == cpus  # a limit of a parent


def test_the_smallest_limit_counts(container):
    write, limit = container
    write("own", "0::/job/step\n")
    write("job/cpu.max", "300000 100000")
    assert limit() == 3
    write("job/step/cpu.max", "800000 100000")
    assert limit() == 3
    write("job/step/cpu.max", "200000 100000")
    assert limit() == 2


@pytest.mark.parametrize("quota, cpus", [("250000", 3), ("-1", None)])
def test_the_limit_of_version_1(container, quota, cpus):
    write, limit = container
    write("own", "4:cpu,cpuacct:/docker/abc\n")
    write("cpu/cpu.cfs_quota_us", quota)
    write("cpu/cpu.cfs_period_us", "100000")
    assert limit() == cpus


def test_threads_follow_the_limit(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("use_parallel_op_compiler", raising=False)
    monkeypatch.setattr(machine, "read_record", lambda: {"parallel_compiler": True})
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: range(64))
    threads = []
    for limit in (None, 3, 1):
        monkeypatch.setattr(machine, "cpu_limit", lambda limit=limit: limit)
        values = machine.environment("cpu")
        threads.append((values["OMP_NUM_THREADS"], values["use_parallel_op_compiler"]))
    assert threads == [("64", "16"), ("3", "3"), ("1", "1")]


def test_ranks_share_the_limit(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: range(64))
    threads = []
    for limit in (None, 5, 1):
        monkeypatch.setattr(machine, "cpu_limit", lambda limit=limit: limit)
        threads.append(machine.environment("cpu")["OMP_NUM_THREADS"])
    assert threads == ["32", "2", "1"]


def test_loader_processes_follow_the_limit(monkeypatch):
    """By default; a number that the user chose is kept."""
    monkeypatch.setattr(workers.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda pid: range(64))
    monkeypatch.setattr("datasets.base.jt.flags", type("Flags", (), {"use_cuda": 1}))
    make = lambda **options: Scenes("train", 24, 32, count=4, **options).num_workers  # noqa: E731
    assert [workers.cores(limit) for limit in (None, 3, 100)] == [64, 3, 64]
    assert [make(num_workers=None, cpu_limit=limit) for limit in (None, 3, 1)] == [8, 3, 1]
    assert make(num_workers=5, cpu_limit=3) == 5
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2")
    assert make(num_workers=None, cpu_limit=6) == 3


def test_scripts_of_data_follow_the_limit(monkeypatch):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda pid: range(64))
    monkeypatch.setattr(jobs, "cpu_limit", lambda: 3)
    counts = []
    monkeypatch.setattr(workers, "run", lambda load, tasks, count, **options: counts.append(count) or tasks)
    for asked in (None, 5, 0):
        jobs.run(int, list(range(10)), asked, "counting")
    assert counts == [3, 5, 0]
