"""Which checkpoints a run writes into its folder, and which of them it keeps.

The checkpoints of --save-pred-every, of the last step, of a signal and of a better validation are kept (up to
--keep-last). Those of --save-every-minutes are temporary: the next checkpoint of any kind replaces them.
"""

import os
import time

from utils.weights import checkpoint


class Snapshots:
    """Checkpoints in `folder`. `minutes` between temporary ones (0: none); `keep`: how many are kept (0: all).

    `begin`: the starting point of the run (resume.py). A resumed run also replaces the temporary checkpoints that the
    earlier one left: two, if it was killed after it wrote one and before it deleted the previous one.
    """

    def __init__(self, folder, minutes, keep, begin):
        self.folder, self.seconds, self.keep = folder, 60 * minutes, keep
        self.last = time.monotonic()
        here, self.temporary = checkpoint.path_of(folder, begin["step"]), []
        if begin["resumed"] and os.path.realpath(begin["source"]) == os.path.realpath(here):
            earlier = [path for step, path in checkpoint.steps_in(folder).items() if step <= begin["step"]]
            self.temporary = [path for path in earlier if checkpoint.recorded(path, "temporary")]

    def due(self):
        """Is it time for a temporary checkpoint? By the clock of this process; the ranks follow that of rank 0."""
        return bool(self.seconds) and time.monotonic() - self.last >= self.seconds

    def save(self, step, model, meta, state, keep, best):
        """Write the checkpoint of `step`, temporary unless `keep`. `best`: the best validation so far. -> its path"""
        path = checkpoint.path_of(self.folder, step)
        checkpoint.save(path, model, {**meta, "temporary": not keep}, state)
        if best:
            checkpoint.link_best(path)
        for earlier in self.temporary:
            if earlier != path:
                checkpoint.remove(earlier)
        self.temporary = [] if keep else [path]
        checkpoint.prune(self.folder, self.keep)
        self.last = time.monotonic()
        return path


def facts(data):
    """What a checkpoint records about a dataset, besides its location."""
    return {
        "dataset": data.dataset_name,
        "num_classes": len(data.names),
        "ignore_label": data.ignore_label,
        "grey_labels": getattr(data, "grey_labels", None),
        "names": list(data.names),
        "palette": [[int(channel) for channel in colour] for colour in data.palette],
        "flip_pairs": [list(pair) for pair in data.flip_pairs],
    }
