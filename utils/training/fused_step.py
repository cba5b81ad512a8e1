"""Arithmetic of a training step over many parameters in one call, on all threads of the CPU (src/optimizer.h).

Jittor computes the update of each parameter as several operators on one thread. Here up to GROUP parameters go into one
operator; a group that is not full repeats its last one without computing it, so one compiled operator serves all
networks. Float32 on the CPU only: see `supported`. The plain forms are Jittor's optimizers.
"""

from pathlib import Path

import jittor as jt

FILE = Path(__file__).resolve().parent / "src" / "optimizer.h"
GROUP = 16
FIELDS = ("p", "g", "values", "m")


def supported(*lists):
    return not jt.flags.use_cuda and all(v.dtype == "float32" for values in lists for v in values)


def over_groups(lists, outputs, source, **numbers):
    """Calls `source` for GROUP parameters at a time. `lists`: {field: Vars}; `outputs`: fields that get a new value.

    -> {field: new Vars}
    """
    new, count = {name: [] for name in outputs}, len(next(iter(lists.values())))
    for first in range(0, count, GROUP):
        used = min(GROUP, count - first)
        picked = {name: list(values[first : first + used]) for name, values in lists.items()}
        results = call(picked, outputs, used, source, numbers)
        for name, values in results.items():
            new[name] += values
    return new


def call(picked, outputs, used, source, numbers):
    """One operator. -> {field: `used` new Vars}"""
    names = list(picked)
    inputs = [pad[k].reshape((-1,)) for pad in map(padded, picked.values()) for k in range(GROUP)]
    shapes = [v.shape for name in outputs for v in (inputs[names.index(name) * GROUP + k] for k in range(GROUP))]
    shapes = [shape if k % GROUP < used else (1,) for k, shape in enumerate(shapes)]
    rows = []
    for k in range(GROUP):
        reads = [f"in{names.index(name) * GROUP + k}_p" if name in names else "nullptr" for name in FIELDS]
        writes = [f"out{outputs.index(name) * GROUP + k}_p" if name in outputs else "nullptr" for name in FIELDS]
        rows.append(f"{{in{k}->num, {', '.join(reads + [writes[0], *writes[2:]])}}}")
    table = f'const optimizer::Parameter all[] = {{{", ".join(rows)}}};\nconst int count = data["used"];\n'
    results = jt.code(
        shapes or [(1,)],
        ["float32"] * max(1, len(shapes)),
        inputs,
        cpu_header=f'#include "{FILE}"\n',
        cpu_src=table + source,
        data={"used": float(used), **numbers},
    )
    if not outputs:
        return {"total": results}
    whole = {name: results[i * GROUP : i * GROUP + used] for i, name in enumerate(outputs)}
    return {name: [v.reshape(old.shape) for v, old in zip(values, picked[name])] for name, values in whole.items()}


def padded(values):
    return values + [values[-1]] * (GROUP - len(values))


def squares(gradients):
    """The sum of the squares of all numbers, a list of Vars of one number."""
    source = "*out0_p = optimizer::squares(all, count);"
    totals = []
    for first in range(0, len(gradients), GROUP):
        part = list(gradients[first : first + GROUP])
        totals += call({"g": part}, (), len(part), source, {})["total"]
    return totals


def add(first, second):
    """The sums of the Vars of two lists."""
    return over_groups({"p": first, "g": second}, ("p",), "optimizer::add(all, count);")["p"]


def replace(old, new):
    for a, b in zip(old, new):
        a.update(b.stop_grad() if a.is_stop_grad() else b)


def backward(optimizer, plain, loss, retain_graph):
    """`plain`: the method of Jittor, which adds gradients to earlier ones parameter by parameter."""
    groups = optimizer.param_groups
    earlier = [group["grads"] for group in groups if "grads" in group]
    if vars(optimizer)["_Optimizer__zero_grad"] or not supported(*earlier):
        return plain(loss, retain_graph)
    for group in groups:
        del group["grads"]
    optimizer.zero_grad()
    plain(loss, retain_graph)
    for group, before in zip(groups, earlier):
        replace(group["grads"], add(group["grads"], before))


def step(optimizer, plain, update, loss, retain_graph):
    """`plain`: the method of Jittor. `update(group, lists)`: the step of one group, {field: Vars}."""
    if loss is not None:
        optimizer.backward(loss, retain_graph)
    groups = optimizer.param_groups
    if not all(supported(group["params"], group["grads"]) for group in groups):
        return plain()
    optimizer.pre_step(None)
    for group in groups:
        trained = [k for k, p in enumerate(group["params"]) if not p.is_stop_grad()]
        names = {"p": "params", "g": "grads", "values": "values", "m": "m"}
        lists = {field: [group[name][k] for k in trained] for field, name in names.items() if name in group}
        if trained:
            update(group, lists)
    optimizer.post_step()


class SGD(jt.optim.SGD):
    def backward(self, loss, retain_graph=False):
        backward(self, super().backward, loss, retain_graph)

    def step(self, loss=None, retain_graph=False):
        step(self, super().step, self.update, loss, retain_graph)

    def update(self, group, lists):
        source = """optimizer::sgd(all, count, data["lr"], data["momentum"], data["decay"]);"""
        numbers = {"lr": group.get("lr", self.lr), "momentum": self.momentum, "decay": group["weight_decay"]}
        new = over_groups(lists, ("p", "values"), source, **{key: float(value) for key, value in numbers.items()})
        replace(lists["values"], new["values"])
        replace(lists["p"], new["p"])


class AdamW(jt.optim.AdamW):
    def backward(self, loss, retain_graph=False):
        backward(self, super().backward, loss, retain_graph)

    def step(self, loss=None, retain_graph=False):
        step(self, super().step, self.update, loss, retain_graph)

    def update(self, group, lists):
        source = """optimizer::adamw(all, count, data["lr"], data["decay"], data["beta_m"], data["beta_values"],
                                     data["correction_m"], data["correction_values"], data["eps"]);"""
        numbers = {"lr": group.get("lr", self.lr), "decay": group["weight_decay"], "eps": self.eps}
        for name, beta in zip(("m", "values"), self.betas):
            numbers.update({f"beta_{name}": beta, f"correction_{name}": 1 - beta**self.n_step})
        new = over_groups(lists, ("p", "values", "m"), source, **{key: float(v) for key, v in numbers.items()})
        for field in ("m", "values", "p"):
            replace(lists[field], new[field])
