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
    if v.numel() == 0:
        return jt.zeros(v.shape, v.dtype)
    if resolve(backend, v.dtype) == "reference":
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
    shapes = f"query {tuple(q.shape)}, key {tuple(k.shape)}, value {tuple(v.shape)}"
    if len(q.shape) not in (4, 5):
        raise ValueError(f"{shapes}: expected (B, C, H, W) or (B, C, H, W, D)")
    if tuple(q.shape) != tuple(k.shape):
        raise ValueError(f"{shapes}: query and key must have the same shape; both come from in_dim // 8 channels")
    if len(v.shape) != len(q.shape) or v.shape[0] != q.shape[0] or tuple(v.shape[2:]) != tuple(q.shape[2:]):
        raise ValueError(f"{shapes}: value must have the batch and the picture size of the query")
    if not (q.dtype == k.dtype == v.dtype):
        raise TypeError(f"query is {q.dtype}, key {k.dtype}, value {v.dtype}: cast them to one type first")
    if "float" not in str(q.dtype):
        raise TypeError(f"query, key and value are {q.dtype}; attention needs a floating type")
