"""Steps over many parameters in one operator, against Jittor's optimizers."""

import ctypes

import jittor as jt
import numpy as np
import pytest

from utils.training import fused_step, operators, optim, step_control

SHAPES = [(3, 5, 3, 3), (7,), (1,), (40000,), (130, 129), *[(k + 1, 2) for k in range(16)]]


def parameters(rng):
    return [jt.array(rng.standard_normal(shape).astype(np.float32)) for shape in SHAPES]


def train(cls, options, steps=3, pieces=1, skip=None):
    """-> parameters and moments after some steps on a loss of all parameters."""
    rng = np.random.default_rng(3)
    params = parameters(rng)
    if skip is not None:
        params[skip].stop_grad()
    optimizer = cls([{"params": params, "weight_decay": 0.05, "lr": 0.02}], 0.1, **options)
    for _ in range(steps):
        for _ in range(pieces):
            goals = parameters(rng)
            optimizer.backward(sum(((p - goal).sqr() * 0.5).sum() for p, goal in zip(params, goals)))
        optimizer.step()
        jt.sync_all()
    group = optimizer.param_groups[0]
    return [v.numpy() for name in ("params", "values", "m") for v in group.get(name, ())]


CASES = [
    (fused_step.SGD, jt.optim.SGD, {"momentum": 0.9}),
    (fused_step.AdamW, jt.optim.AdamW, {}),
]


@pytest.mark.parametrize("pieces, skip", [(1, None), (3, 1)])
@pytest.mark.parametrize("ours, plain, options", CASES)
def test_steps_are_those_of_jittor_but_for_rounding(ours, plain, options, pieces, skip):
    for a, b in zip(train(ours, options, 3, pieces, skip), train(plain, options, 3, pieces, skip)):
        np.testing.assert_allclose(a, b, atol=1e-6 * max(1, abs(b).max()))


@pytest.mark.cuda
@pytest.mark.parametrize("ours, plain, options", CASES)
def test_steps_on_a_gpu_are_those_of_jittor_but_for_rounding(ours, plain, options):
    test_steps_are_those_of_jittor_but_for_rounding(ours, plain, options, 3, 1)


@pytest.mark.parametrize("ours, plain, options", CASES)
def test_one_step_of_the_kernel_uses_no_plain_step(ours, plain, options, monkeypatch):
    monkeypatch.setattr(plain, "step", None)
    assert len(train(ours, options, 1)) > len(SHAPES)


@pytest.mark.parametrize("ours, plain, options", CASES)
def test_results_do_not_depend_on_the_number_of_threads(ours, plain, options):
    threads = ctypes.CDLL("libgomp.so.1")
    before, results = threads.omp_get_max_threads(), []
    try:
        for count in (1, 2, 5):
            threads.omp_set_num_threads(count)
            results.append(train(ours, options, 2))
    finally:
        threads.omp_set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


def test_the_sum_of_squares_is_that_of_float64(rng):
    arrays = [v.numpy() for v in parameters(rng)]
    total = sum(v.item() for v in [fused_step.squares([jt.array(a) for a in arrays], step_control.fresh())])
    np.testing.assert_allclose(total, sum((a.astype(float) ** 2).sum() for a in arrays), rtol=1e-6)


def test_the_names_of_the_moments_in_a_checkpoint(rng):
    named = list(zip("abc", parameters(rng)))
    keys = {name: [key for key, _ in optim.named_moments(optim.build(named, name, 0.1))] for name in ("sgd", "adamw")}
    assert sorted(keys["sgd"]) == [f"optimizer/values/{name}" for name in "abc"]
    assert sorted(keys["adamw"]) == [f"optimizer/{moment}/{name}" for moment in ("m", "values") for name in "abc"]


def test_other_dtypes_take_the_plain_step():
    with jt.flag_scope(auto_convert_64_to_32=0):
        p = jt.array(np.ones(3))
        optimizer = fused_step.SGD([{"params": [p], "weight_decay": 0.0}], 0.5)
        optimizer.step((p * p).sum())
        np.testing.assert_allclose(p.numpy(), 0)


def runs_of_operators(optimizer, norm_and_step):
    """How many operators Jittor runs in a step, after the backward pass."""
    params = optimizer.param_groups[0]["params"]
    for count in (False, True):  # the first step makes the moments
        optimizer.backward(sum((p * p).sum() for p in params))
        jt.sync_all(True)
        with jt.flag_scope(profiler_enable=int(count)):
            norm_and_step()
            jt.sync_all(True)
            report = jt.profiler.report() if count else []
    return sum(int(row[2]) for row in report[1:])


def test_the_official_network_takes_21_operators_where_jittor_takes_1028(monkeypatch, capfd):
    """Norm and step of 342 parameters, with the groups of a GPU: 8 for the norm, 8 for the step."""
    monkeypatch.setattr(operators, "group", lambda: 48)

    def build(cls):
        params = [jt.array(np.ones((5, 3 + k % 3), np.float32)) for k in range(342)]
        return cls([{"params": params, "weight_decay": 1e-4, "lr": 1e-2}], 1e-2, 0.9)

    ours, plain = build(fused_step.SGD), build(jt.optim.SGD)

    def step():
        state = step_control.fresh()
        row = step_control.gather([optim.gradient_norm(ours, state)])
        ours.step(control=step_control.decide(row, state, 1, 1)[0])

    def plain_step():
        jt.sync([jt.concat([g.sqr().sum() for g in plain.param_groups[0]["grads"]]).sum().sqrt()])
        plain.step()

    assert (runs_of_operators(ours, step), runs_of_operators(plain, plain_step)) == (21, 1028)


@pytest.mark.parametrize("ours, plain, options", CASES)
@pytest.mark.parametrize("taken", [1, 0])
def test_the_plain_step_is_the_definition_of_a_step_under_control(ours, plain, options, taken, monkeypatch):
    """Gradients are multiplied; a step that is not taken changes nothing."""
    results = []
    for fast in (True, False):
        with monkeypatch.context() as patch:
            if not fast:
                patch.setattr(operators, "supported", lambda *lists: False)
            params = parameters(np.random.default_rng(3))
            before = [p.numpy().copy() for p in params]
            optimizer = ours([{"params": params, "weight_decay": 0.05, "lr": 0.02}], 0.1, **options)
            optimizer.backward(sum((p * p).sum() for p in params) * 4)
            corrections = [1 - beta for beta in fused_step.betas(optimizer)]
            optimizer.step(control=jt.array(np.float32([taken, 0.25, *corrections])))
            group = optimizer.param_groups[0]
            results.append([v.numpy() for name in ("params", "values", "m") for v in group.get(name, ())])
            assert taken != all((a == b).all() for a, b in zip(before, results[-1]))
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, atol=1e-6 * max(1, abs(b).max()))
