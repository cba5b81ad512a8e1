"""What a pickle of PyTorch, Jittor or numpy may refer to, made of numpy arrays.

Stand-ins (`Storage`, `Tensor`, `Array`) are what the pickle machine handles; `plain` turns them into arrays at the end,
when legacy files have told where their bytes are.
"""

import numpy as np

from utils.weights.formats import numpy_pickle
from utils.weights.formats.numpy_pickle import Array, checked, whole
from utils.weights.formats.pickles import SCALARS, Attributes, Unreadable, hashable

MAGIC = 0x1950A86A20F9469CFC6C  # PyTorch's legacy files begin with it
DEPTH = 100  # containers within containers
TYPES = {  # storage class, dtype in PyTorch, in numpy
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
    "UInt16Storage": ("uint16", "<u2"),
    "UInt32Storage": ("uint32", "<u4"),
    "UInt64Storage": ("uint64", "<u8"),
}


class Kind:
    """A type of elements: a storage class or a dtype of PyTorch."""

    def __init__(self, name, numpy_name):
        self.name, self.bfloat16 = name, numpy_name == "bfloat16"
        self.dtype = np.dtype("<u2" if self.bfloat16 else numpy_name)


class Storage:
    """`count` elements of a kind; `data`, their bytes, may come later."""

    def __init__(self, kind, count):
        self.kind, self.count, self.bytes, self.data = kind, count, count * kind.dtype.itemsize, None


class Tensor:
    """A view of a storage, checked to stay inside; offset and strides count elements."""

    def __init__(self, storage, offset, shape, strides, kind):
        self.storage, self.offset, self.shape, self.strides, self.kind = storage, offset, shape, strides, kind

    def array(self):
        dtype, data = self.kind.dtype, self.storage.data
        if data is None:
            raise Unreadable("a tensor without its bytes: damaged")
        if 0 in self.shape:
            values = np.zeros(self.shape, dtype)
        else:
            strides = [step * dtype.itemsize if n > 1 else dtype.itemsize for n, step in zip(self.shape, self.strides)]
            values = np.ndarray(self.shape, dtype, data, self.offset * dtype.itemsize, strides)
        return widened(values) if self.kind.bfloat16 else checked(values)


def widened(values):
    """bfloat16, as uint16, -> float32: the missing 16 bits are zeros."""
    values = (values.astype("<u4") << 16).view("<f4")
    values.flags.writeable = False
    return values


class Files:
    """The storages of one file, and the bytes that all its tensors may claim: some share, but not without end."""

    def __init__(self, size):
        self.storages, self.budget, self.size = {}, 16 * size + 65536, size

    def spend(self, count, what):
        self.budget -= count
        if self.budget < 0:
            raise Unreadable(f"{what} claims {count:,} bytes in a file of {self.size:,}")

    def storage(self, kind, key, count, find=None):
        key = key if type(key) is str else str(whole(key))
        if key not in self.storages:
            if not isinstance(kind, Kind) or whole(count) * kind.dtype.itemsize > self.size:
                claim = f"{count:,} elements" if isinstance(kind, Kind) else "elements of an unknown type"
                raise Unreadable(f"storage {key[:40]!r} claims {claim} in a file of {self.size:,} bytes")
            self.storages[key] = Storage(kind, count)
            if find:
                self.storages[key].data = find()
                if len(self.storages[key].data) != self.storages[key].bytes:
                    raise Unreadable(f"storage {key[:40]!r} has not the length announced: damaged")
        return self.storages[key]

    def view(self, storage, key, offset, count):
        if whole(offset) + whole(count) > storage.count:
            raise Unreadable("a view that leaves its storage")
        return Tensor(storage, offset, (count,), (1,), storage.kind)

    def tensor(self, storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None, dtype=None):
        if isinstance(storage, Tensor):  # a legacy view of a storage
            offset, storage = whole(offset) + storage.offset, storage.storage
        if not isinstance(storage, Storage) or metadata:
            raise Unreadable("a tensor without its storage, or a conjugate view of one")
        kind = dtype or storage.kind
        if not isinstance(kind, Kind) or type(shape) is not tuple or len(shape) != len(strides) or len(shape) > 32:
            raise Unreadable("a tensor whose shape or type makes no sense")
        size = 1
        for side in shape:
            size *= whole(side)
        self.spend(size * kind.dtype.itemsize, f"a tensor of shape {shape}"[:200])
        last = whole(offset) + (sum((n - 1) * whole(step) for n, step in zip(shape, strides)) if size else -1)
        if (last + 1) * kind.dtype.itemsize > storage.bytes:
            raise Unreadable(f"a tensor of shape {shape} leaves its storage of {storage.count} elements")
        return Tensor(storage, offset, shape, strides, kind)


def dictionary(items=()):
    """OrderedDict(): empty, or from the pairs that Python 2 wrote."""
    pairs = items.items() if isinstance(items, dict) else items
    return {hashable(key): value for key, value in pairs}


def members(items=()):
    if type(items) is not list:
        raise Unreadable("a damaged set")
    return set(map(hashable, items))


def size(sides=()):
    return tuple(map(whole, sides)) if type(sides) is tuple else ()


def device(*parts):
    return ":".join(str(part)[:20] for part in parts if type(part) in (str, int))


def table(files):
    """{"module.name": what stands for it}: the whole of what a file of weights may mention."""

    def v3(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata=None):
        return files.tensor(storage, offset, shape, strides, requires_grad, hooks, metadata, dtype)

    def from_type(function, kind, arguments, state):  # a tensor with attributes, which are let go
        if function not in (files.tensor, v3, parameter):
            raise Unreadable("a tensor of an unknown class")
        return function(*arguments)

    def parameter(tensor, *_):
        if not isinstance(tensor, Tensor):
            raise Unreadable("a parameter that is no tensor")
        return tensor

    def var(array):  # Jittor's
        return array

    found = {
        **numpy_pickle.TABLE,
        "torch._utils._rebuild_tensor": files.tensor,
        "torch._utils._rebuild_tensor_v2": files.tensor,
        "torch._utils._rebuild_tensor_v3": v3,
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
        "builtins.complex": complex,
        "builtins.frozenset": members,
        "jittor.jittor_core.Var": var,
        "jittor_core.Var": var,
    }
    for name, (dtype, numpy_name) in TYPES.items():
        for module in ("torch", "torch.cuda", "torch.storage"):
            found[f"{module}.{name}"] = Kind(name, numpy_name)
        found[f"torch.{dtype}"] = Kind(dtype, numpy_name)
    return found


def plain(tree, files):
    """Stand-ins -> arrays, at any depth up to DEPTH; whatever else is no plain value is refused."""
    done = {}  # id -> value and height, since parts may be shared; in the making: as high as what contains itself

    def walk(item, room):
        if type(item) in SCALARS or type(item) is complex:
            return item, 0
        if id(item) not in done:
            done[id(item)] = (None, DEPTH + 1)
            done[id(item)] = make(item, room)
        value, height = done[id(item)]
        if height > room:
            raise Unreadable(f"containers nested more than {DEPTH} deep, or one within itself")
        return value, height

    def make(item, room):
        if isinstance(item, (Tensor, Array)):
            array = item.array()
            files.spend(array.nbytes, f"an array of shape {array.shape}"[:200])
            return array, 0
        if isinstance(item, memoryview):
            return bytes(item), 0
        if isinstance(item, Kind):
            return f"torch.{item.name}", 0
        if not isinstance(item, (dict, list, tuple, set, frozenset)):
            raise Unreadable(f"a {type(item).__name__}, which is no tensor, number, string or plain container")
        if room == 0:
            raise Unreadable(f"containers nested more than {DEPTH} deep")
        parts = [walk(part, room - 1) for part in (item.values() if isinstance(item, dict) else item)]
        height = 1 + max((part[1] for part in parts), default=0)
        values = [part[0] for part in parts]
        if isinstance(item, dict):
            return dict(zip(item, values)), height
        return (tuple if type(item) is tuple else list if type(item) is list else set)(values), height

    return walk(tree, DEPTH)[0]
