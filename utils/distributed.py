"""Rank, world size and sums over Jittor's MPI. One process without mpirun is rank 0 of 1."""

import jittor as jt
import numpy as np


def is_main():
    return jt.rank == 0


def shard(count):
    """The indices that this rank looks after: each index has exactly one rank."""
    return range(jt.rank, count, jt.world_size)


def all_sum(array):
    """Sum of a numpy array over all ranks. Counts are exact up to 2**53: MPI adds float64 here, not int64."""
    if not jt.in_mpi:
        return array
    with jt.flag_scope(auto_convert_64_to_32=0):
        total = jt.array(array.astype(np.float64)).mpi_all_reduce("add").numpy()
    return total.astype(array.dtype)
