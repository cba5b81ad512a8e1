"""Runs the CUDA kernels of models/layers on the CPU with cuda_standin.h, on numpy arrays."""

import ctypes
from pathlib import Path

import numpy as np
from support.cuda_cca import SUPPORT, TYPES, build, pointer, poisoned, to_float64, to_type

SRC = SUPPORT.parents[1] / "models" / "layers" / "src"


def load(src=SRC, flags=()):
    library = ctypes.CDLL(str(build(SUPPORT / "cuda_layers.cc", Path(src), flags)))
    for name in ("run_norm", "run_merge", "run_pixel_loss", "run_resize"):
        getattr(library, name).restype = ctypes.c_char_p
    library.run_norm.argtypes = [ctypes.c_int] * 5 + [ctypes.c_float] * 2 + [ctypes.c_void_p]
    return library


def call(function, *arguments):
    error = function(*arguments).decode()
    if error:
        raise RuntimeError(error)


def addresses(arrays):
    return (ctypes.c_void_p * len(arrays))(*(None if a is None else a.ctypes.data for a in arrays))


def moved(x, by):
    """A copy of x that starts `by` elements behind a multiple of 16 bytes."""
    room = np.zeros(x.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 16 + by * x.itemsize
    copy = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def norm(library, x, weight, bias, g, add=None, slope=1.0, dtype="float32", slices=3, shifts=(0, 0)):
    """Forward and backward of BatchNorm. -> y, mean, var, dx, d_weight, d_bias, d_add (or None), in float64.

    shifts: elements by which x, and all other maps, start behind a multiple of 16 bytes.
    """
    x, g, add = (None if a is None else to_type(a, dtype) for a in (x, g, add))
    (batch, channels), area = x.shape[:2], int(np.prod(x.shape[2:]))
    maps = [x, add, poisoned(x.shape, x.dtype), g, poisoned(x.shape, x.dtype), poisoned(x.shape, x.dtype)]
    maps = [None if a is None else moved(a, shifts[n > 0]) for n, a in enumerate(maps)]
    weight, bias = (np.ascontiguousarray(a, np.float32) for a in (weight, bias))
    mean, var = poisoned((channels,)), poisoned((channels,))
    both = poisoned((2, channels))
    rest = [weight, bias, mean, var, poisoned((1,)), poisoned((2 * channels + 1,)), both]
    rest.append(poisoned((slices, 3, channels)))
    call(library.run_norm, TYPES.index(dtype), batch, channels, area, slices, 1e-5, slope, addresses(maps + rest))
    y, dx, d_add = (to_float64(maps[n], dtype) for n in (2, 4, 5))
    if slope == 1:
        d_add = to_float64(g, dtype)
    return y, mean, var, dx, both[1].astype("f8"), both[0].astype("f8"), None if add is None else d_add


def pixel_loss(library, logits, labels, g, corners, dtype="float32", factor=8, ignore=255, probability=None):
    """-> loss, log_sum, d_logits in float64, points (batch, rows * columns)."""
    logits = np.ascontiguousarray(to_type(logits, dtype))
    rows, columns = (max(round(side / factor), 1) for side in labels.shape[1:])
    g = np.ascontiguousarray(g, np.float32)
    loss, log_sum, d_logits = poisoned(labels.shape), poisoned(labels.shape), poisoned(logits.shape, logits.dtype)
    points = poisoned((labels.shape[0], rows * columns))
    probability = np.zeros_like(g) if probability is None else np.ascontiguousarray(probability, np.float32)
    sizes = (ctypes.c_int * 6)(*logits.shape, *labels.shape[1:])
    arrays = addresses([logits, labels, loss, log_sum, g, probability, points, d_logits])
    head = TYPES.index(dtype), labels.itemsize, sizes, int(corners), rows, columns, ignore
    call(library.run_pixel_loss, *head, arrays)
    return loss, log_sum, to_float64(d_logits, dtype), points


def interpolation(size, to, corners):
    """(to, size): bilinear interpolation along one axis as a matrix."""
    n = np.arange(to)
    at = n * ((size - 1) / max(to - 1, 1)) if corners else np.clip((n + 0.5) * size / to - 0.5, 0, size - 1)
    low = np.minimum(at.astype(int), size - 1)
    weights = np.zeros((to, size))
    weights[n, low] += 1 - (at - low)
    weights[n, np.minimum(low + 1, size - 1)] += at - low
    return weights


def resize(library, x, g, corners, dtype="float32"):
    """x (planes, h, w), g (planes, height, width) -> y, dx in float64."""
    x, g = (np.ascontiguousarray(to_type(a, dtype)) for a in (x, g))
    y, dx = poisoned(g.shape, g.dtype), poisoned(x.shape, x.dtype)
    sizes = (ctypes.c_int * 5)(*x.shape, *g.shape[1:])
    call(library.run_resize, TYPES.index(dtype), sizes, int(corners), *map(pointer, (x, y, g, dx)))
    return to_float64(y, dtype), to_float64(dx, dtype)


def merge(library, rows):
    """rows (ranks, 2 * channels + 1) -> mean, var, count"""
    rows = np.ascontiguousarray(rows, np.float32)
    channels = rows.shape[1] // 2
    outputs = [poisoned((channels,)), poisoned((channels,)), poisoned((1,))]
    call(library.run_merge, channels, len(rows), pointer(rows), *map(pointer, outputs))
    return outputs
