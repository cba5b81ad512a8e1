"""SGD and AdamW over named parameters: groups, learning rates, and moments that can be saved and put back by name."""

import jittor as jt

MOMENTS = ("values", "m")  # what Jittor's optimisers keep for each parameter


def build(named, kind, lr, momentum=0.9, weight_decay=5e-4, head_factor=1.0):
    """`named`: (key, parameter) pairs; those without a gradient are left out.

    SGD decays every parameter, as the official training does; AdamW only matrices and kernels, not norms, biases and
    other vectors. Parameters of head.* and dsn.* learn `head_factor` times as fast.
    """
    groups = {}
    for name, p in named:
        if p.is_stop_grad():
            continue
        factor = head_factor if name.startswith(("head.", "dsn.")) else 1.0
        decay = weight_decay if kind == "sgd" or len(p.shape) > 1 else 0.0
        group = groups.setdefault((factor, decay), {"params": [], "names": []})
        group["params"].append(p)
        group["names"].append(name)
    if not groups:
        raise ValueError("no parameter has a gradient: there is nothing to train")
    groups = [{**group, "factor": key[0], "weight_decay": key[1]} for key, group in groups.items()]
    if kind == "sgd":
        return jt.optim.SGD(groups, lr, momentum, weight_decay)
    return jt.optim.AdamW(groups, lr, weight_decay=weight_decay)


def set_lr(optimizer, lr):
    optimizer.lr = lr
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]


def gradient_norm(optimizer):
    """Length of all gradients together, a one-number Var. Not finite when the network has gone wrong, also where the
    loss hides it: under Jittor's -Ofast a ReLU turns NaN into 0."""
    squares = [g.sqr().sum() for group in optimizer.param_groups for g in group["grads"]]
    return jt.concat(squares).sum().sqrt()


def update(optimizer, step):
    """One step with the gradients that `optimizer.backward` has gathered, and all of it done when this returns.

    Jittor counts calls of `backward`; AdamW's bias correction wants steps.
    """
    optimizer.n_step = step + 1
    optimizer.step()
    jt.sync_all()


def named_moments(optimizer):
    """("optimizer/<kind>/<parameter>", Var) for everything the optimiser remembers."""
    return [
        (f"optimizer/{kind}/{name}", value)
        for group in optimizer.param_groups
        for kind in MOMENTS
        for name, value in zip(group["names"], group.get(kind, ()))
    ]


def load_moments(optimizer, arrays, source="the checkpoint"):
    """Put back what `named_moments` gave; all of it must be there with the right shapes, or nothing is changed."""
    own = named_moments(optimizer)
    for key, value in own:
        if key not in arrays or arrays[key].shape != tuple(value.shape):
            found = f"{key} of shape {arrays[key].shape}" if key in arrays else f"no {key}"
            raise ValueError(
                f"{source} has {found}: it was written with another --optimizer or network. Resume with the options of "
                "that run, or take its weights alone by --restore-from"
            )
    for key, value in own:
        value.assign(jt.array(arrays[key]))
    jt.sync_all()
