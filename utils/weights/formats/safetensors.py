"""Safetensors: eight bytes of length, a JSON header {name: {dtype, shape, data_offsets}}, then the numbers.

load(path)                 -> ({name: array}, metadata), arrays being read-only views of the mapped file
save(path, arrays, meta)   -> whole or not at all; metadata are strings
"""

import json
import math
import re
import struct

import numpy as np

from utils.files import whole_file
from utils.weights.formats.pytorch import mapped
from utils.weights.formats.pytorch_pickle import widened

HEADER = 4 << 20  # bytes: a header of a thousand tensors has 100 kB
TYPES = {
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
NAMES = {np.dtype(kind): name for name, kind in TYPES.items() if name != "BF16"}


def is_safetensors(data):
    return len(data) > 9 and data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] <= len(data) - 8


def load(path):
    """One ValueError that begins with the path for whatever is wrong with the file."""
    data = mapped(path)
    try:
        return read(data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        said = str(error) if type(error) is ValueError else "its header makes no sense: damaged"
        raise ValueError(f"{path}: {said}") from None


def read(data):
    length = struct.unpack("<Q", data[:8])[0] if len(data) > 9 else 0
    if not 2 <= length <= min(len(data) - 8, HEADER):
        raise ValueError(f"a safetensors header of {length:,} bytes in a file of {len(data):,}: cut short or damaged")
    try:
        header = parsed(data[8 : 8 + length].tobytes().decode())
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is no JSON ({error.msg} at {error.pos}): damaged") from None
    metadata = header.pop("__metadata__", {})
    if not all(type(text) is str for pair in metadata.items() for text in pair):
        raise ValueError("its metadata are not strings")
    body, end, arrays = data[8 + length :], 0, {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in TYPES:
            raise ValueError(f"{name[:60]!r} is of type {str(entry['dtype'])[:20]!r}; known are {', '.join(TYPES)}")
        dtype, shape, (first, last) = np.dtype(TYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        if any(type(side) is not int or side < 0 for side in [*shape, first, last]) or len(shape) > 32:
            raise ValueError(f"{name[:60]!r} has a shape that is none")
        size = math.prod(shape) * dtype.itemsize
        if first != end or last - first != size or last > len(body):
            raise ValueError(
                f"{name[:60]!r} of shape {str(shape)[:100]} lies at {first} to {last} of {len(body):,} bytes: "
                "cut short or damaged"
            )
        end = last
        array = np.ndarray(shape, dtype, body[first:last]) if size else np.zeros(shape, dtype)
        if entry["dtype"] == "BOOL" and size and array.view(np.uint8).max() > 1:
            raise ValueError(f"{name[:60]!r} has truth values that are neither 0 nor 1: damaged")
        arrays[name] = widened(array) if entry["dtype"] == "BF16" else array
    if end != len(body):
        raise ValueError(f"{len(body) - end:,} bytes behind the last tensor: damaged")
    return arrays, metadata


def parsed(text):
    """JSON that is neither deep (Jittor lifts Python's limit of recursion, so the parser would not stop) nor double."""
    depth = 0
    for bracket in re.findall(r"[][{}]", text):
        depth += 1 if bracket in "[{" else -1
        if depth > 50:
            raise ValueError("JSON nested more than 50 deep: damaged")
    return json.loads(text, object_pairs_hook=each_once, parse_int=short)


def each_once(pairs):
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice in its header")
    return dict(pairs)


def short(text):
    """A whole number; a thousand digits would only keep the machine busy."""
    if len(text) > 20:
        raise ValueError("a number of more than 20 digits in its header: damaged")
    return int(text)


def save(path, arrays, metadata=None):
    arrays = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype not in NAMES:
            raise ValueError(f"{name} is of type {array.dtype}, which safetensors does not have")
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # so that every tensor is aligned
    header, end = {"__metadata__": dict(metadata)} if metadata else {}, 0
    for name in order:
        array = arrays[name]
        places = [end, end + array.nbytes]
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": places}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(path, sync=True) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(arrays[name].reshape(-1).view(np.uint8).data)
