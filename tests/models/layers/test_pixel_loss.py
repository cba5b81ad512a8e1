"""Cross entropy of resized logits as one kernel, against the plain sibling and float64."""

import ctypes

import jittor as jt
import numpy as np
import pytest

from models.layers import pixel_loss
from models.layers.pixel_loss import coarse_fused, coarse_plain, fused, plain

CASES = [  # batch, classes, h, w, height, width
    (2, 19, 9, 13, 65, 97),
    (1, 150, 5, 7, 33, 49),
    (2, 3, 33, 5, 65, 20),
    (1, 5, 11, 17, 11, 17),
    (1, 2, 40, 70, 13, 19),  # smaller than the logits
    (2, 7, 1, 1, 6, 9),
    (1, 4, 6, 50, 7, 3),
]


def example(case, rng):
    batch, classes, h, w, height, width = case
    logits = rng.standard_normal((batch, classes, h, w)).astype(np.float32) * 4
    labels = rng.integers(0, classes, (batch, height, width)).astype(np.int32)
    labels[:, : height // 3, width // 2 :] = 255
    weights = rng.random(labels.shape).astype(np.float32) * (labels != 255)
    return logits, labels, weights


def run(function, logits, labels, weights, corners):
    """-> loss and log_sum at valid pixels, gradient of the weighted sum."""
    x = jt.array(logits)
    loss, log_sum = function(x, jt.array(labels), corners)
    gradient = jt.grad((loss * jt.array(weights.astype(logits.dtype))).sum(), x)
    loss, log_sum, gradient = (v.numpy() for v in (loss, log_sum, gradient))
    return loss * (labels != 255), log_sum, gradient


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_those_of_the_definition_in_float64(case, corners, rng):
    logits, labels, weights = example(case, rng)
    ours = run(fused, logits, labels, weights, corners)
    torch = pytest.importorskip("torch")
    x = torch.tensor(logits.astype(np.float64), requires_grad=True)
    up = torch.nn.functional.interpolate(x, labels.shape[1:], mode="bilinear", align_corners=corners)
    target = torch.tensor(labels).long()
    loss = torch.nn.functional.cross_entropy(up, target, ignore_index=255, reduction="none")
    (loss * torch.tensor(weights)).sum().backward()
    expected = loss.detach().numpy(), up.logsumexp(1).detach().numpy(), x.grad.numpy()
    for result, exact in zip(ours, expected):
        np.testing.assert_allclose(result, exact, atol=1e-5 * max(1, abs(exact).max()))


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("case", CASES[:4])
def test_the_kernel_equals_the_plain_sibling(case, corners, rng):
    data = example(case, rng)
    for result, expected in zip(run(fused, *data, corners), run(plain, *data, corners)):
        np.testing.assert_allclose(result, expected, atol=2e-5 * max(1, abs(expected).max()))


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("case", [(2, 5, 9, 13, 65, 97), (1, 19, 16, 12, 61, 76), (1, 3, 5, 5, 33, 33)])
def test_the_coarse_grid_of_ohem_is_that_of_the_plain_sibling(case, corners, rng):
    logits, labels, _ = example(case, rng)
    x, y = jt.array(logits), jt.array(labels)
    loss, log_sum = fused(x, y, corners)
    probability = (-loss).exp().minimum(1.0)
    ours, expected = (
        function(x, y, log_sum, probability, 255, 8, corners).numpy() for function in (coarse_fused, coarse_plain)
    )
    assert ours.shape == expected.shape and (ours == 2).sum() == (expected == 2).sum() > 0
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_results_do_not_depend_on_the_number_of_threads(rng):
    threads = ctypes.CDLL("libgomp.so.1")
    before, results = threads.omp_get_max_threads(), []
    data = example(CASES[0], rng)
    try:
        for count in (1, 2, 5):
            threads.omp_set_num_threads(count)
            results.append(run(fused, *data, True))
    finally:
        threads.omp_set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_makes_the_loss_nan(value, rng):
    logits, labels, weights = example((1, 5, 9, 9, 33, 33), rng)
    labels[:] = 1
    logits[0, 3, 4, 4] = value
    loss = fused(jt.array(logits), jt.array(labels))[0].numpy()
    assert np.isnan(loss[0, 16, 16]) and np.isfinite(loss[0, 0, 0])


def test_large_logits_neither_overflow_nor_vanish():
    logits = np.zeros((1, 3, 3, 3), np.float32)
    logits[:, 1] = 3e4
    labels = np.full((1, 9, 9), 2, np.int32)
    labels[0, 4] = 1
    loss = fused(jt.array(logits), jt.array(labels))[0].numpy()
    np.testing.assert_allclose(loss[0, 4], 0, atol=1e-6)
    np.testing.assert_allclose(loss[0, :4], 3e4)


def test_float32_on_the_cpu_uses_the_kernel(monkeypatch):
    monkeypatch.setattr(pixel_loss, "plain", None)
    assert pixel_loss.pixel_loss(jt.randn(1, 3, 3, 3), jt.zeros((1, 9, 9)).int32())[0].shape == [1, 9, 9]
