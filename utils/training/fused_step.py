"""The optimizers of training and the norm of its gradients, many parameters in one operator (operators.py), without
waiting for the device. The plain forms are Jittor's optimizers.
"""

import jittor as jt
import numpy as np

from utils.training import buckets, operators

PIECE = 16384  # elements of a partial sum, in both files of src/


def squares(gradients, state):
    """The sum of the squares of all numbers divided by the loss scale, state[0]: a Var of one number."""
    total = jt.zeros(1)
    for part in operators.groups_of(list(gradients)):
        pieces = sum(-(-g.numel() // PIECE) for g in part)
        inputs = {"state": state, "before": total}
        outputs = {"partial": ((pieces,), "float64"), "total": ((1,), "float32")}
        source = "optimizer::squares(all, count, {state}, {before}, {partial}, {total});"
        total = operators.call({"g": part}, {}, source, inputs, outputs)[1]["total"]
    return total


def add(first, second):
    """The sums of the Vars of two lists."""
    return operators.over_groups({"p": first, "g": second}, ("p",), "optimizer::add(all, count);")["p"]


def replace(old, new):
    for a, b in zip(old, new):
        a.update(b.stop_grad() if a.is_stop_grad() else b)


def backward(optimizer, loss, retain_graph, last):
    """Adds the gradients of `loss` to those of earlier calls; averages them over the ranks if it is the `last`."""
    groups, earlier = optimizer.param_groups, not vars(optimizer)["_Optimizer__zero_grad"]
    places = [(group, k) for group in groups for k, p in enumerate(group["params"]) if not p.is_stop_grad()]
    trained = [group["params"][k] for group, k in places]
    jt.sync(trained)
    gradients = [g.stop_grad() for g in jt.grad(loss, trained, retain_graph)]
    if earlier:
        before = [group["grads"][k] for group, k in places]
        fast = operators.supported(gradients, before)
        gradients = add(gradients, before) if fast else [a + b for a, b in zip(gradients, before)]
    if last and jt.in_mpi:
        gradients = buckets.average(gradients)
    for group in groups:
        group.setdefault("grads", [jt.zeros_like(p).stop_grad().stop_fuse() for p in group["params"]])
    for (group, k), gradient in zip(places, gradients):
        group["grads"][k].update(gradient.stop_grad())
    vars(optimizer)["_Optimizer__zero_grad"] = False
    optimizer.n_step += 1


def always(optimizer):
    """The control numbers (src/step_control.h) of a step that is taken in any case."""
    corrections = [1 - beta**optimizer.n_step for beta in betas(optimizer)]
    return jt.array(np.array([1, 1, *corrections], np.float32))


def betas(optimizer):
    """Of the averages of AdamW, m and values; 0 for SGD."""
    return getattr(optimizer, "betas", (0.0, 0.0))


def step(optimizer, plain, update, control):
    """`plain`: the method of Jittor. `update(group, lists, control)`: the step of one group, {field: Vars}.

    `control`: numbers on the device that step_control.py computes (whether the step is taken, what gradients are
    multiplied by); None: it is taken.
    """
    groups = optimizer.param_groups
    names = {"p": "params", "g": "grads", "values": "values", "m": "m"}
    lists = []
    for group in groups:
        trained = [k for k, p in enumerate(group["params"]) if not p.is_stop_grad()]
        picked = {field: [group[name][k] for k in trained] for field, name in names.items() if name in group}
        lists += [(group, picked)] if trained else []
    if not all(operators.supported(picked["p"], picked["g"]) for _, picked in lists):
        return plain_step(plain, [picked for _, picked in lists], control)
    control = always(optimizer) if control is None else control
    optimizer.pre_step(None)
    for group, picked in lists:
        update(group, picked, control)
    optimizer.post_step()


def plain_step(plain, lists, control):
    """The definition: Jittor's step with the gradients multiplied, and the old values where it is not to be taken."""
    if control is None:
        return plain()
    for picked in lists:
        replace(picked["g"], [g * control[1:2].broadcast(g.shape).cast(g.dtype) for g in picked["g"]])
    changed = [v for picked in lists for field, values in picked.items() if field != "g" for v in values]
    before = [v.clone() for v in changed]
    plain()
    replace(changed, [jt.ternary(control[:1].broadcast(v.shape) > 0.5, v, old) for v, old in zip(changed, before)])


class Fused(jt.optim.Optimizer):
    """`backward` and `step` in place of those of an optimizer of Jittor; a subclass has the `update` of one group."""

    def backward(self, loss, retain_graph=False, last=True):
        backward(self, loss, retain_graph, last)

    def step(self, loss=None, retain_graph=False, control=None):
        if loss is not None:
            self.backward(loss, retain_graph)
        step(self, super().step, self.update, control)


class SGD(Fused, jt.optim.SGD):
    def update(self, group, lists, control):
        source = 'optimizer::sgd(all, count, {control}, data["lr"], data["momentum"], data["decay"]);'
        numbers = {"lr": group.get("lr", self.lr), "momentum": self.momentum, "decay": group["weight_decay"]}
        new = operators.over_groups(lists, ("p", "values"), source, {"control": control}, **numbers)
        for field in ("values", "p"):
            replace(lists[field], new[field])


class AdamW(Fused, jt.optim.AdamW):
    def update(self, group, lists, control):
        source = """optimizer::adamw(all, count, {control}, data["lr"], data["decay"], data["beta_m"],
                                     data["beta_values"], data["eps"]);"""
        numbers = {"lr": group.get("lr", self.lr), "decay": group["weight_decay"], "eps": self.eps}
        numbers.update(zip(("beta_m", "beta_values"), self.betas))
        new = operators.over_groups(lists, ("p", "values", "m"), source, {"control": control}, **numbers)
        for field in ("m", "values", "p"):
            replace(lists[field], new[field])
