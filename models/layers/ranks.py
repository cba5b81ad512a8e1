"""Sums over MPI ranks that have a gradient or statistics inside a layer. Each function makes one all-reduce call."""

import jittor as jt


def sum_over_ranks(*vectors):
    """The sum of each vector over all ranks."""
    if not jt.in_mpi:
        return vectors
    total = jt.concat(vectors).mpi_all_reduce("add")
    ends = [sum(len(v) for v in vectors[: k + 1]) for k in range(len(vectors))]
    return tuple(total[end - len(v) : end] for end, v in zip(ends, vectors))


def row_of_each_rank(row):
    """(n,) -> (ranks, n), on all ranks: a sum of matrices in which each rank fills its row."""
    if not jt.in_mpi:
        return row.unsqueeze(0)
    mine = (jt.index((jt.world_size, row.shape[0]), dim=0) == jt.rank).float32()
    return (mine * row.broadcast(mine.shape, dims=[0])).mpi_all_reduce("add")


def moments_of_all_ranks(mean, squares, count):
    """Mean, squared deviations from it (C,) and number of values (1,) of this rank -> mean, biased variance, number.

    One call is enough, because each rank takes deviations from its own mean; moments merge exactly.
    """
    if not jt.in_mpi:
        return mean, squares / count, count
    channels = mean.shape[0]
    # In this order: Jittor lets an operator write its output into a concatenation. `mean` and `squares` are often
    # outputs of one operator; if `squares` were not the first part, that operator would have to wait for itself.
    rows = row_of_each_rank(jt.concat([squares, mean * count, count]))
    squares, sums, counts = rows[:, :channels], rows[:, channels:-1], rows[:, -1:]
    count = counts.sum(0)
    mean = sums.sum(0) / count
    deviations = sums / counts - mean.broadcast(sums.shape, dims=[0])
    return mean, (squares + deviations.sqr() * counts).sum(0) / count, count
