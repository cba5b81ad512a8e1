"""What the networks of released Jittor ports compute differently, so that their weights give their own numbers."""

from models.cca import RCCA
from models.cca.reference import criss_cross_energies, weighted_sum


class WholeSoftmaxRCCA(RCCA):
    """RCCA whose softmax runs over all H * W * (H + W) energies of an image instead of over those of each pixel.

    One port calls its softmax layer without an axis, which in Jittor reduces over the whole tensor. The weights of a
    pixel then add up to about 1 / (H * W), and the module is nearly the identity. The port's softmax includes the batch
    as well; it evaluates one image at a time.
    """

    def attend(self, q, k, v):
        energies = criss_cross_energies(q, k)  # (B, H, W, H + W)
        most = energies.max((1, 2, 3), keepdims=True).stop_grad()
        parts = (energies - most).exp()
        total = parts.sum((1, 2, 3), keepdims=True)
        return weighted_sum(parts / total, v)

    def execute(self, x):
        self.check(x)  # volumes are refused when the network is built (models/video.py)
        for _ in range(self.recurrence):
            out = self.attend(self.query_conv(x), self.key_conv(x), self.value_conv(x))
            x = self.gamma * out + x
        return x
