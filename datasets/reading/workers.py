"""Worker processes that load samples, for training, evaluation, prediction and the scripts in scripts/data.

Results arrive in the order of the tasks, an exception is raised in the parent or returned to it, and the death of a
worker is an error that names its sample. (With Jittor's own workers an exception sends SIGINT to the parent, and after
the death of a worker the parent waits forever.) Each worker has a pipe, which ends when the worker ends. Arrays may
travel through shared memory, everything else goes through the pipe. Workers are forked and use neither Jittor nor CUDA;
they are processes and not threads because Jittor holds the interpreter lock while it computes.
"""

import ctypes
import gc
import mmap
import os
import pickle
import signal
import threading
import traceback
from collections import deque
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.pool import RemoteTraceback

import numpy as np

from datasets.reading.image_io import DataError

ALIGN = 64


def run(load, tasks, count, slot_bytes=0, ahead=2, name=str, return_errors=False, flag="--num-workers"):
    """load(task) for each task, in order, by `count` processes (0: in this process).

    Each process works on up to `ahead` tasks in advance. With `slot_bytes`, results are tuples, and arrays in them of
    together up to that size travel through shared memory; the parent gets copies. `return_errors`: an exception of
    `load` takes the place of its result; else it is raised. `name(task)` and `flag`, the option that sets `count`, are
    for messages.
    """
    if count == 0:
        for task in tasks:
            yield attempt(load, task) if return_errors else load(task)
        return
    pool = Pool(load, count, slot_bytes, ahead, name, flag)
    try:
        waiting = deque()
        for number, task in enumerate(tasks):
            if len(waiting) == count * ahead:
                yield pool.receive(*waiting.popleft(), return_errors)
            pool.send(number, task)
            waiting.append((number, task))
        while waiting:
            yield pool.receive(*waiting.popleft(), return_errors)
    finally:
        pool.close()


def cores(limit=None):
    """Cores that workers may run on. mpirun binds a rank to one or two of them, which is not meant for its workers.

    `limit`: the processors that the limit of a container allows, None without one.
    """
    count = os.cpu_count() if "OMPI_COMM_WORLD_SIZE" in os.environ else len(os.sched_getaffinity(0))
    return min(count, limit or count)


class Pool:
    """Task `n` goes to worker n % count, into slot (n // count) % ahead of that worker's shared memory."""

    def __init__(self, load, count, slot_bytes, ahead, name, flag):
        self.name, self.flag = name, flag
        context = get_context("fork")
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # Jittor's handler ends the process without a reason
        self.ahead, self.slot_bytes = ahead, -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self.pipes, self.memories, self.processes = [], [], []
        for _ in range(count):
            ours, theirs = context.Pipe()
            # shared with the child; a page takes memory once it is written
            memory = mmap.mmap(-1, self.slot_bytes * ahead) if slot_bytes else None
            arguments = (load, theirs, [*self.pipes, ours], memory, self.slot_bytes, os.getpid())
            process = context.Process(target=serve, args=arguments, daemon=True)
            process.start()
            theirs.close()  # only the child has this end open, so its death ends the pipe
            self.pipes.append(ours)
            self.memories.append(memory)
            self.processes.append(process)

    def send(self, number, task):
        try:
            self.pipes[number % len(self.pipes)].send((number // len(self.pipes) % self.ahead, task))
        except (BrokenPipeError, ConnectionResetError):
            pass  # receive reports it

    def receive(self, number, task, return_errors):
        worker = number % len(self.pipes)
        try:
            succeeded, value = self.pipes[worker].recv()
        except (EOFError, ConnectionResetError):
            raise DataError(self.describe_death(worker, task)) from None
        if succeeded:
            memory = self.memories[worker]
            return tuple(unpack(part, memory) for part in value) if memory else value
        error, trace = value
        if return_errors:
            error.__cause__ = RemoteTraceback(trace)
            return error
        if isinstance(error, DataError):
            raise error
        raise RuntimeError(f"a data worker failed at sample {self.name(task)}:\n{trace}")

    def describe_death(self, worker, task):
        process = self.processes[worker]
        process.join(5)
        code = process.exitcode
        if code == -signal.SIGKILL:
            end = "was killed (signal 9; most likely the machine ran out of memory, see `dmesg`)"
        else:
            end = f"ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return (
            f"data worker {worker} {end} while it loaded sample {self.name(task)}; lower {self.flag}; "
            f"with {self.flag} 0 samples are loaded in the main process, which prints more"
        )

    def close(self):
        for pipe in self.pipes:
            with suppress(
                OSError
            ):  # a generator that is finalised at the end of the process: the file is closed already
                pipe.close()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
        self.memories.clear()


def serve(load, pipe, others, memory, slot_bytes, parent):
    """The loop of a worker: it ends when its pipe or its parent ends."""
    for other in others:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(0)
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        os.sched_setaffinity(0, range(os.cpu_count()))
    gc.freeze()  # objects of the parent, such as Jittor's tensors, are never freed here
    while True:
        try:
            slot, task = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)
        try:
            value = load(task)
            answer = True, pack(value, memory, slot * slot_bytes, slot_bytes) if memory else value
        except BaseException as error:
            answer = False, (portable(error), traceback.format_exc())
        try:
            pipe.send(answer)
        except OSError:  # the parent has closed
            os._exit(0)


def attempt(load, task):
    """load(task), or the exception that it raises."""
    try:
        return load(task)
    except Exception as error:
        error.__cause__ = RemoteTraceback(traceback.format_exc())
        error.__traceback__ = None  # its frames hold the arrays that were being read
        return error


def portable(error):
    """The exception itself where it can be pickled, else a RuntimeError with its text."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = None
    if isinstance(copy, Exception):
        return copy
    return RuntimeError("".join(traceback.format_exception_only(type(error), error)).strip())


class Place(tuple):
    """(offset, shape, dtype) of an array in shared memory."""


def pack(values, memory, offset, size):
    """Copy the arrays of a tuple to memory[offset : offset + size] as long as they fit; the pipe takes the others."""
    packed, end = [], offset + size
    for value in values:
        if isinstance(value, np.ndarray) and offset + value.nbytes <= end:
            np.frombuffer(memory, value.dtype, value.size, offset).reshape(value.shape)[...] = value
            packed.append(Place((offset, value.shape, value.dtype.str)))
            offset += -(-value.nbytes // ALIGN) * ALIGN
        else:
            packed.append(value)
    return packed


def unpack(part, memory):
    if not isinstance(part, Place):
        return part
    offset, shape, dtype = part
    return np.frombuffer(memory, dtype, int(np.prod(shape)), offset).reshape(shape).copy()
