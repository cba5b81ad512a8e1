"""The numbers of a step (losses, gradient norm, gamma, requests of the ranks), read one step late.

While a GPU computes a step, the host prepares the next one; reading a number of the step at once would make it wait,
and then the GPU. So the numbers of a step are one row, copied to the host while the next step is queued, and used after
that. On the CPU, where nothing runs in the background, they are also used one step later.
"""

import math
from collections import deque

import jittor as jt
import numpy as np

from utils import distributed
from utils.host_copy import HostCopy
from utils.training import interrupt, optim, postmortem, step_control


class Rows:
    """`save_due()`: is it time for a checkpoint? `log`: None except on the main rank. `last`: the row used last."""

    def __init__(self, folder, settings, model, scaler, save_due, log):
        self.folder, self.settings, self.model, self.scaler, self.log = folder, settings, model, scaler, log
        self.save_due, self.waiting, self.arrival, self.last = save_due, deque(), 0.0, {}
        self.alone, self.requests = not jt.in_mpi, {}  # alone: what the only rank asks for is known at once

    def finish(self, optimizer, losses, place, batch, facts):
        """Queue the end of a step: norm, means over ranks, whether the step counts, update, and the copy of its row.

        `losses`: {name: Var}; `place`: {"step": .., "lr": ..}; `batch`: for a post-mortem; `facts`: of the log.
        """
        losses = {**losses, "gradient": optim.gradient_norm(optimizer, self.scaler.numbers)}
        save = interrupt.checkpoint_requested() or (distributed.is_main() and self.save_due())
        self.requests = {"stop": interrupt.stop_requested(), "save": save}
        asked = jt.array(np.array([*self.requests.values()], np.float32))
        row = distributed.mean(step_control.gather([*losses.values(), asked]))
        control = self.scaler.decide(row, len(losses), place["step"] + 1, optim.betas(optimizer))
        optim.update(optimizer, place["step"], control)
        names = [*losses, *self.requests, *step_control.STATE, "gamma"]
        copy = HostCopy(step_control.gather([row, self.scaler.numbers, self.model.head.cca.gamma]))
        self.waiting.append((place, losses, batch, facts, names, copy))

    def read(self, everything):
        """Use the rows of all steps but the latest, or of all of them. -> does a rank ask to stop, to save?

        If one does, the latest row is used, too: on every rank, as all have the same rows.
        """
        stop, save = self.requests.values() if self.alone else (False, False)
        while len(self.waiting) > (0 if everything or stop or save else 1):
            place, losses, batch, facts, names, copy = self.waiting.popleft()
            values = dict(zip(names, copy.numpy().tolist()))
            duration = copy.arrived - max(self.arrival, facts.pop("started"))
            self.arrival = copy.arrived
            facts.update(duration=duration, data_time=min(facts["data_time"], duration))
            asked = [values.pop(name) > 0 for name in ("stop", "save")]
            self.use(place, losses, batch, facts, values)
            stop, save = stop or asked[0], save or asked[1]
        return stop, save

    def use(self, place, losses, batch, facts, values):
        """An error where the row is not finite; a row of the log."""
        state = {name: values.pop(name) for name in step_control.STATE}
        gamma = values.pop("gamma")
        if self.scaler.dynamic and not math.isfinite(values["gradient"]):  # float16 overflowed: a skipped step
            self.scaler.check(state)
            del values["gradient"]
        else:
            postmortem.check(self.folder, self.model, place, losses, values, batch, self.settings)
        self.last = {**values, "gamma": gamma}
        if self.log:
            self.log.step(place["step"] + 1, place["lr"], **facts, **self.last)
