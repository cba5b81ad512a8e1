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


def non_local(q, k, v):
    """Every position attends to all positions. One image at a time: Jittor multiplies batches without oneDNN."""
    import jittor as jt

    (_, c, h, w), outs = v.shape, []
    for b in range(v.shape[0]):
        q1, k1, v1 = (x[b].reshape((-1, h * w)) for x in (q, k, v))
        weights = jt.nn.softmax(jt.matmul(q1.transpose(1, 0), k1), dim=-1)  # (HW, HW)
        outs.append(jt.matmul(v1, weights.transpose(1, 0)).reshape((1, c, h, w)))
    return jt.concat(outs, dim=0)


def jittor_attention(name, q, k, v, gradient):
    import jittor as jt

    from models.cca import criss_cross_attention
    from models.cca.kernels import FusedCPU, FusedCUDA

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
    from models.cca import RCCA, CrissCrossAttention

    class NonLocal(CrissCrossAttention):
        def execute(self, x):
            return self.gamma * non_local(self.query_conv(x), self.key_conv(x), self.value_conv(x)) + x

    return NonLocal(channels) if name == "non-local" else RCCA(channels, 2, name)


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
