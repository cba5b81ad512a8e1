"""Writes the zip format of PyTorch: what torch.load(path, weights_only=True) opens, without PyTorch."""

import struct
import zipfile

import numpy as np

from utils.files import whole_file
from utils.weights.formats.pickled_arrays import DTYPES

STORAGES = {np.dtype(dtype): name for name, (_, dtype) in DTYPES.items() if name[:4] not in ("BFlo", "UInt", "Unty")}


def save(path, tree):
    """dicts, lists, tuples, strings, numbers and arrays, in PyTorch's zip format, written atomically."""
    arrays = []
    text = pickled(tree, arrays)
    with whole_file(path, sync=True) as file, zipfile.ZipFile(file, "w") as archive:
        write_member(archive, "data.pkl", text)
        write_member(archive, "byteorder", b"little")
        for number, array in enumerate(arrays):
            write_member(archive, f"data/{number}", array.reshape(-1).view(np.uint8).data)
        write_member(archive, "version", b"3\n")


def write_member(archive, name, content):
    """At a multiple of 64 bytes, as PyTorch does, so that it can be mapped into memory."""
    info = zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0))
    info.file_size = len(content)
    start = archive.fp.tell() + 30 + len(info.filename) + 4
    padding = -start % 64
    info.extra = struct.pack("<2s H", b"FB", padding) + b"Z" * padding
    with archive.open(info, "w") as member:
        member.write(content)


def pickled(tree, arrays):
    """The pickle of protocol 2; arrays are appended to `arrays` and become data/0, data/1 .."""
    return b"\x80\x02" + encode(tree, arrays) + b"."


def encode(item, arrays):
    if isinstance(item, np.ndarray):
        return encode_tensor(item, arrays)
    if item is None or isinstance(item, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[item]
    if isinstance(item, int):
        if -(1 << 31) <= item < 1 << 31:
            return b"J" + struct.pack("<i", item)
        count = item.bit_length() // 8 + 1
        return b"\x8a" + bytes([count]) + item.to_bytes(count, "little", signed=True)
    if isinstance(item, float):
        return b"G" + struct.pack(">d", item)
    if isinstance(item, str):
        return b"X" + struct.pack("<I", len(item.encode())) + item.encode()
    if isinstance(item, dict):
        return b"}(" + b"".join(encode(part, arrays) for pair in item.items() for part in pair) + b"u"
    if isinstance(item, (list, tuple)):
        start, end = (b"(", b"t") if isinstance(item, tuple) else (b"](", b"e")
        return start + b"".join(encode(part, arrays) for part in item) + end
    raise ValueError(f"a file of weights cannot hold a {type(item).__name__}")


def encode_tensor(array, arrays):
    array = np.require(array, requirements="C").astype(array.dtype.newbyteorder("<"), copy=False)
    if array.dtype not in STORAGES:
        raise ValueError(f"PyTorch has no tensors of {array.dtype}")
    key, strides = str(len(arrays)), [1]
    for side in array.shape[:0:-1]:
        strides.insert(0, strides[0] * max(side, 1))
    arrays.append(array)
    storage = b"ctorch\n" + STORAGES[array.dtype].encode() + b"\n"
    storage = b"(" + encode("storage", []) + storage + b"".join(encode(x, []) for x in (key, "cpu", array.size)) + b"tQ"
    where = b"".join(encode(x, []) for x in (0, array.shape, tuple(strides[: array.ndim]), False))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + where + b"ccollections\nOrderedDict\n)RtR"
