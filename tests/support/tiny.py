"""train.py with one more model, `tiny`, a minimal CCNet, so that tests of whole runs take seconds.

python tests/support/tiny.py --model tiny ...
"""

import os
import resource
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import train  # noqa: E402
from utils import runtime  # noqa: E402


def tiny(num_classes, recurrence, cca_backend="auto"):
    import jittor as jt
    from jittor import nn

    from models.cca import RCCA
    from models.layers.batch_norm import BatchNorm
    from models.layers.dropout import Dropout2d

    class Head(nn.Module):
        def __init__(self):
            self.cca, self.listener = RCCA(16, recurrence, cca_backend), None
            self.last = nn.Sequential(BatchNorm(16), Dropout2d(0.3), nn.Conv2d(16, num_classes, 1))

        def execute(self, x):
            x = self.cca(x)
            if self.listener:
                self.listener(x)
            return self.last(x)

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
            x = nn.silu(self.bn1(self.conv1(x)))  # smooth: at a ReLU, rounding can make runs differ
            x = nn.silu(self.bn2(self.conv2(x)))
            logits = [self.head(x)]
            if self.is_training():
                logits.append(self.dsn(x))
            return logits

    return Tiny()


train.MODELS["tiny"] = tiny


def slow_or_failing_saves():
    """SLOW_SAVES=seconds: a save pauses while its file is incomplete, so that a test can kill it there. DISK=bytes:
    from the first save on files cannot be larger than that, as on a full disk."""
    from utils.weights import checkpoint

    pause, limit, write = float(os.environ.get("SLOW_SAVES", "0")), int(os.environ.get("DISK", "0")), checkpoint.write

    def patched(file, arrays):
        if limit:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # let the write itself fail
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        if pause:
            file.write(b"half of a checkpoint")
            file.flush()
            time.sleep(pause)
            file.seek(0)
        write(file, arrays)

    checkpoint.write = patched


def unevenly_ignored_pixels():
    """VOID: most of the label of three in four samples is ignored, and ranks differ in valid pixels."""
    if not os.environ.get("VOID"):
        return
    original = train.stream

    def stream(*arguments):
        for images, labels, names in original(*arguments):
            for label, name in zip(labels, names):
                label[: {0: 0, 1: 5, 2: 22, 3: 24}[int(name[-7:]) % 4]] = 255
            yield images, labels, names

    train.stream = stream


def slow_steps():
    """PAUSE=seconds: every step takes so much longer."""
    original = train.gradients

    def gradients(*arguments):
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return original(*arguments)

    train.gradients = gradients


def faults():
    """FAULT="rank:step:fault" makes one rank fail at this step; fault: raise, exit, kill or nan."""
    if not os.environ.get("FAULT"):
        return
    rank, step, fault = os.environ["FAULT"].split(":")
    original = train.gradients

    def gradients(args, model, criterion, scaler, optimizer, batch, at):
        if runtime.mpi_rank() == int(rank) and at == int(step):
            if fault == "raise":
                raise RuntimeError("a planted fault")
            if fault == "exit":
                sys.exit(0)
            if fault == "kill":
                os.kill(os.getpid(), 9)
            if fault == "nan":
                for images, *_ in batch:
                    images[:] = float("nan")
        return original(args, model, criterion, scaler, optimizer, batch, at)

    train.gradients = gradients


def main():
    """Saves are patched after runtime.start, before which Jittor must not be imported."""
    begin = runtime.start

    def start(*arguments, **options):
        run = begin(*arguments, **options)
        slow_or_failing_saves()
        return run

    runtime.start = start
    slow_steps()
    unevenly_ignored_pixels()
    faults()
    train.main()


if __name__ == "__main__":
    runtime.run(main, "train.py")
