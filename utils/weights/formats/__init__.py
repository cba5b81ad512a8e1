"""One file a format. Each reads from the bytes of a file, which `mapped` opens once."""

import mmap
import os


def mapped(path):
    """The file as a memoryview, mapped into memory: bytes are read from the disk when they are used."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"no checkpoint {path}")
    if not os.path.isfile(path):
        raise ValueError(f"{path} is a folder or a device; expected a file of weights")
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise ValueError(f"{path} is empty; was its download interrupted?")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
