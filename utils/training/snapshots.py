"""Which checkpoints a run writes into its folder, and which of them stay.

Those of --save-pred-every, of the last step, of a signal and of a better validation stay (up to --keep-last). Those
written because some minutes have passed are for a run that dies: the next checkpoint of any sort replaces them.
"""

import os
import time

from utils.weights import checkpoint


class Snapshots:
    """Checkpoints in `folder`. `minutes` between those by time (0: none); `keep`: how many stay (0: all).

    `begin`: what the run starts from, as resume.py gives it; a checkpoint by time is replaced also by the
    run that was resumed from it.
    """

    def __init__(self, folder, minutes, keep, begin):
        self.folder, self.seconds, self.keep = folder, 60 * minutes, keep
        self.last = time.monotonic()
        here, self.temporary = checkpoint.path_of(folder, begin["step"]), None
        if begin["resumed"] and begin["meta"].get("temporary"):
            same = os.path.realpath(begin["source"]) == os.path.realpath(here)
            self.temporary = here if same else None

    def due(self):
        """By this process's clock. Ranks agree on the clock of rank 0."""
        return bool(self.seconds) and time.monotonic() - self.last >= self.seconds

    def save(self, step, model, meta, state, stays, best):
        """The checkpoint of `step`; `stays` or by time alone, `best`: the best validation so far. -> its path."""
        path = checkpoint.path_of(self.folder, step)
        checkpoint.save(path, model, {**meta, "temporary": not stays}, state)
        if best:
            checkpoint.link_best(path)
        if self.temporary and self.temporary != path:
            checkpoint.remove(self.temporary)
        self.temporary = None if stays else path
        checkpoint.prune(self.folder, self.keep)
        self.last = time.monotonic()
        return path
