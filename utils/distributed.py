"""Rank, world size and collectives over Jittor's MPI. A process without mpirun is rank 0 of 1.

Sums, means, gathered texts and broadcasts are collectives: every rank must call them, in the same order. Jittor
evaluates lazily, so all reductions must have run (`jt.sync_all()`) before one rank works alone, as in saving.
"""

import json

import jittor as jt
import numpy as np


def is_main():
    return jt.rank == 0


def rank():
    return jt.rank


def print_main(lines):
    """Print these lines on the main rank."""
    if is_main():
        for line in lines:
            print(line, flush=True)


def shard(count):
    """The indices of this rank; each index belongs to exactly one rank."""
    return range(jt.rank, count, jt.world_size)


def spread(indices, number):
    """`number` of the indices, evenly spaced: neighbours are often frames of the same video."""
    return {indices[k * len(indices) // number] for k in range(number)} if indices else set()


def local_batch(batch_size, pieces=1):
    """Samples of a global batch that this rank processes. `pieces`: of gradient accumulation."""
    if batch_size % (jt.world_size * pieces):
        parts = f"{jt.world_size} rank{'s' if jt.world_size > 1 else ''}"
        parts += f" in {pieces} pieces each" if pieces > 1 else ""
        raise ValueError(f"--batch-size {batch_size} does not divide over {parts}; take a multiple")
    return batch_size // jt.world_size


def all_sum(array):
    """Sum of a numpy array over all ranks, computed in float64: counts are exact up to 2**53."""
    if not jt.in_mpi:
        return array
    with jt.flag_scope(auto_convert_64_to_32=0):
        total = jt.array(array.astype(np.float64)).mpi_all_reduce("add").numpy()
    return total.astype(array.dtype)


def mean(row):
    """The mean over all ranks of a Var, which is not read."""
    return row.mpi_all_reduce("mean") if jt.in_mpi else row


def gather_texts(text, length=1000):
    """-> the text of every rank, on every rank; cut at `length` bytes."""
    rows = np.zeros((jt.world_size, length), np.int32)
    data = text.encode()[:length]
    rows[jt.rank, : len(data)] = np.frombuffer(data, np.uint8)
    return [bytes(row[row > 0].astype(np.uint8)).decode(errors="replace") for row in all_sum(rows)]


def share(value):
    """A value that JSON can represent, from rank 0 to every rank."""
    if not jt.in_mpi:
        return value
    data = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)
    length = int(all_sum(np.array([len(data) if is_main() else 0]))[0])
    text = np.zeros(length, np.int32)
    text[: len(data) if is_main() else 0] = data if is_main() else 0
    return json.loads(bytes(all_sum(text).astype(np.uint8)))


def broadcast(variables):
    """Set the Vars of every rank to the values of rank 0."""
    if jt.in_mpi:
        for v in variables:
            v.assign(v.mpi_broadcast(0))
        jt.sync_all()


def wait_for_all():
    if jt.in_mpi:
        jt.sync_all()
        jt.mpi.mpi_barrier()
