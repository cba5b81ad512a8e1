"""What a pickle may refer to of numpy: arrays of numbers and numbers. Their bytes stay where they are, in the file."""

import re

import numpy as np

from utils.weights.formats.pickles import Built, Unreadable

BOOL = np.dtype("?")


def whole(number):
    """A count, an offset, a side: nothing else passes."""
    if type(number) is not int or not 0 <= number < 1 << 62:
        shown = number if type(number) is int else f"a {type(number).__name__}"
        raise Unreadable(f"{shown} where a count is expected: damaged")
    return number


def checked(values):
    if values.dtype == BOOL and values.view(np.uint8).max(initial=0) > 1:
        raise Unreadable("a truth value that is neither 0 nor 1: damaged")
    return values


class Dtype(Built):
    def __init__(self, name, *_):
        if type(name) is not str or not re.fullmatch("[fiubc][0-9]{1,2}", name):
            shown = repr(name[:20]) if type(name) is str else "an unknown type"
            raise Unreadable(f"numpy arrays of {shown}; expected numbers")
        self.dtype = np.dtype(name)

    def build(self, state):
        if state[1] == ">":
            raise Unreadable("a big-endian numpy array; save it on a little-endian machine")


class Array(Built):
    """numpy's _reconstruct: an empty array whose shape, type and bytes come as its state."""

    data = None

    def __init__(self, *_):
        pass

    def build(self, state):
        _, self.shape, dtype, self.fortran, self.data = state
        if not isinstance(dtype, Dtype) or type(self.shape) is not tuple or len(self.shape) > 32:
            raise Unreadable("a numpy array of objects, or a damaged one")
        self.dtype, size = dtype.dtype, dtype.dtype.itemsize
        for side in self.shape:
            size *= whole(side)
        self.data = as_bytes(self.data)
        if size != len(self.data):
            raise Unreadable(f"a numpy array of shape {self.shape} with {len(self.data)} bytes: damaged"[:200])

    def array(self):
        if self.data is None:
            raise Unreadable("a numpy array without its numbers")
        order = "F" if self.fortran is True else "C"
        return checked(np.ndarray(self.shape, self.dtype, self.data if len(self.data) else None, order=order))


def from_buffer(data, dtype, shape, order):
    array = Array()
    array.build((1, shape, dtype, order == "F", data))
    return array


def as_bytes(data=b"", encoding="latin1"):
    """Bytes in a pickle: as such, or, in protocol 2, as text in latin1."""
    if encoding != "latin1" or not isinstance(data, (str, bytes, bytearray, memoryview)):
        raise Unreadable("bytes in an unknown spelling")
    return memoryview(data.encode("latin1")) if type(data) is str else memoryview(data)


def number(dtype, data):
    if not isinstance(dtype, Dtype) or len(as_bytes(data)) != dtype.dtype.itemsize:
        raise Unreadable("a damaged numpy number")
    return np.frombuffer(as_bytes(data), dtype.dtype)[0].item()


TABLE = {
    "numpy.ndarray": "numpy.ndarray",
    "numpy.dtype": Dtype,
    "_codecs.encode": as_bytes,
    "builtins.bytes": as_bytes,
    "builtins.bytearray": as_bytes,
}
for core in ("numpy.core", "numpy._core"):
    TABLE[f"{core}.multiarray._reconstruct"] = Array
    TABLE[f"{core}.multiarray.scalar"] = number
    TABLE[f"{core}.numeric._frombuffer"] = from_buffer
