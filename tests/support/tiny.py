"""train.py with one more model, `tiny`: as small as a CCNet can be, so that tests of whole runs take seconds.

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
            x = nn.silu(self.bn1(self.conv1(x)))  # smooth: a ReLU can flip by rounding, and so make two runs differ
            x = nn.silu(self.bn2(self.conv2(x)))
            logits = [self.head(x)]
            if self.is_training():
                logits.append(self.dsn(x))
            return logits

    return Tiny()


train.MODELS["tiny"] = tiny


def odd_saves():
    """SLOW_SAVES=seconds: a save pauses with half of its file written, time to be killed in. DISK=bytes: files cannot
    grow beyond that from the first save on, as on a disk that is full."""
    from utils.weights import checkpoint

    pause, room, write = float(os.environ.get("SLOW_SAVES", "0")), int(os.environ.get("DISK", "0")), checkpoint.write

    def odd(file, arrays):
        if room:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write itself is to fail
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        if pause:
            file.write(b"half of a checkpoint")
            file.flush()
            time.sleep(pause)
            file.seek(0)
        write(file, arrays)

    checkpoint.write = odd


def uneven_void():
    """With VOID in the environment, three samples in four lose most of their label: ranks differ in valid pixels."""
    if not os.environ.get("VOID"):
        return
    whole = train.stream

    def stream(*arguments):
        for images, labels, names in whole(*arguments):
            for label, name in zip(labels, names):
                label[: {0: 0, 1: 5, 2: 22, 3: 24}[int(name[-7:]) % 4]] = 255
            yield images, labels, names

    train.stream = stream


def slow_steps():
    """With PAUSE=seconds in the environment, every step takes that much longer."""
    whole = train.gradients

    def gradients(*arguments):
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return whole(*arguments)

    train.gradients = gradients


def faults():
    """FAULT="rank:step:kind" makes one rank fail at its step: raise, exit, or hang."""
    if not os.environ.get("FAULT"):
        return
    rank, step, kind = os.environ["FAULT"].split(":")
    whole = train.gradients

    def gradients(args, model, criterion, scaler, optimizer, batch, at):
        if runtime.mpi_rank() == int(rank) and at == int(step):
            if kind == "raise":
                raise RuntimeError("planted")
            if kind == "exit":
                sys.exit(0)
            if kind == "kill":
                os.kill(os.getpid(), 9)
            if kind == "nan":
                for images, *_ in batch:
                    images[:] = float("nan")
        return whole(args, model, criterion, scaler, optimizer, batch, at)

    train.gradients = gradients


def main():
    """Jittor, and what imports it, comes after runtime.start: the oddities are put in then."""
    begin = runtime.start

    def start(*arguments, **options):
        run = begin(*arguments, **options)
        odd_saves()
        return run

    runtime.start = start
    slow_steps()
    uneven_void()
    faults()
    train.main()


if __name__ == "__main__":
    runtime.run(main, "train.py")
