"""utils/evaluation/prefetch.py: order, errors, death, and that reading really goes on meanwhile."""

import os
import time

import numpy as np
import pytest

from utils.evaluation.prefetch import prefetch


def square(number):
    if number == 13:
        raise ValueError("13 cannot be read")
    return np.full((300, 400), number * number), os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_and_errors_in_their_place(workers):
    results = list(prefetch(square, range(20), workers))
    assert [task for task, _ in results] == list(range(20))
    for task, result in results:
        if task == 13:
            assert isinstance(result, ValueError) and str(result) == "13 cannot be read"
        else:
            assert (result[0] == task * task).all() and (result[1] == os.getpid()) == (workers == 0)


def test_the_next_ones_are_read_while_this_one_is_worked_on():
    def slow(number):
        return number, time.perf_counter()

    results = prefetch(slow, range(3), workers=1)
    first = next(results)[1][1]
    began = time.perf_counter()
    while time.perf_counter() - began < 1:  # as Jittor does, never leaving the interpreter to another thread
        pass
    second, third = (read for _, (_, read) in results)
    assert first < second < began + 0.9  # it was ready before the work was done


def test_no_more_is_read_ahead_than_asked(tmp_path):
    def noted(number):
        (tmp_path / str(number)).touch()
        return number

    results = prefetch(noted, range(50), workers=2, ahead=2)
    next(results)
    time.sleep(0.3)
    assert len(list(tmp_path.iterdir())) <= 5
    results.close()


def test_a_reader_that_dies_is_named_and_nobody_waits():
    def deadly(number):
        if number == 3:
            os._exit(9)
        return number

    with pytest.raises(RuntimeError, match="died at 3"):
        list(prefetch(deadly, range(10), workers=2))


def test_an_error_that_cannot_be_pickled_still_arrives():
    class Local(Exception):
        pass

    def failing(number):
        raise Local("of its own kind")

    (_, error), *_ = prefetch(failing, [1], workers=1)
    assert "of its own kind" in str(error)
