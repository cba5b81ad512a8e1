import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models.layers import conv as conv_layer
from models.layers.conv import Conv2d

CASES = [  # batch, in, out, height, width, kernel, stride, dilation
    (2, 16, 32, 13, 17, 3, 1, 1),
    (1, 32, 16, 9, 12, 3, 2, 1),
    (3, 16, 16, 7, 5, 3, 1, 4),
    (1, 48, 32, 5, 1, 1, 2, 1),
    (1, 16, 64, 1, 1, 3, 1, 2),
    (2, 32, 16, 2, 300, 3, 1, 4),
    (2, 3, 16, 11, 8, 7, 2, 1),  # three channels: Jittor's convolution
]


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_equal_those_of_jittors_convolution(case, rng):
    batch, inside, out, h, w, kernel, stride, dilation = case
    ours = Conv2d(inside, out, kernel, stride, dilation * (kernel // 2), dilation)
    x = jt.array(rng.standard_normal((batch, inside, h, w), dtype=np.float32))
    results = []
    for execute in (ours, lambda x: nn.Conv2d.execute(ours, x)):
        y = execute(x)
        weight = np.random.default_rng(3).standard_normal(tuple(y.shape), dtype=np.float32)
        results.append([y, *jt.grad((y * jt.array(weight)).sum(), [x, ours.weight, ours.bias])])
    for a, b in zip(*results):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-5, rtol=2e-5)


def test_the_rounding_error_of_long_sums_is_small(rng):
    """Sums of 9216 terms: the error is below 3e-6; a single running sum would have 2e-5."""
    if conv_layer.folder() is None:
        pytest.skip("needs oneDNN 2.6 and AVX-512")
    conv = Conv2d(1024, 16, 3, padding=1, bias=False)
    x = rng.standard_normal((1, 1024, 5, 6), dtype=np.float32)
    weight = rng.standard_normal((16, 1024, 3, 3), dtype=np.float32) / 96
    conv.weight.assign(jt.array(weight))
    padded = np.pad(x[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    expected = sum(
        np.einsum("oc,chw->ohw", weight[:, :, a, b].astype(np.float64), padded[:, a : a + 5, b : b + 6])
        for a in range(3)
        for b in range(3)
    )
    assert np.abs(conv(jt.array(x)).numpy()[0] - expected).max() < 3e-6


def test_without_onednn_jittors_convolution_is_used(monkeypatch):
    monkeypatch.setattr(conv_layer, "folder", lambda: None)
    monkeypatch.setattr(conv_layer, "call", None)  # would fail
    assert Conv2d(16, 16, 3, padding=1)(jt.ones((1, 16, 4, 4))).numpy().shape == (1, 16, 4, 4)
