"""The CUDA kernels of the optimizers, on the CPU with cuda_standin.h: against Jittor's optimizers."""

import ctypes
import re
import shutil
from pathlib import Path

import jittor as jt
import numpy as np
import pytest
from support import cuda_cca
from support.cuda_cca import jittor_source
from test_fused_step import CASES, parameters, train

from utils.training import buckets, fused_step, operators, step_control
from utils.training.operators import SRC

GROUPS = {"all in one": 48, "several, the last not full": 8}


@pytest.fixture
def gpu(monkeypatch, request):
    """The CUDA source runs; parameters of one launch: `request.param`."""
    monkeypatch.setattr(operators, "group", lambda: getattr(request, "param", 48))
    return jittor_source(monkeypatch, operators)


@pytest.mark.parametrize("gpu", GROUPS.values(), ids=GROUPS, indirect=True)
@pytest.mark.parametrize("ours, plain, options", CASES)
def test_steps_are_those_of_jittor_but_for_rounding(gpu, ours, plain, options):
    results = train(ours, options, 2, 2, 1)
    assert any("optimizer::sgd" in source or "optimizer::adamw" in source for source in gpu)
    for a, b in zip(results, train(plain, options, 2, 2, 1)):
        np.testing.assert_allclose(a, b, atol=1e-6 * max(1, abs(b).max()))


def test_the_sum_of_squares_and_a_skipped_step(gpu, rng):
    arrays = [v.numpy() for v in parameters(rng)]
    gradients, state = [jt.array(a) for a in arrays], step_control.fresh(4.0)
    total = fused_step.squares(gradients, state)
    expected = sum(((a.astype(float) / 4) ** 2).sum() for a in arrays)
    np.testing.assert_allclose(total.numpy(), expected, rtol=1e-6)
    for bad in (np.nan, np.inf):
        arrays[3][-1] = bad
        assert not np.isfinite(fused_step.squares([jt.array(a) for a in arrays], state).numpy()).any()
    stays = jt.array(np.float32([0, 0.25, 1, 1]))
    lists = {name: parameters(rng) for name in ("p", "values", "m")}
    before = {name: [v.numpy() for v in values] for name, values in lists.items()}
    lists["g"] = [jt.array(a) for a in arrays]
    for cls in (fused_step.SGD, fused_step.AdamW):
        optimizer = cls([{"params": [jt.ones(1)], "weight_decay": 0.05, "lr": 0.02}], 0.1)
        fields = {name: list(values) for name, values in lists.items() if name != "m" or cls is fused_step.AdamW}
        optimizer.update(optimizer.param_groups[0], fields, stays)
        for name, values in before.items():
            assert all((a == v.numpy()).all() for a, v in zip(values, lists[name])), name


def test_rows_and_decisions(gpu, rng):
    row = step_control.gather([jt.array(np.float32([k, -k, 7])[: k + 1]) for k in range(3)])
    assert row.numpy().tolist() == [0, 1, -1, 2, -2, 7]
    state = np.float32([8, 1, 3, 0, 1])
    for numbers in ([1, 2, np.inf], [np.nan, 2, 3], [1, 2, 3]):
        numbers, options = np.float32(numbers), (3, 9, (0.9, 0.999), (2, 64.0))
        ours = step_control.decide(jt.array(numbers), jt.array(state), *options)
        for a, b in zip(ours, step_control.plain_decide(numbers, state, *options)):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-6)


def test_buckets(gpu, monkeypatch, rng):
    """As on three ranks with the same gradients."""
    monkeypatch.setattr(jt.Var, "mpi_all_reduce", lambda v, op: v * 3, raising=False)
    monkeypatch.setattr(jt, "world_size", 3)
    arrays = [v.numpy() for v in parameters(rng)]
    for a, b in zip(arrays, buckets.average([jt.array(a) for a in arrays])):
        np.testing.assert_allclose(b.numpy(), a, rtol=1e-6)


FAULTS = {  # text of optimizer.cuh, its replacement, expected error (empty: a wrong result)
    "reads past the end": ("first + kPiece < a.count ? first + kPiece : a.count", "first + kPiece", "read outside in"),
    "a block too few": ("kPiece - 1) / kPiece);", "kPiece - 1) / kPiece) - (all[k].count > kPiece);", ""),
    "no barrier in the sum": (
        "        __syncthreads();\n        if (int(threadIdx.x) < half)",
        "        if (int(threadIdx.x) < half)",
        "race|uninitialised",
    ),
    "the parameter of another block": ("table.all[middle].block <= block", "table.all[middle].block < block", ""),
    "the scale is ignored": ("x[n] = g[i] * inverse", "x[n] = g[i] + 0 * inverse", ""),
    "a skipped step changes the moments": ("new_values[i] = go ? v : v0[n];", "new_values[i] = v;", ""),
    "decay is forgotten": ("p0[n] * o.decay + g0", "g0", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_made_in_the_source_are_detected(fault, tmp_path):
    text, replacement, message = FAULTS[fault]
    shutil.copytree(SRC, tmp_path / "src")
    cuda_cca.plant(tmp_path / "src" / "optimizer.cuh", text, replacement)
    error, arrays = run(built(tmp_path / "src"))
    if message:
        assert re.search(message, error), error
    else:
        assert error or any(abs(a - b).max() > 1e-3 for a, b in zip(arrays, run(built())[1]))


def built(folder=SRC):
    return cuda_cca.build(Path(__file__).with_name("optimizer_cuda.cc"), folder, ("-O1",))


def run(library):
    """-> error message, [sum of squares, new p, new values, p and values of a skipped step]"""
    rng, call = np.random.default_rng(5), ctypes.CDLL(str(library)).run_all
    call.restype = ctypes.c_char_p
    counts = np.array([5, 16384, 40000, 1], np.int64)
    inputs = [rng.standard_normal(counts.sum()).astype(np.float32) for _ in range(3)]
    outputs = [np.zeros(1, np.float32), *(np.zeros(counts.sum(), np.float32) for _ in range(4))]
    arguments = [a.ctypes.data_as(ctypes.c_void_p) for a in (counts, *inputs, *outputs)]
    error = call(len(counts), *arguments)
    return error.decode(), outputs


def test_the_correct_source_has_no_fault():
    assert run(built())[0] == ""
