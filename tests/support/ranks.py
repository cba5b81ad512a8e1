"""Run by test_mpi.py under mpirun: every rank compares its results with those of a single process."""

import sys
from pathlib import Path

sys.path[:0] = map(str, (Path(__file__).resolve().parents[2], Path(__file__).resolve().parents[1]))

from utils import runtime  # noqa: E402

runtime.start("cpu")

import jittor as jt  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from support.cuda_cca import jittor_source  # noqa: E402

from models.layers import batch_norm, batch_norm_cuda  # noqa: E402
from utils import distributed  # noqa: E402

rank, ranks = jt.rank, jt.world_size

counts = distributed.all_sum(np.array([2**40 + rank, 1], np.int64))
assert counts.tolist() == [ranks * 2**40 + ranks * (ranks - 1) // 2, ranks] and counts.dtype == np.int64
assert distributed.gather_texts("é" * rank) == ["é" * r for r in range(ranks)]
assert distributed.share({"a": [1, 2.5, None], "r": rank} if rank == 0 else None) == {"a": [1, 2.5, None], "r": 0}
assert distributed.mean(jt.array([float(rank), 3.0])).numpy().tolist() == [(ranks - 1) / 2, 3.0]
assert sorted(sum(([*range(r, 7, ranks)] for r in range(ranks)), [])) == list(range(7))
assert list(distributed.shard(7)) == list(range(rank, 7, ranks))
mine = jt.array([float(rank)])
distributed.broadcast([mine])
assert mine.item() == 0

# BatchNorm over batches of 1, 3, 2 samples with different means equals that of one batch
sizes = [1, 3, 2][:ranks]
rng = np.random.default_rng(0)
x = rng.standard_normal((sum(sizes), 4, 3, 5)).astype(np.float32) + 10 * np.arange(sum(sizes))[:, None, None, None]
upstream = rng.standard_normal(x.shape).astype(np.float32)
rows = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
axes, wide = (0, 2, 3), (None, slice(None), None, None)
exact, exact_upstream = x.astype(np.float64), upstream.astype(np.float64)
mean, var, n = exact.mean(axes), exact.var(axes), exact.size // 4
deviation = np.sqrt(var + 1e-5)[wide]
hat = (exact - mean[wide]) / deviation
expected = (
    exact_upstream - exact_upstream.mean(axes)[wide] - hat * (exact_upstream * hat).mean(axes)[wide]
) / deviation
calls = []
all_reduce = jt.Var.mpi_all_reduce
jt.Var.mpi_all_reduce = lambda *arguments: calls.append(1) or all_reduce(*arguments)
jittor_source(pytest.MonkeyPatch(), batch_norm_cuda)  # the CUDA kernels, run on the CPU
for function in (batch_norm.fused, batch_norm.plain, batch_norm.cuda):
    batch_norm.normalise = function
    layer, local = batch_norm.BatchNorm(4), jt.array(x[rows])
    y = layer(local)
    assert len(calls) == 1, "the statistics of all ranks take one call"
    grad_x, grad_weight = jt.grad((y * jt.array(upstream[rows])).sum(), [local, layer.weight])
    jt.sync_all()
    assert len(calls) == 2, "their gradients take another"
    calls.clear()
    np.testing.assert_allclose(y.numpy(), hat[rows], atol=1e-5)
    np.testing.assert_allclose(grad_x.numpy(), expected[rows], atol=1e-5)
    np.testing.assert_allclose(grad_weight.numpy(), (exact_upstream * hat)[rows].sum(axes), atol=1e-4)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * var * n / (n - 1), rtol=1e-5)
print(f"rank {rank} agreed", flush=True)
