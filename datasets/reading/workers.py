"""Processes that load samples: results come in the order asked for, errors come to the parent, nobody waits for the
dead.

Jittor's own workers answer an exception with SIGINT to the parent, and a worker that dies leaves the parent waiting for
ever. Here each worker has a pipe; arrays travel through shared memory, everything else through the pipe. A pipe whose
worker is gone reads as ended, so death is noticed at once. Forked, as Jittor's are; they touch neither Jittor nor CUDA.
"""

import ctypes
import gc
import mmap
import os
import signal
import threading
import traceback
from collections import deque
from multiprocessing import get_context

import numpy as np

from datasets.reading.image_io import DataError

ALIGN = 64


def run(load, tasks, count, slot_bytes, name=str, depth=3):
    """load(task) for each task, by `count` processes (0: here), in order. Results are tuples; arrays in them are
    copies."""
    if count == 0:
        for task in tasks:
            yield load(task)
        return
    pool = Pool(load, count, slot_bytes, depth, name)
    try:
        waiting = deque()
        for number, task in enumerate(tasks):
            if len(waiting) == count * depth:
                yield pool.receive(waiting.popleft())
            pool.send(number, task)
            waiting.append((number, task))
        while waiting:
            yield pool.receive(waiting.popleft())
    finally:
        pool.close()


def cores():
    """Cores that workers may run on. mpirun binds a rank to one or two of them, which is not meant for its workers."""
    return os.cpu_count() if "OMPI_COMM_WORLD_SIZE" in os.environ else len(os.sched_getaffinity(0))


class Pool:
    """Task `n` goes to worker n % count, into slot (n // count) % depth of that worker's shared memory."""

    def __init__(self, load, count, slot_bytes, depth, name):
        self.name = name
        context = get_context("fork")
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # Jittor's handler ends the process without a reason
        self.depth, self.slot_bytes = depth, -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self.pipes, self.memories, self.processes = [], [], []
        for _ in range(count):
            ours, theirs = context.Pipe()
            memory = mmap.mmap(-1, self.slot_bytes * depth)  # shared with the child; pages exist once written
            arguments = (load, theirs, [*self.pipes, ours], memory, self.slot_bytes, os.getpid())
            process = context.Process(target=serve, args=arguments, daemon=True)
            process.start()
            theirs.close()  # the child's end lives in the child alone, so its death ends the pipe
            self.pipes.append(ours)
            self.memories.append(memory)
            self.processes.append(process)

    def send(self, number, task):
        try:
            self.pipes[number % len(self.pipes)].send((number // len(self.pipes) % self.depth, task))
        except (BrokenPipeError, ConnectionResetError):
            pass  # receive says what happened

    def receive(self, asked):
        number, task = asked
        worker = number % len(self.pipes)
        try:
            kind, value = self.pipes[worker].recv()
        except (EOFError, ConnectionResetError):
            raise DataError(self.obituary(worker, task)) from None
        if kind == "data":
            raise DataError(value)
        if kind == "bug":
            raise RuntimeError(f"a data worker failed at sample {self.name(task)}:\n{value}")
        return tuple(unpack(part, self.memories[worker]) for part in value)

    def obituary(self, worker, task):
        process = self.processes[worker]
        process.join(5)
        code = process.exitcode
        if code == -signal.SIGKILL:
            fate = "was killed (signal 9; most likely the machine ran out of memory, see `dmesg`)"
        else:
            fate = f"ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return (
            f"data worker {worker} {fate} while it had sample {self.name(task)}; lower --num-workers or the crop size; "
            "--num-workers 0 loads in the main process and shows more"
        )

    def close(self):
        for pipe in self.pipes:
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
    """What a worker does until its pipe ends or its parent is gone."""
    for other in others:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(0)
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        os.sched_setaffinity(0, range(os.cpu_count()))
    gc.freeze()  # what the parent made, Jittor's tensors too, is never freed here
    while True:
        try:
            slot, task = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)
        try:
            answer = ("done", pack(load(task), memory, slot * slot_bytes, slot_bytes))
        except DataError as error:
            answer = ("data", str(error))
        except BaseException:
            answer = ("bug", traceback.format_exc())
        try:
            pipe.send(answer)
        except OSError:  # the parent has closed
            os._exit(0)


class Place(tuple):
    """(offset, shape, dtype) of an array that was left in shared memory."""


def pack(values, memory, offset, room):
    """Arrays of a tuple go to memory[offset:], as long as there is room; the rest is pickled by the pipe."""
    packed, end = [], offset + room
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
