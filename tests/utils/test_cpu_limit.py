"""Threads follow the CPU limit of a container, which os.cpu_count does not know."""

import pytest

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
