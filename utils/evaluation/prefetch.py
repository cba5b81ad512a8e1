"""The next picture is read while the network works on this one. By other processes: Jittor holds the interpreter."""

import contextlib
import itertools
import signal
import traceback
from collections import deque
from multiprocessing import get_context


def prefetch(read, tasks, workers=1, ahead=2):
    """(task, read(task)) for each task, in order, at most `ahead` of them read in advance by each process.

    What `read` raises comes back in the place of its result: the caller decides. `workers=0` reads here.
    """
    if workers == 0:
        for task in tasks:
            yield task, attempt(read, task)
        return
    with contextlib.suppress(ValueError):  # only the main thread may; Jittor's own handler gives no reason
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    context, pipes, processes, waiting = get_context("fork"), [], [], deque()
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(read, theirs, [*pipes, ours]), daemon=True)
            process.start()
            theirs.close()  # the other end lives in the child alone, so that its death is seen here
            pipes.append(ours)
            processes.append(process)
        for task, pipe in zip(tasks, itertools.cycle(pipes)):
            if len(waiting) == workers * ahead:
                yield receive(*waiting.popleft())
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # receive says so
                pipe.send(task)
            waiting.append((task, pipe))
        while waiting:
            yield receive(*waiting.popleft())
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.terminate()
            process.join()


def receive(task, pipe):
    try:
        return task, pipe.recv()
    except (EOFError, ConnectionResetError):
        raise RuntimeError(
            f"the process that reads pictures died at {task}; most likely the machine is out of memory: "
            "see dmesg. evaluate.py and scripts/predict.py read without it with --num-workers 0"
        ) from None


def attempt(read, task):
    try:
        return read(task)
    except Exception as error:
        error.__traceback__ = None  # holds the arrays that were being read
        return error


def serve(read, pipe, others):
    for other in others:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        while True:
            result = attempt(read, pipe.recv())
            try:
                pipe.send(result)
            except (TypeError, AttributeError, ValueError):  # an error that does not pickle
                pipe.send(RuntimeError("".join(traceback.format_exception_only(type(result), result)).strip()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is done
