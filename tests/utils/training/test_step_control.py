"""Whether a step changes the weights, and the loss scale: the kernel against its definition."""

import itertools

import jittor as jt
import numpy as np
import pytest

from utils.training import step_control


@pytest.mark.parametrize("scaling", [None, (2, 2.0**5)])
def test_decisions_are_those_of_the_definition(scaling):
    """Every value finite or not, every state; numbers after the first three need not be finite."""
    rows = itertools.product((1.5, np.nan), (0.0, np.inf), (3e38, -np.inf, np.nan), (0.0, np.nan))
    states = itertools.product((1.0, 16.0, 32.0), (0, 1), (0, 3), (0, 1), (0, 1))
    for k, (row, state) in enumerate(itertools.product(rows, states)):
        row, state = np.float32(row), np.float32(state)
        options = (3, 5 + k % 7, (0.9, 0.999), scaling)
        ours = step_control.decide(jt.array(row), jt.array(state), *options)
        for a, b in zip(ours, step_control.plain_decide(row, state, *options)):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-6, err_msg=f"{row} {state}")


def test_nothing_changes_after_a_step_that_was_not_finite():
    state, taken = step_control.fresh(), []
    for number in (1.0, float("nan"), 1.0, 2.0):
        control, state = step_control.decide(jt.array([1.0, number]), state, 2, 1)
        taken.append(control.numpy()[0])
    assert taken == [1, 0, 0, 0] and dict(zip(step_control.STATE, state.numpy()))["halted"] == 1


def test_a_row_of_several_variables():
    parts = [np.float32([1]), np.float32([2, 3]), np.float32([[4, 5], [np.nan, 7]])]
    np.testing.assert_array_equal(step_control.gather(map(jt.array, parts)).numpy(), [1, 2, 3, 4, 5, np.nan, 7])
