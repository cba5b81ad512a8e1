"""Run by test_buckets.py under mpirun: gradients in buckets against exact means, and against Jittor's optimizer."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from utils import runtime  # noqa: E402

runtime.start("cpu")

import jittor as jt  # noqa: E402
import numpy as np  # noqa: E402

from utils.training import buckets, fused_step  # noqa: E402

SHAPES = [(3, 5, 3, 3), (7,), (1,), (300, 129), *[(k + 1, 2) for k in range(33)]]
messages, reduce = [0], jt.Var.mpi_all_reduce


def counted(v, op="add"):
    messages[0] += 1
    return reduce(v, op)


jt.Var.mpi_all_reduce = counted
rng = np.random.default_rng(jt.rank)


def arrays(rng):
    return [rng.standard_normal(shape).astype(np.float32) for shape in SHAPES]


def draw():
    return [jt.array(values) for values in arrays(rng)]


def train(optimizer, goals):
    """Two pieces a step. -> the parameters, and the number of messages of the last step"""
    params = optimizer.param_groups[0]["params"]
    for number, goal in enumerate(goals):
        messages[0] = 0
        loss = sum(((p - g).sqr() * 0.5).sum() for p, g in zip(params, goal))
        if number % 2:
            optimizer.step(loss)
        elif isinstance(optimizer, fused_step.SGD):
            optimizer.backward(loss, last=False)
        else:
            optimizer.backward(loss)
        jt.sync_all()
    return [p.numpy() for p in params], messages[0]


def near(a, b, tolerance):
    """Bit for bit where `tolerance` is 0; relative to the largest number."""
    largest = max(np.abs(y).max() for y in b)
    assert max(np.abs(x - y).max() for x, y in zip(a, b)) <= tolerance * largest


exact = 0 if jt.world_size == 2 else 1e-7  # a + b = b + a, but the sum of three depends on the order
gradients = draw()
means = [v.numpy() for v in buckets.average(gradients)]
assert messages[0] == 3, messages  # 37 parameters, 16 of them in a bucket
everybody = [[v.astype(np.float64) for v in arrays(np.random.default_rng(r))] for r in range(jt.world_size)]
near(means, [np.float32(sum(values) / jt.world_size) for values in zip(*everybody)], exact)

doubles = [jt.array(np.ones(3)).float64() * (jt.rank + 1), gradients[0]]
mean = buckets.average(doubles)
assert mean[0].dtype == "float64" and np.allclose(mean[0].numpy(), (1 + jt.world_size) / 2)

start, goals = [v.numpy() for v in draw()], [draw() for _ in range(4)]
results = []
for cls in (fused_step.SGD, jt.optim.SGD):
    params = [jt.array(v) for v in start]
    optimizer = cls([{"params": params, "weight_decay": 0.05, "lr": 0.02}], 0.1, 0.9)
    buckets.broadcast(params)
    results.append(train(optimizer, goals))
near(results[0][0], results[1][0], 1e-6)
assert (results[0][1], results[1][1]) == (3, 37), [count for _, count in results]
buckets.broadcast(lone := [jt.array([float(jt.rank)]), jt.array([jt.rank + 5.0])])
assert [v.item() for v in lone] == [0, 5]
print(f"rank {jt.rank} agreed", flush=True)
