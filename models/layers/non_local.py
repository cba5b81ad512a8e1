"""Non-local attention: every pixel attends to all pixels. For comparison with criss-cross attention only."""

import jittor as jt
from jittor import nn


def non_local(q, k, v):
    """q, k: (B, Cq, H, W), v: (B, C, H, W) -> (B, C, H, W), without scaling. Stores the attention: HW x HW per image.

    One image at a time: Jittor multiplies batches without oneDNN.
    """
    (_, c, h, w), outs = v.shape, []
    for b in range(v.shape[0]):
        q1, k1, v1 = (x[b].reshape((-1, h * w)) for x in (q, k, v))
        weights = nn.softmax(jt.matmul(q1.transpose(1, 0), k1), dim=-1)  # (HW, HW)
        outs.append(jt.matmul(v1, weights.transpose(1, 0)).reshape((1, c, h, w)))
    return jt.concat(outs, dim=0)


class NonLocal(nn.Module):
    """(B, C, H, W) -> gamma * attention + x, `recurrence` times; the state-dict keys are those of RCCA."""

    def __init__(self, in_dim, recurrence=1):
        self.query_conv = nn.Conv2d(in_dim, in_dim // 8, 1)
        self.key_conv = nn.Conv2d(in_dim, in_dim // 8, 1)
        self.value_conv = nn.Conv2d(in_dim, in_dim, 1)
        self.gamma = jt.zeros(1)
        self.recurrence = recurrence

    def execute(self, x):
        for _ in range(self.recurrence):
            x = self.gamma * non_local(self.query_conv(x), self.key_conv(x), self.value_conv(x)) + x
        return x
