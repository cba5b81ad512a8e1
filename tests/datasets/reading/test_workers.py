"""Worker processes: order, errors, the death of a worker, shared memory, and that tasks are read ahead."""

import os
import time

import numpy as np
import pytest

from datasets.reading import workers
from datasets.reading.image_io import DataError


def square(number):
    if number == 13:
        raise ValueError("13 cannot be read")
    return np.full((300, 400), number * number), os.getpid()


@pytest.mark.parametrize("slot_bytes", [0, 1 << 20])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_results_come_in_order_and_errors_in_their_place(count, slot_bytes):
    results = list(workers.run(square, range(20), count, slot_bytes, return_errors=True))
    assert len(results) == 20
    for task, result in enumerate(results):
        if task == 13:
            assert isinstance(result, ValueError) and str(result) == "13 cannot be read"
            assert "in square" in str(result.__cause__)  # the traceback of the worker
        else:
            assert (result[0] == task * task).all() and (result[1] == os.getpid()) == (count == 0)


def test_the_next_tasks_are_loaded_while_the_parent_computes():
    def slow(number):
        return number, time.perf_counter()

    results = workers.run(slow, range(3), 1)
    first = next(results)[1]
    began = time.perf_counter()
    while time.perf_counter() - began < 1:  # as Jittor does, never leaving the interpreter to another thread
        pass
    second, third = (loaded for _, loaded in results)
    assert first < second < began + 0.9  # it was ready before the work was done


def test_no_more_is_read_ahead_than_asked(tmp_path):
    def noted(number):
        (tmp_path / str(number)).touch()
        return number

    results = workers.run(noted, range(50), 2, ahead=2)
    next(results)
    time.sleep(0.3)
    assert len(list(tmp_path.iterdir())) <= 5
    results.close()


@pytest.mark.parametrize("return_errors", [False, True])
def test_the_death_of_a_worker_names_the_task_and_the_flag(return_errors):
    def deadly(number):
        if number == 3:
            os._exit(9)
        return number

    words = "data worker 1 ended with exit code 9 while it loaded sample number 3; lower --workers"
    with pytest.raises(DataError, match=words):
        run = workers.run(deadly, range(10), 2, name="number {}".format, return_errors=return_errors, flag="--workers")
        list(run)


@pytest.mark.parametrize("arguments", [(), (1, 2)])
def test_an_error_that_cannot_be_pickled_still_arrives(arguments):
    class Local(Exception):
        def __init__(self, text, *more):
            super().__init__(text)

    def failing(number):
        raise Local("defined in a function", *arguments)

    (error,) = workers.run(failing, [1], 1, return_errors=True)
    assert "defined in a function" in str(error)


def test_an_exit_in_a_worker_is_an_error_and_no_result():
    (error,) = workers.run(lambda number: exit("leaves"), [1], 1, return_errors=True)
    assert isinstance(error, RuntimeError) and "leaves" in str(error)


def test_samples_beyond_the_shared_memory_go_through_the_pipe():
    def load(task):
        return np.full((task, 1000), task, np.int32), "text", task

    for task, (array, text, number) in zip(range(6), workers.run(load, range(6), 2, slot_bytes=8192)):
        assert array.shape == (task, 1000) and (array == task).all() and (text, number) == ("text", task)
