"""Whether a step may change the weights, and the loss scale of float16, decided on the device (src/step_control.h).

The host reads the numbers of a step only after the next one has begun, so it cannot decide. The state of a run is a Var
of five numbers, STATE: `scale` multiplies the loss; `halted` is 1 from the first step on whose loss or gradient was not
finite, and then no step changes the weights; `updated` tells whether the latest step did.
"""

import jittor as jt
import numpy as np

from utils.training import operators

STATE = ("scale", "good", "skipped", "halted", "updated")


def fresh(scale=1.0, good=0, skipped=0):
    return jt.array(np.array([scale, good, skipped, 0, 1], np.float32)).stop_grad()


def gather(variables):
    """float32 Vars of a few numbers each -> one Var of all of them, in one operator."""
    variables = [v.float32().reshape((-1,)).stop_grad() for v in variables]
    row = {"row": ((sum(v.numel() for v in variables),), "float32")}
    return operators.call({"g": variables}, {}, "optimizer::gather(all, count, {row});", (), row)[1]["row"]


def decide(row, state, values, step, betas=(0.0, 0.0), scaling=None):
    """`row`: numbers of this step, of which the first `values` must be finite; the last of them is the norm of the
    gradients. `step`: from 1. `betas`: of AdamW; `scaling`: (patience, largest scale) in float16.

    -> (control, new state). control: 1 if the step is taken, 1 / scale, and the bias corrections of AdamW, in which
    skipped steps do not count.
    """
    source = """
    const optimizer::Rules rules = {{data["dynamic"] != 0, int(data["values"]), data["step"], data["patience"],
                                     data["largest"], data["beta_m"], data["beta_values"]}};
    optimizer::decide(rules, {row}, {state}, {control}, {next});"""
    numbers = dict(zip(("dynamic", "patience", "largest"), (1, *scaling) if scaling else (0, 0, 0)))
    numbers.update(values=values, step=step, beta_m=betas[0], beta_values=betas[1])
    source = source.format(row="in0_p", state="in1_p", control="out0_p", next="out1_p")
    control, new = operators.launch([(4,), (len(STATE),)], ["float32"] * 2, [row, state], source, numbers)
    return control.stop_grad(), new.stop_grad()


def plain_decide(row, state, values, step, betas=(0.0, 0.0), scaling=None):
    """The definition of `decide`, in numpy: row and state are arrays."""
    finite, (scale, good, skipped, halted, _) = np.isfinite(row[:values]), state
    new_scale, go = scale, False
    if not halted and scaling and not finite[-1]:  # float16 overflowed: this step is skipped
        skipped, good, halted = skipped + 1, 0, scale <= 1
        new_scale = scale if halted else scale / 2
    elif not halted:
        go = bool(finite.all())
        halted = not go
        if go and scaling:
            good += 1
            if good >= scaling[0]:
                good, new_scale = 0, min(scale * 2, scaling[1])
    control = [go, 1 / scale, *(1 - beta ** (step - skipped) for beta in betas)]
    return np.float32(control), np.float32([new_scale, good, skipped, halted, go])
