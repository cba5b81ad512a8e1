"""Run by test_mpi.py under mpirun: every rank compares its results with those of a single process."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from utils import runtime  # noqa: E402

runtime.start("cpu")

import jittor as jt  # noqa: E402
import numpy as np  # noqa: E402

from models.layers.batch_norm import BatchNorm  # noqa: E402
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
layer, local = BatchNorm(4), jt.array(x[rows].astype(np.float32))
y = layer(local)
grad_x, grad_weight = jt.grad((y * jt.array(upstream[rows])).sum(), [local, layer.weight])
jt.sync_all()

axes, wide = (0, 2, 3), (None, slice(None), None, None)
x, upstream = x.astype(np.float64), upstream.astype(np.float64)
mean, var, n = x.mean(axes), x.var(axes), x.size // 4
deviation = np.sqrt(var + 1e-5)[wide]
hat = (x - mean[wide]) / deviation
expected = (upstream - upstream.mean(axes)[wide] - hat * (upstream * hat).mean(axes)[wide]) / deviation
np.testing.assert_allclose(y.numpy(), hat[rows], atol=1e-5)
np.testing.assert_allclose(grad_x.numpy(), expected[rows], atol=1e-5)
np.testing.assert_allclose(grad_weight.numpy(), (upstream * hat)[rows].sum(axes), atol=1e-4)
np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * mean, rtol=1e-5)
np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * var * n / (n - 1), rtol=1e-5)
print(f"rank {rank} agreed", flush=True)
