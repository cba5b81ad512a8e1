"""Copies to the host in the background."""

import types

import jittor as jt
import numpy as np
import pytest

from utils import host_copy
from utils.host_copy import HostCopy


def test_a_copy_has_the_numbers_of_its_time():
    x = jt.array(np.float32([1, 2, 3]))
    copy = HostCopy(x * 2)
    x.update(x * 0)
    jt.sync_all()
    assert copy.numpy().tolist() == [2, 4, 6] and copy.arrived > 0


def test_a_copy_that_arrives_late_is_waited_for(monkeypatch):
    """On a GPU Jittor calls back only in a later call of fetch; a device that failed never does, and is asked."""
    pending, asked, original = [], [], jt.fetch

    def fetch(value, use):
        for earlier in pending[:-1]:  # the copy of the latest one has not ended yet
            earlier()
        pending.append(lambda: original(value, use))

    monkeypatch.setattr(jt, "fetch", fetch)
    monkeypatch.setattr(host_copy, "time", types.SimpleNamespace(sleep=lambda s: None, time=iter(range(100)).__next__))
    monkeypatch.setattr(host_copy, "PATIENCE", 1)
    monkeypatch.setattr(jt, "sync_all", lambda wait=False: asked.append(wait))
    copy = HostCopy(jt.ones(2))
    assert copy.values is None and copy.numpy().tolist() == [1, 1] and asked == [False, True]


def test_a_device_that_failed_is_an_error_and_no_endless_wait(monkeypatch):
    def fail(wait=False):
        if wait:
            raise RuntimeError("CUDA error")

    monkeypatch.setattr(jt, "fetch", lambda value, use: None)
    monkeypatch.setattr(jt, "sync_all", fail)
    monkeypatch.setattr(host_copy, "PATIENCE", 0.01)
    with pytest.raises(RuntimeError, match="CUDA error"):
        HostCopy(jt.ones(2)).numpy()
