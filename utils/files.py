"""Atomic writes."""

import os
from contextlib import contextmanager


@contextmanager
def whole_file(path, mode="wb", sync=False, **options):
    """Write `path` atomically: a file with a temporary name beside it, renamed when the block ends without an error,
    else removed.

    `sync`: flush it to the disk before it is renamed, so that it survives a power failure (for checkpoints).
    """
    path = os.fspath(path)
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(part, mode, **options) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)
