"""train.py that prints for each step how often Python waited for the device, and the messages with gradients.

    python tests/support/watched.py --model ccnet_r18 --dataset scenes --input-size 65 --batch-size 2 --num-steps 2

The variable FAULT works as in tiny.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tiny  # noqa: E402


def watch():
    """Called when Jittor has been imported."""
    import jittor as jt

    from utils.training import buckets

    counts = {"reads": 0, "messages": 0}

    def count(owner, name, what, when=lambda *arguments: True):
        original = getattr(owner, name)

        def call(*arguments, **options):
            counts[what] += bool(when(*arguments, *options.values()))
            return original(*arguments, **options)

        setattr(owner, name, call)

    for name in ("numpy", "item", "fetch_sync"):
        count(jt.Var, name, "reads")
    count(jt, "sync_all", "reads", lambda *arguments: any(arguments))
    count(buckets, "packed", "messages")
    original = tiny.train.train_step

    def train_step(*arguments):
        before = dict(counts)
        original(*arguments)
        new = {name: counts[name] - before[name] for name in counts}
        print(f"rank {jt.rank}: {new['reads']} reads, {new['messages']} messages", flush=True)

    tiny.train.train_step = train_step


begin = tiny.runtime.start


def start(*arguments, **options):
    machine = begin(*arguments, **options)
    watch()
    return machine


tiny.runtime.start = start

if __name__ == "__main__":
    tiny.runtime.run(tiny.main, "train.py")
