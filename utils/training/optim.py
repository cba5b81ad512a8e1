"""Optimizers over named parameters: groups, learning rates, and moments that are saved and loaded by name."""

import jittor as jt

from utils.training import buckets, fused_step, operators

MOMENTS = ("values", "m")  # what Jittor's optimizers keep for each parameter: SGD "values", AdamW both


def build(named, optimizer, lr, momentum=0.9, weight_decay=5e-4, head_factor=1.0, gamma_factor=1.0):
    """`named`: (key, parameter) pairs; those without a gradient are left out. `optimizer`: sgd or adamw.

    SGD decays every parameter, as the official training does; AdamW only matrices and kernels, not norms, biases and
    other vectors. The learning rate of head.*, dsn.* and squeeze.* is multiplied by `head_factor`, that of gamma by
    `gamma_factor`, too.
    """
    groups = {}
    for name, p in named:
        if p.is_stop_grad():
            continue
        factor = head_factor if name.startswith(("head.", "dsn.", "squeeze.")) else 1.0
        factor *= gamma_factor if name == "head.cca.gamma" else 1.0
        decay = weight_decay if optimizer == "sgd" or len(p.shape) > 1 else 0.0
        group = groups.setdefault((factor, decay), {"params": [], "names": []})
        group["params"].append(p)
        group["names"].append(name)
    if not groups:
        raise ValueError("no parameter has a gradient: there is nothing to train")
    groups = [{**group, "factor": key[0], "weight_decay": key[1]} for key, group in groups.items()]
    if optimizer == "sgd":
        return fused_step.SGD(groups, lr, momentum, weight_decay)
    return fused_step.AdamW(groups, lr, weight_decay=weight_decay)


def poly(base, step, total, power=0.9, warmup=0, least=0.0):
    """The learning rate of a step, 0 to total - 1: from `base` to `least` by (1 - step / total) ** power, and in the
    first `warmup` steps a linear rise to it."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return ((base - least) * (1 - step / total) ** power + least) * rise


def set_lr(optimizer, lr):
    optimizer.lr = lr
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]


def gradient_norm(optimizer, state):
    """L2 norm of all gradients together, divided by the loss scale state[0]: a Var of one number. It is NaN or infinity
    when the network has diverged, also where the loss is not: compiled with -Ofast, a ReLU turns NaN into 0."""
    gradients = [g for group in optimizer.param_groups for g in group["grads"]]
    if operators.supported(gradients):
        return fused_step.squares(gradients, state).sqrt()
    return jt.concat([(g / state[:1].broadcast(g.shape)).sqr().sum().float32() for g in gradients]).sum().sqrt()


def betas(optimizer):
    return fused_step.betas(optimizer)


def update(optimizer, step, control=None):
    """Queue one step with the gradients that `optimizer.backward` has accumulated. `control`: see step_control.py.

    Jittor counts the calls of `backward`, but the bias correction of AdamW needs the number of steps. Now and then the
    ranks take the parameters of the main one.
    """
    optimizer.n_step = step + 1
    if jt.in_mpi and step % optimizer.param_sync_iter == 0:
        buckets.broadcast([p for group in optimizer.param_groups for p in group["params"]])
    optimizer.step(control=control)
    jt.sync_all()


def named_moments(optimizer):
    """("optimizer/<moment>/<parameter>", Var) for all state of the optimizer."""
    return [
        (f"optimizer/{moment}/{name}", value)
        for group in optimizer.param_groups
        for moment in MOMENTS
        for name, value in zip(group["names"], group.get(moment, ()))
    ]


def load_moments(optimizer, arrays, source="the checkpoint"):
    """Load what `named_moments` gave. A missing array or another shape is an error, and changes nothing."""
    moments = named_moments(optimizer)
    for key, value in moments:
        if key not in arrays or arrays[key].shape != tuple(value.shape):
            stored = f"{key} of shape {arrays[key].shape}" if key in arrays else f"no {key}"
            raise ValueError(
                f"{source} has {stored}: it was written with another --optimizer or network. Resume with the options "
                "of that run, or load only its weights with --restore-from"
            )
    for key, value in moments:
        value.assign(jt.array(arrays[key]))
    jt.sync_all()
