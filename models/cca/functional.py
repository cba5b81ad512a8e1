"""`criss_cross_attention(q, k, v)`: checks the arguments, picks a backend, states the maths."""

import sys

import jittor as jt

from .reference import criss_cross_attention_reference

CHOICES = ("auto", "reference", "fused")
_said = set()  # fallbacks are reported once, not at every step


def criss_cross_attention(q, k, v, backend="auto"):
    """For each pixel, the softmax of <q, k> over its row and its column (itself once), applied to v. No scaling.

        out[b, :, i, j] = sum over u of softmax_u(<q[b, :, i, j], k[b, :, u]>) v[b, :, u],   u in row i or column j

    q, k: (B, Cq, H, W), v: (B, C, H, W) -> (B, C, H, W); volumes (B, C, H, W, D) likewise, over three axes.
    float16 and bfloat16: on the CPU computed in float32 and rounded once; on the GPU by tensor cores, with sums and
    softmax in float32.
    backend: `reference` (plain operations), `fused` (C++ or CUDA kernels, no attention stored), `auto` (fused where it
    runs).
    """
    check(q, k, v)
    backend = resolve(backend, v.dtype)
    if v.numel() == 0:
        return jt.zeros(v.shape, v.dtype)
    if backend == "reference":
        return criss_cross_attention_reference(q, k, v)
    from .kernels import FusedCPU, FusedCUDA

    if jt.flags.use_cuda:
        return FusedCUDA()(q, k, v)
    if v.dtype == "float64":
        return FusedCPU()(q, k, v)
    return FusedCPU()(q.float32(), k.float32(), v.float32()).cast(v.dtype)


def resolve(backend, dtype="float32"):
    """The backend that a choice stands for on this machine. What is asked for by name and cannot run is an error."""
    if backend not in CHOICES:
        raise ValueError(f"unknown attention backend {backend!r}; choose from {', '.join(CHOICES)}")
    if backend == "reference":
        return backend
    reason = why_not_fused()
    if jt.flags.use_cuda and dtype == "float64":
        reason = "the CUDA kernels take float32, float16 and bfloat16, not float64"
    if not reason:
        return "fused"
    if backend == "fused":
        raise RuntimeError(f"the fused attention cannot run here: {reason}. Next: backend='auto' or 'reference'")
    if reason not in _said:
        _said.add(reason)
        print(f"attention: reference instead of fused, because {reason}", file=sys.stderr)
    return "reference"


def why_not_fused():
    """ "" where the kernels run; else the reason."""
    if jt.flags.use_cuda:
        return ""
    if "g++" not in jt.flags.cc_path and "clang" not in jt.flags.cc_path:
        return f"the kernels need g++ or clang (Jittor uses {jt.flags.cc_path})"
    return ""


def check(q, k, v):
    """A ValueError that names what does not fit and what to do, before anything is launched. Only metadata is read."""
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
