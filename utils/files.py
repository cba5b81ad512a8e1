"""Files that appear whole or not at all."""

import os
from contextlib import contextmanager


@contextmanager
def whole_file(path, mode="wb", sync=False, **options):
    """An open file under a temporary name beside `path`, renamed when the block ends well, else removed.

    `sync`: its bytes are on the disk before it gets the name, as a checkpoint wants it.
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
