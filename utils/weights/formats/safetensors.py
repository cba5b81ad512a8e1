"""Safetensors: eight bytes of length, a JSON header {name: {dtype, shape, data_offsets}}, then the data.

load(path)                 -> ({name: array}, metadata); the arrays are read-only views of the mapped file
read(data)                 -> the same, from the bytes of the file
save(path, arrays, meta)   atomically; the values of the metadata are strings
"""

import json
import math
import re
import struct

import numpy as np

from utils.files import whole_file
from utils.weights.formats import mapped
from utils.weights.formats.pickled_arrays import widened

HEADER = 4 << 20  # bytes: a header of a thousand tensors has 100 kB
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items() if name != "BF16"}


def is_safetensors(data):
    return len(data) > 9 and data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] <= len(data) - 8


def load(path):
    """`read` of a file. Whatever is wrong with it is one ValueError that begins with the path."""
    data = mapped(path)
    try:
        return read(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read(data):
    try:
        return parse(data)
    except (UnicodeError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise ValueError("its header has an invalid structure: damaged") from None


def parse(data):
    length = struct.unpack("<Q", data[:8])[0] if len(data) > 9 else 0
    if not 2 <= length <= min(len(data) - 8, HEADER):
        raise ValueError(f"a safetensors header of {length:,} bytes in a file of {len(data):,}: truncated or damaged")
    try:
        header = parse_json(data[8 : 8 + length].tobytes().decode())
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is not valid JSON ({error.msg} at {error.pos}): damaged") from None
    metadata = header.pop("__metadata__", {})
    if not all(type(text) is str for pair in metadata.items() for text in pair):
        raise ValueError("its metadata values are not strings")
    body, end, arrays = data[8 + length :], 0, {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{name[:60]!r} has dtype {str(entry['dtype'])[:20]!r}; supported are {', '.join(DTYPES)}")
        dtype, shape, (first, last) = np.dtype(DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        if any(type(side) is not int or side < 0 for side in [*shape, first, last]) or len(shape) > 32:
            raise ValueError(f"{name[:60]!r} has an invalid shape")
        size = math.prod(shape) * dtype.itemsize
        if first != end or last - first != size or last > len(body):
            raise ValueError(
                f"{name[:60]!r} of shape {str(shape)[:100]} lies at {first} to {last} of {len(body):,} bytes: "
                "truncated or damaged"
            )
        end = last
        array = np.ndarray(shape, dtype, body[first:last]) if size else np.zeros(shape, dtype)
        if entry["dtype"] == "BOOL" and size and array.view(np.uint8).max() > 1:
            raise ValueError(f"{name[:60]!r} has Boolean values that are neither 0 nor 1: damaged")
        arrays[name] = widened(array) if entry["dtype"] == "BF16" else array
    if end != len(body):
        raise ValueError(f"{len(body) - end:,} bytes after the last tensor: damaged")
    return arrays, metadata


def parse_json(text):
    """JSON without repeated keys or deep nesting: Jittor lifts Python's recursion limit, which stops the parser."""
    depth = 0
    for bracket in re.findall(r"[][{}]", text):
        depth += 1 if bracket in "[{" else -1
        if depth > 50:
            raise ValueError("JSON nested more than 50 deep: damaged")
    return json.loads(text, object_pairs_hook=unique_keys, parse_int=short_integer)


def unique_keys(pairs):
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice in its header")
    return dict(pairs)


def short_integer(text):
    """An integer: converting one of many thousand digits would take long."""
    if len(text) > 20:
        raise ValueError("a number of more than 20 digits in its header: damaged")
    return int(text)


def save(path, arrays, metadata=None):
    arrays = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype not in NAMES:
            raise ValueError(f"{name} has dtype {array.dtype}, which safetensors does not support")
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # keeps every tensor aligned
    header, end = {"__metadata__": dict(metadata)} if metadata else {}, 0
    for name in order:
        array = arrays[name]
        offsets = [end, end + array.nbytes]
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(path, sync=True) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(arrays[name].reshape(-1).view(np.uint8).data)
