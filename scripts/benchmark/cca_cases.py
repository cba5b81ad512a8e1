"""Cases of the benchmarks of criss-cross attention: inputs, numbers of operations, calls in Jittor and in PyTorch.

Each case is a function run(backward) -> [output], or [output, gradients..] with backward. Jittor's results are lazy:
the caller syncs them.
"""


def operations(name, batch, channels, height, width):
    """Of one forward pass without projections: each position attends to its row and column, or to all positions."""
    positions = height * width
    keys = positions if name in ("non-local", "torch-sdpa") else height + width
    return 2 * batch * positions * keys * (channels // 8 + channels)


def projections(batch, channels, height, width):
    return 2 * batch * height * width * channels * (2 * (channels // 8) + channels)


def arrays(batch, channels, height, width):
    """-> q, k (B, C // 8, H, W), v (B, C, H, W), and a gradient of the output, like v."""
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = [(batch, n, height, width) for n in (channels // 8, channels // 8, channels, channels)]
    return [rng.standard_normal(shape, dtype=np.float32) * 0.2 for shape in shapes]


def jittor_attention(name, q, k, v, gradient):
    import jittor as jt

    from models.cca import criss_cross_attention
    from models.cca.kernels import FusedCPU, FusedCUDA
    from models.layers.non_local import non_local

    fused = FusedCUDA if jt.flags.use_cuda else FusedCPU if v.dtype == "float32" else None

    def run(backward):
        if name == "fused" and fused:  # gets the gradient of the output, as PyTorch does; jt.grad needs a loss
            function = fused()
            out = function.execute(q, k, v)
            return [out, *function.grad(gradient)] if backward else [out]
        out = non_local(q, k, v) if name == "non-local" else criss_cross_attention(q, k, v, name)
        return [out, *jt.grad((out * gradient).sum(), [q, k, v])] if backward else [out]

    return run


def jittor_block(name, channels):
    """The block of the paper's table: projections, residual, R = 2 (non-local: one pass)."""
    from models.cca import RCCA
    from models.layers.non_local import NonLocal

    return NonLocal(channels, 1) if name == "non-local" else RCCA(channels, 2, name)


def jittor_module(block, x):
    import jittor as jt

    def run(backward):
        out = block(x)
        return [out, *jt.grad(out.sum(), [x, *block.parameters()])] if backward else [out]

    return run


def torch_attention(attention, inputs, gradient):
    """Gradients by .backward, as in a training step: they are contiguous, as Jittor's are."""
    import torch

    def run(backward):
        if not backward:
            with torch.no_grad():
                return [attention(*inputs).contiguous()]
        leaves = [x.detach().requires_grad_() for x in inputs]
        out = attention(*leaves).contiguous()  # the output has the layout of the inputs, and so has .grad
        out.backward(gradient)
        return [out, *(x.grad for x in leaves)]

    return run
