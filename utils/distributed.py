"""Rank, world size and sums over Jittor's MPI. One process without mpirun is rank 0 of 1.

Sums, means, texts and broadcasts are collectives: all ranks call them at the same place. Jittor is lazy, so before one
rank does something alone (saving), reductions must have run on all: `jt.sync_all()`.
"""

import json

import jittor as jt
import numpy as np


def is_main():
    return jt.rank == 0


def rank():
    return jt.rank


def shard(count):
    """The indices that this rank looks after: each index has exactly one rank."""
    return range(jt.rank, count, jt.world_size)


def spread(indices, number):
    """`number` of the indices, evenly over all: neighbours are often frames of one film."""
    return {indices[k * len(indices) // number] for k in range(number)} if indices else set()


def local_batch(batch_size, pieces=1):
    """How many of the samples of a global batch this rank takes."""
    if batch_size % (jt.world_size * pieces):
        by = f"{jt.world_size} rank{'s' if jt.world_size > 1 else ''}"
        by += f" in {pieces} pieces each" if pieces > 1 else ""
        raise ValueError(f"--batch-size {batch_size} does not divide over {by}; take a multiple")
    return batch_size // jt.world_size


def all_sum(array):
    """Sum of a numpy array over all ranks. Counts are exact up to 2**53: MPI adds float64 here, not int64."""
    if not jt.in_mpi:
        return array
    with jt.flag_scope(auto_convert_64_to_32=0):
        total = jt.array(array.astype(np.float64)).mpi_all_reduce("add").numpy()
    return total.astype(array.dtype)


def means(values):
    """{name: one-number Var or number} -> {name: float}, each the mean over ranks, in one message."""
    row = jt.concat(
        [v.float32().reshape((1,)) if isinstance(v, jt.Var) else jt.array([float(v)]) for v in values.values()]
    )
    if jt.in_mpi:
        row = row.mpi_all_reduce("mean")
    return dict(zip(values, row.numpy().astype(float).tolist()))


def gather_texts(text, length=1000):
    """A short text of every rank, to every rank."""
    rows = np.zeros((jt.world_size, length), np.int32)
    data = text.encode()[:length]
    rows[jt.rank, : len(data)] = np.frombuffer(data, np.uint8)
    return [bytes(row[row > 0].astype(np.uint8)).decode(errors="replace") for row in all_sum(rows)]


def share(value):
    """What JSON can hold, from rank 0 to every rank."""
    if not jt.in_mpi:
        return value
    data = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)
    length = int(all_sum(np.array([len(data) if is_main() else 0]))[0])
    text = np.zeros(length, np.int32)
    text[: len(data) if is_main() else 0] = data if is_main() else 0
    return json.loads(bytes(all_sum(text).astype(np.uint8)))


def broadcast(variables):
    """Every rank gets rank 0's values."""
    if jt.in_mpi:
        for v in variables:
            v.assign(v.mpi_broadcast(0))
        jt.sync_all()


def wait_for_all():
    if jt.in_mpi:
        jt.sync_all()
        jt.mpi.mpi_barrier()
