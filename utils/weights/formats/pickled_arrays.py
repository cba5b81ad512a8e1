"""What a pickle of PyTorch, Jittor or numpy may refer to: arrays, tensors and plain containers.

`Storage`, `Tensor` and `Array` are placeholders while the pickle is read: in legacy files the data follows it.
`pytorch.plain` turns them into numpy arrays, whose data stays where it is in the file.
"""

import re

import numpy as np

from utils.weights.formats.pickles import Attributes, Built, Unreadable, hashable

BOOL = np.dtype("?")
DTYPES = {  # storage class of PyTorch: dtype in PyTorch, in numpy
    "FloatStorage": ("float32", "<f4"),
    "DoubleStorage": ("float64", "<f8"),
    "HalfStorage": ("float16", "<f2"),
    "BFloat16Storage": ("bfloat16", "bfloat16"),
    "LongStorage": ("int64", "<i8"),
    "IntStorage": ("int32", "<i4"),
    "ShortStorage": ("int16", "<i2"),
    "CharStorage": ("int8", "i1"),
    "ByteStorage": ("uint8", "u1"),
    "BoolStorage": ("bool", "?"),
    "ComplexFloatStorage": ("complex64", "<c8"),
    "ComplexDoubleStorage": ("complex128", "<c16"),
    "UntypedStorage": ("uint8", "u1"),
    **{f"UInt{bits}Storage": (f"uint{bits}", f"<u{bits // 8}") for bits in (16, 32, 64)},
}


def count_of(number):
    """Check a count, an offset or a side length."""
    if type(number) is not int or not 0 <= number < 1 << 62:
        shown = number if type(number) is int else f"a {type(number).__name__}"
        raise Unreadable(f"{shown} where a count is expected: damaged")
    return number


def checked(values):
    if values.dtype == BOOL and values.view(np.uint8).max(initial=0) > 1:
        raise Unreadable("a Boolean value that is neither 0 nor 1: damaged")
    return values


def widened(values):
    """bfloat16, as uint16, -> float32: the missing 16 bits are zeros."""
    values = (values.astype("<u4") << 16).view("<f4")
    values.flags.writeable = False
    return values


# numpy


class Dtype(Built):
    def __init__(self, name, *_):
        if type(name) is not str or not re.fullmatch("[fiubc][0-9]{1,2}", name):
            shown = repr(name[:20]) if type(name) is str else "an unknown dtype"
            raise Unreadable(f"numpy arrays of {shown}; expected numbers")
        self.dtype = np.dtype(name)

    def build(self, state):
        if state[1] == ">":
            raise Unreadable("a big-endian numpy array; save it on a little-endian machine")


class Array(Built):
    """numpy's _reconstruct: an empty array; its state holds shape, dtype and data."""

    data = None

    def __init__(self, *_):
        pass

    def build(self, state):
        _, self.shape, dtype, self.fortran, self.data = state
        if not isinstance(dtype, Dtype) or type(self.shape) is not tuple or len(self.shape) > 32:
            raise Unreadable("a numpy array of objects, or a damaged one")
        self.dtype, size = dtype.dtype, dtype.dtype.itemsize
        for side in self.shape:
            size *= count_of(side)
        self.data = as_bytes(self.data)
        if size != len(self.data):
            raise Unreadable(f"a numpy array of shape {self.shape} with {len(self.data)} bytes: damaged"[:200])

    def array(self):
        if self.data is None:
            raise Unreadable("a numpy array without its data")
        order = "F" if self.fortran is True else "C"
        return checked(np.ndarray(self.shape, self.dtype, self.data if len(self.data) else None, order=order))


def from_buffer(data, dtype, shape, order):
    array = Array()
    array.build((1, shape, dtype, order == "F", data))
    return array


def as_bytes(data=b"", encoding="latin1"):
    """Bytes in a pickle: as such, or, in protocol 2, as text in latin1."""
    if encoding != "latin1" or not isinstance(data, (str, bytes, bytearray, memoryview)):
        raise Unreadable("bytes in an unknown encoding")
    return memoryview(data.encode("latin1")) if type(data) is str else memoryview(data)


def scalar(dtype, data):
    if not isinstance(dtype, Dtype) or len(as_bytes(data)) != dtype.dtype.itemsize:
        raise Unreadable("a damaged numpy scalar")
    return np.frombuffer(as_bytes(data), dtype.dtype)[0].item()


# PyTorch


class Element:
    """A storage class or a dtype of PyTorch."""

    def __init__(self, name, numpy_name):
        self.name, self.bfloat16 = name, numpy_name == "bfloat16"
        self.dtype = np.dtype("<u2" if self.bfloat16 else numpy_name)


class Storage:
    """`count` elements; `data`, their bytes, may be assigned later."""

    def __init__(self, element, count):
        self.element, self.count, self.bytes, self.data = element, count, count * element.dtype.itemsize, None


class Tensor:
    """A view of a storage, checked to stay inside; offset and strides count elements."""

    def __init__(self, storage, offset, shape, strides, element):
        self.storage, self.offset, self.shape, self.strides, self.element = storage, offset, shape, strides, element

    def array(self):
        dtype, data = self.element.dtype, self.storage.data
        if data is None:
            raise Unreadable("a tensor without its data: damaged")
        if 0 in self.shape:
            values = np.zeros(self.shape, dtype)
        else:
            strides = [step * dtype.itemsize if n > 1 else dtype.itemsize for n, step in zip(self.shape, self.strides)]
            values = np.ndarray(self.shape, dtype, data, self.offset * dtype.itemsize, strides)
        return widened(values) if self.element.bfloat16 else checked(values)


def parameter(tensor, *_):
    if not isinstance(tensor, Tensor):
        raise Unreadable("a parameter that is not a tensor")
    return tensor


# Containers


def dictionary(items=()):
    """OrderedDict(): empty, or from the pairs that Python 2 wrote."""
    pairs = items.items() if isinstance(items, dict) else items
    return {hashable(key): value for key, value in pairs}


def members(items=()):
    if type(items) is not list:
        raise Unreadable("a damaged set")
    return set(map(hashable, items))


def size(sides=()):
    return tuple(map(count_of, sides)) if type(sides) is tuple else ()


def device(*parts):
    return ":".join(str(part)[:20] for part in parts if type(part) in (str, int))


def table(tensor):
    """{"module.name": its replacement}: all that a file of weights may refer to. tensor(...) rebuilds a tensor."""

    def version3(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata=None):
        return tensor(storage, offset, shape, strides, requires_grad, hooks, metadata, dtype)

    def from_type(function, cls, arguments, state):  # a tensor with attributes, which are ignored
        if function not in (tensor, version3, parameter):
            raise Unreadable("a tensor of an unknown class")
        return function(*arguments)

    names = {
        "numpy.ndarray": "numpy.ndarray",
        "numpy.dtype": Dtype,
        "_codecs.encode": as_bytes,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": version3,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        "torch._tensor._rebuild_from_type_v2": from_type,
        "torch.Tensor": "torch.Tensor",
        "torch._tensor.Tensor": "torch.Tensor",
        "torch.nn.parameter.Parameter": "torch.nn.Parameter",
        "torch.Size": size,
        "torch.device": device,
        "collections.OrderedDict": dictionary,
        "collections.Counter": dictionary,
        "argparse.Namespace": Attributes,
        "builtins.set": members,
        "builtins.frozenset": members,
        "builtins.complex": complex,
        "builtins.bytes": as_bytes,
        "builtins.bytearray": as_bytes,
        "jittor.jittor_core.Var": lambda array: array,
        "jittor_core.Var": lambda array: array,
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray._reconstruct"] = Array
        names[f"{core}.multiarray.scalar"] = scalar
        names[f"{core}.numeric._frombuffer"] = from_buffer
    for name, (dtype, numpy_name) in DTYPES.items():
        for module in ("torch", "torch.cuda", "torch.storage"):
            names[f"{module}.{name}"] = Element(name, numpy_name)
        names[f"torch.{dtype}"] = Element(dtype, numpy_name)
    return names
