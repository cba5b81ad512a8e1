"""Runs the CUDA kernels on the CPU with cuda_standin.h, on numpy arrays; and the attention in numpy, in float64."""

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

SUPPORT = Path(__file__).resolve().parent
STANDIN = SUPPORT / "cuda_standin.h"
SRC = SUPPORT.parents[1] / "models" / "cca" / "src"
TYPES = ("float32", "float16", "bfloat16")


def build(source=SUPPORT / "cuda_cca.cc", src=SRC, flags=()):
    """Compiles `source` with the stand-in, once for each content of the files. -> path of the library"""
    headers = {*Path(src).glob("*.h"), *Path(src).glob("*.cuh"), *SRC.glob("*.cuh")}
    files = [Path(source), STANDIN, SUPPORT / "guarded.h", *sorted(headers)]
    key = hashlib.sha256(b"".join(f.read_bytes() for f in files) + repr((flags, str(src))).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"ccnet-standin-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{key}.so"
    if not library.exists():
        new = folder / f"{key}.{os.getpid()}.so"
        command = ["g++", "-std=c++14", "-O2", "-Wall", "-Wno-unknown-pragmas", "-shared", "-fPIC", *flags]
        command += ["-include", STANDIN, "-I", src, source, "-o", new]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
        os.replace(new, library)
    return library


def plant(file, text, replacement):
    """Make an error in the copy of a source: `text`, which occurs once, is replaced."""
    source = file.read_text()
    assert source.count(text) == 1, f"{source.count(text)} places in {file.name}"
    file.write_text(source.replace(text, replacement))


def to_type(x, dtype):
    """A float array rounded to `dtype`. bfloat16, which numpy does not have, is returned as uint16."""
    if dtype != "bfloat16":
        return x.astype(dtype)
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def to_float64(x, dtype):
    return (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64) if dtype == "bfloat16" else x.astype("f8")


class Kernels:
    """The compiled kernels; the default device is like an H200. Outputs are filled with NaN before each call."""

    def __init__(self, library):
        self.library = ctypes.CDLL(str(library))
        self.library.cca_forward.restype = self.library.cca_backward.restype = ctypes.c_char_p

    def device(self, shared=232448, processors=132, major=9):
        self.library.cca_device(shared, processors, major)

    def launches(self):
        """(blocks, threads, bytes of shared memory) of each launch since `device`."""
        numbers, n = (ctypes.c_int * 3)(), 0
        while self.library.cca_launch(n, numbers):
            yield tuple(numbers)
            n += 1

    def plan(self, dtype, kernel, axis, shape, shared, processors, major=9):
        """The tiles of `kernel` (statistics, values, gradients) for shape (batch, cq, c, height, width)."""
        numbers = (ctypes.c_int * 8)()
        number = ("statistics", "values", "gradients").index(kernel)
        self.library.cca_plan(TYPES.index(dtype), number, axis, *shape, shared, processors, major, numbers)
        return dict(zip(("lines", "queries", "round", "keys", "parts", "threads", "bytes", "ahead"), numbers))

    def call(self, name, dtype, q, v, *rest):
        sides = (ctypes.c_int * (v.ndim - 2))(*v.shape[2:])
        head = TYPES.index(dtype), v.shape[0], q.shape[1], v.shape[1], v.ndim - 2, sides
        error = getattr(self.library, name)(*head, *rest).decode()
        if error:
            raise RuntimeError(error)

    def forward(self, q, k, v, dtype="float32", by_image=False):
        """-> out, stats"""
        out, stats = poisoned(v.shape, v.dtype), poisoned((2, v.shape[0], *v.shape[2:]))
        sums = out if dtype == "float32" else poisoned(v.shape[1:] if by_image else v.shape)
        self.call("cca_forward", dtype, q, v, *map(pointer, (q, k, v, out, stats, sums)), int(by_image))
        return out, stats

    def backward(self, q, k, v, out, stats, g, dtype="float32"):
        """-> dq, dk, dv"""
        to = [poisoned(x.shape, x.dtype) for x in (q, k, v)]
        sums = to if dtype == "float32" else [poisoned(x.shape) for x in to]
        sums = [*sums, poisoned(stats.shape[1:])]
        self.call("cca_backward", dtype, q, v, *(pointers(arrays) for arrays in ((q, k, v, out, stats, g), to, sums)))
        return to

    def run(self, q, k, v, g, dtype="float32"):
        """-> out, dq, dk, dv in float64; the inputs are rounded to `dtype` first."""
        q, k, v, g = (to_type(x, dtype) for x in (q, k, v, g))
        out, stats = self.forward(q, k, v, dtype)
        return [to_float64(x, dtype) for x in (out, *self.backward(q, k, v, out, stats, g, dtype))]


def jittor_source(monkeypatch, kernels):
    """Makes FusedCUDA run on the CPU: its source is compiled by g++ with the stand-in instead of nvcc. -> sources"""
    header = f'#include "{STANDIN}"\n{kernels.CUDA_HEADER}'
    header += "#define float16 __half\n#define bfloat16 __nv_bfloat16\n"
    sources = []

    def to_gpp(source):
        sources.append(source)
        names = sorted(set(re.findall(r"\b((?:in|out)\d+)_p\b", source)))
        buffers = [f'standin::Buffer buffer_{n}("{n}", {n}_p, {n}->size, {int(n[0] == "o")});\n' for n in names]
        return {"cpu_header": header, "cpu_src": "".join(buffers) + source}

    monkeypatch.setattr(kernels, "cuda_source", to_gpp)
    return sources


def pointer(x):
    assert x.flags.c_contiguous
    return ctypes.c_void_p(x.ctypes.data)


def pointers(arrays):
    return (ctypes.c_void_p * len(arrays))(*(x.ctypes.data for x in arrays))


def poisoned(shape, dtype=np.float32):
    return np.full(np.prod(shape) * np.dtype(dtype).itemsize, 255, np.uint8).view(dtype).reshape(shape)


def draw(rng, sides, batch=1, cq=3, c=10):
    """-> q, k, v and the gradient of out, in float64."""
    return [rng.standard_normal((batch, n, *sides)) for n in (cq, cq, c, c)]


def rounded(inputs, dtype):
    return [to_float64(to_type(x, dtype), dtype) for x in inputs]


def distances(results, expected):
    """The largest error of each array, relative to its largest value if that is above 1."""
    return [np.abs(a - b).max() / max(np.abs(b).max(), 1) for a, b in zip(results, expected)]


def attention(q, k, v, g=None):
    """-> out or, with the gradient g of out, (out, dq, dk, dv), by einsum in float64."""
    sides = q.shape[2:]
    energies, letters = [], "hwd"[: len(sides)]
    for axis, m in enumerate(letters):
        other = letters.replace(m, "x")
        energy = np.einsum(f"bc{letters},bc{other}->b{letters}x", q, k)
        if axis < len(sides) - 1:  # the position itself is counted on the last axis only
            here = np.arange(sides[axis])
            at = [slice(None)] * (len(sides) + 2)
            at[1 + axis], at[-1] = here, here
            energy[tuple(at)] = -np.inf
        energies.append(energy)
    energies = np.concatenate(energies, -1)
    w = np.exp(energies - energies.max(-1, keepdims=True))
    w = np.split(w / w.sum(-1, keepdims=True), np.cumsum(sides)[:-1], axis=-1)
    pairs = [(letters, letters.replace(m, "x")) for m in letters]
    out = sum(np.einsum(f"b{here}x,bc{there}->bc{here}", a, v) for a, (here, there) in zip(w, pairs))
    if g is None:
        return out
    delta = (g * out).sum(1)[..., None]
    d = [a * (np.einsum(f"bc{here},bc{there}->b{here}x", g, v) - delta) for a, (here, there) in zip(w, pairs)]
    dq = sum(np.einsum(f"b{here}x,bc{there}->bc{here}", a, k) for a, (here, there) in zip(d, pairs))
    dk = sum(np.einsum(f"b{here}x,bc{here}->bc{there}", a, q) for a, (here, there) in zip(d, pairs))
    dv = sum(np.einsum(f"b{here}x,bc{here}->bc{there}", a, g) for a, (here, there) in zip(w, pairs))
    return out, dq, dk, dv
