"""Atomic writes."""

import os
from contextlib import contextmanager


@contextmanager
def whole_file(path, mode="wb", sync=False, **options):
    """An open file under a temporary name beside `path`: renamed when the block succeeds, deleted when it raises.

    `sync`: the data is on the disk before the file gets its name, and the name before this returns.
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
        if sync:
            sync_folder(os.path.dirname(os.path.abspath(path)))
    finally:
        if os.path.exists(part):
            os.remove(part)


def sync_folder(folder):
    """Write the names of a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
