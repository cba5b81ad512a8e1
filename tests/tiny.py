"""train.py with one more model, `tiny`: as small as a CCNet can be, so that tests of whole runs take seconds.

python tests/tiny.py --model tiny ...
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train  # noqa: E402
from utils import runtime  # noqa: E402


def tiny(num_classes, recurrence, cca_backend="auto"):
    import jittor as jt
    from jittor import nn

    from models.batch_norm import BatchNorm
    from models.cca import RCCA
    from models.noise import Dropout2d

    class Head(nn.Module):
        def __init__(self):
            self.cca = RCCA(16, recurrence, cca_backend)
            self.last = nn.Sequential(BatchNorm(16), Dropout2d(0.3), nn.Conv2d(16, num_classes, 1))

        def execute(self, x):
            return self.last(self.cca(x))

    class Tiny(nn.Module):
        """(B, 3, H, W) -> logits at a quarter of the size; auxiliary ones in training."""

        def __init__(self):
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 2, 1, bias=False), BatchNorm(16)
            self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, 2, 1, bias=False), BatchNorm(16)
            self.head = Head()
            self.dsn = nn.Sequential(nn.Conv2d(16, num_classes, 1))
            self.head.cca.gamma.assign(jt.array([0.1]))
            jt.sync_all()
            self.train()

        def execute(self, x):
            x = nn.relu(self.bn1(self.conv1(x)))
            x = nn.relu(self.bn2(self.conv2(x)))
            logits = [self.head(x)]
            if self.is_training():
                logits.append(self.dsn(x))
            return logits

    return Tiny()


train.MODELS["tiny"] = tiny


def slow_saves():
    """With SLOW_SAVES=seconds in the environment, a save pauses with half of its file written: time to be killed in."""
    pause = float(os.environ.get("SLOW_SAVES", "0"))
    if pause:
        import numpy as np

        savez = np.savez

        def slow(file, **arrays):
            file.write(b"half of a checkpoint")
            file.flush()
            time.sleep(pause)
            file.seek(0)
            savez(file, **arrays)

        np.savez = slow


def faults():
    """FAULT="rank:step:kind" makes one rank fail at its step: raise, exit, or hang."""
    if not os.environ.get("FAULT"):
        return
    rank, step, kind = os.environ["FAULT"].split(":")
    whole = train.gradients

    def gradients(args, model, criterion, optimizer, images, labels, at):
        if runtime.mpi_rank() == int(rank) and at == int(step):
            if kind == "raise":
                raise RuntimeError("planted")
            if kind == "exit":
                sys.exit(0)
            if kind == "kill":
                os.kill(os.getpid(), 9)
            if kind == "nan":
                images = images * float("nan")
        return whole(args, model, criterion, optimizer, images, labels, at)

    train.gradients = gradients


if __name__ == "__main__":
    slow_saves()
    faults()
    runtime.run(train.main, "train.py")
