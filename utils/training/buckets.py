"""Gradients averaged over the ranks in flat buckets: about twelve messages a step instead of one for each parameter.

A bucket has up to BYTES of gradients, the last layers first, whose gradients are finished first. Jittor's executor
takes the operators that can run in the order in which they were made, so the buckets follow the backward pass. Its flag
node_order=1 would send each as soon as its gradients are finished, but all operators, also those of NCCL, are on one
CUDA stream, so nothing would be computed meanwhile. What buckets save is the latency of the messages.
"""

import jittor as jt

from utils.training import operators

BYTES = 25 << 20


def average(gradients):
    """-> the means over ranks of a list of Vars, in the same order. Every rank calls it."""
    new, before = [None] * len(gradients), []
    for places in cut([g.numel() * 4 if operators.supported([g]) else 0 for g in gradients]):
        part = [gradients[k] for k in places]
        if operators.supported(part):
            reduced, means = packed(part)
        else:
            reduced = part[0].mpi_all_reduce("add")
            means = [reduced * (1 / jt.world_size)]
        reduced._add_dependency(before)  # every rank sends its messages in the same order
        before = [reduced]
        for k, mean in zip(places, means):
            new[k] = mean
    return new


def cut(sizes):
    """Lists of indices, from the last to the first, of at most BYTES and one call of fused_step each; size 0: alone."""
    lists, room = [], 0
    for k in reversed(range(len(sizes))):
        if not lists or not sizes[k] or sizes[k] > room or len(lists[-1]) == operators.group():
            lists.append([])
            room = BYTES if sizes[k] else 0
        lists[-1].append(k)
        room -= sizes[k]
    return lists


def packed(gradients):
    """-> the sum over ranks, flat, and its parts divided by the number of ranks"""
    flat = {"flat": ((sum(g.numel() for g in gradients),), "float32")}
    mine = operators.call({"g": gradients}, {}, "optimizer::pack(all, count, {flat});", (), flat)[1]["flat"]
    reduced = mine.mpi_all_reduce("add")
    shapes = {"p": [(g.numel(),) for g in gradients]}
    source = 'optimizer::unpack(all, count, {flat}, data["share"]);'
    parts = operators.call({}, shapes, source, {"flat": reduced}, share=1 / jt.world_size)[0]["p"]
    return reduced, [part.reshape(g.shape) for part, g in zip(parts, gradients)]


def broadcast(variables):
    """Sets the Vars of every rank to those of rank 0, in the order of the list."""
    before = []
    for v in variables:
        v.assign(v.mpi_broadcast())
        v._add_dependency(before)
        before = [v]
