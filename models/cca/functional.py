"""`criss_cross_attention(q, k, v)`: definition, argument checks, choice of the backend."""

import functools
import sys

import jittor as jt

from .reference import criss_cross_attention_reference

BACKENDS = ("auto", "reference", "fused")
_reported = set()  # reasons for a fallback that were printed already


def criss_cross_attention(q, k, v, backend="auto"):
    """For each pixel, attention to the pixels of its row and column (itself once), without scaling:

        out[b, :, i, j] = sum over u of softmax_u(<q[b, :, i, j], k[b, :, u]>) v[b, :, u],   u in row i or column j

    q, k: (B, Cq, H, W), v: (B, C, H, W) -> (B, C, H, W). Volumes (B, C, H, W, D): the same over three axes.
    float16 and bfloat16: sums and softmax in float32; tensor cores on the GPU; on the CPU bfloat16 with AVX512-BF16 or
    AMX. Without them, and for float16 on the CPU, computed in float32 and rounded once.
    backend: `reference` (Jittor operations), `fused` (C++ or CUDA kernels that do not store the attention), `auto`
    (default: fused if available).
    """
    check(q, k, v)
    backend = resolve(backend, v.dtype)
    if v.numel() == 0:
        return jt.zeros(v.shape, v.dtype)
    if backend == "reference":
        return criss_cross_attention_reference(q, k, v)
    from .kernels import ChannelsLast, FusedBF16, FusedCPU, FusedCUDA

    if jt.flags.use_cuda:
        return FusedCUDA()(q, k, v)
    if v.dtype == "float64":
        return FusedCPU()(q, k, v)
    if v.dtype == "bfloat16" and has_bf16():
        return ChannelsLast(back=True)(FusedBF16()(*(ChannelsLast()(x) for x in (q, k, v))))
    return FusedCPU()(q.float32(), k.float32(), v.float32()).cast(v.dtype)


def channels_last_attention(q, k, v, backend="auto"):
    """The same for bfloat16 (B, S1, .., Sn, C), on a CPU for which has_bf16() is true."""
    if resolve(backend, v.dtype) == "fused":
        from .kernels import FusedBF16

        return FusedBF16()(q, k, v)
    from .kernels import ChannelsLast

    q, k, v = (ChannelsLast(back=True)(x).float32() for x in (q, k, v))
    return ChannelsLast()(criss_cross_attention_reference(q, k, v).bfloat16())


@functools.cache
def has_bf16():
    """Whether this processor multiplies bfloat16: AVX512-BF16, which processors with AMX have as well."""
    try:
        with open("/proc/cpuinfo") as file:
            return "avx512_bf16" in file.read().split()
    except OSError:
        return False


def resolve(backend, dtype="float32"):
    """-> "reference" or "fused". A RuntimeError if `backend` is "fused" and cannot run on this machine."""
    if backend not in BACKENDS:
        raise ValueError(f"unknown attention backend {backend!r}; choose from {', '.join(BACKENDS)}")
    if backend == "reference":
        return backend
    reason = why_not_fused()
    if jt.flags.use_cuda and dtype == "float64":
        reason = "the CUDA kernels take float32, float16 and bfloat16, not float64"
    if not reason:
        return "fused"
    if backend == "fused":
        raise RuntimeError(f"the fused attention cannot run here: {reason}. Fix: backend='auto' or 'reference'")
    if reason not in _reported:
        _reported.add(reason)
        print(f"attention: reference instead of fused, because {reason}", file=sys.stderr)
    return "reference"


def why_not_fused():
    """The reason why the fused kernels cannot run on this machine, or "" if they can."""
    if jt.flags.use_cuda:
        return ""
    if "g++" not in jt.flags.cc_path and "clang" not in jt.flags.cc_path:
        return f"the kernels need g++ or clang (Jittor uses {jt.flags.cc_path})"
    return ""


def check(q, k, v):
    """Raises a ValueError if dtypes or shapes do not match. Reads only metadata, runs no operator."""
    for name, x in (("query", q), ("key", k), ("value", v)):
        if not isinstance(x, jt.Var):
            raise ValueError(f"{name} is a {type(x).__name__}; expected a jittor Var, which jt.array(...) makes")
    q_shape, k_shape, v_shape = tuple(q.shape), tuple(k.shape), tuple(v.shape)
    shapes = f"query {q_shape}, key {k_shape}, value {v_shape}"
    if not len(q_shape) == len(k_shape) == len(v_shape) or len(q_shape) not in (4, 5):
        raise ValueError(f"{shapes}: expected (B, C, H, W) for all three, or (B, C, H, W, D)")
    if k_shape[1] != q_shape[1]:
        raise ValueError(f"{shapes}: query has {q_shape[1]} channels and key {k_shape[1]}; give both the same number")
    for name, other in (("key", k_shape), ("value", v_shape)):
        if (other[0], *other[2:]) != (q_shape[0], *q_shape[2:]):
            raise ValueError(f"{shapes}: {name} must have the batch, height and width of the query")
    if not (q.dtype == k.dtype == v.dtype):
        raise ValueError(f"query is {q.dtype}, key {k.dtype}, value {v.dtype}: cast them to one dtype first")
    if "float" not in str(q.dtype):
        raise ValueError(f"query, key and value are {q.dtype}; expected a floating dtype: x.float32() converts")
