"""Resizing and cross entropy on the GPU: the kernels, run on the CPU with tests/support/cuda_standin.h."""

import types

import jittor as jt
import numpy as np
import pytest
from support import cuda_layers
from support.cuda_cca import TYPES, jittor_source, rounded

from models import losses
from models.layers import pixel_loss

CASES = [  # batch, classes, h, w, height, width
    (2, 19, 9, 13, 65, 97),
    (1, 151, 5, 7, 33, 49),
    (3, 3, 33, 5, 65, 20),
    (1, 5, 11, 17, 11, 17),
    (1, 2, 40, 70, 13, 19),  # smaller than the logits
    (2, 33, 1, 1, 6, 9),
    (1, 1, 6, 50, 7, 3),
    (1, 4, 7, 1, 1, 8),
    (1, 3, 3, 4, 23, 1),
]
BOUNDS = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3}  # of the gradient, relative to its largest value


@pytest.fixture(scope="module")
def library():
    return cuda_layers.load()


def example(case, rng, dtype="float32"):
    batch, classes, h, w, height, width = case
    logits = rounded([rng.standard_normal((batch, classes, h, w)) * 4], dtype)[0]
    labels = rng.integers(0, classes, (batch, height, width)).astype(np.int32)
    labels[:, : height // 3, width // 2 :] = 255
    return logits, labels, rng.random(labels.shape).astype(np.float32) * (labels != 255)


def by_definition(logits, labels, g, corners):
    """-> loss (0 where the label is not a class), log_sum, gradient of the logits, in float64."""
    rows, columns = (cuda_layers.interpolation(a, b, corners) for a, b in zip(logits.shape[2:], labels.shape[1:]))
    x = np.einsum("yi,bkij,xj->bkyx", rows, logits, columns)
    log_sum = np.log(np.exp(x - x.max(1, keepdims=True)).sum(1)) + x.max(1)
    at_label = np.arange(x.shape[1])[:, None, None] == labels[:, None]
    loss = np.where(labels < x.shape[1], log_sum - (x * at_label).sum(1), 0)
    dx = g[:, None] * (np.exp(x - log_sum[:, None]) - at_label)
    return loss, log_sum, np.einsum("yi,bkyx,xj->bkij", rows, dx, columns)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_those_of_the_definition(library, rng, case, corners, dtype):
    logits, labels, g = example(case, rng, dtype)
    labels = labels if dtype == "float32" else labels.astype(np.uint8)
    results = cuda_layers.pixel_loss(library, logits, labels, g, corners, dtype)
    bounds = BOUNDS["float32"], BOUNDS["float32"], BOUNDS[dtype]
    for result, expected, bound in zip(results, by_definition(logits, labels, g, corners), bounds):
        np.testing.assert_allclose(result, expected, atol=bound * max(1, abs(expected).max()), rtol=0)


def test_results_are_bitwise_reproducible_and_do_not_depend_on_the_dtype_of_labels(library, rng):
    logits, labels, g = example(CASES[0], rng)
    first, *others = (
        cuda_layers.pixel_loss(library, logits, a, g, True) for a in (labels, labels, labels.astype("u1"))
    )
    for other in others:
        for a, b in zip(first, other):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_makes_the_loss_nan(library, rng, value):
    logits, labels, g = example((1, 5, 9, 9, 33, 33), rng)
    labels[:] = 1
    logits[0, 3, 4, 4] = value
    loss, log_sum, d_logits, _ = cuda_layers.pixel_loss(library, logits, labels, g + 1, True)
    assert np.isnan(loss[0, 16, 16]) and np.isnan(log_sum[0, 16, 16]) and np.isfinite(loss[0, 0, 0])
    assert np.isnan(d_logits[0, :, 4, 4]).all() and np.isfinite(d_logits[0, :, 0, 0]).all()


def test_large_logits_neither_overflow_nor_vanish(library):
    logits = np.zeros((1, 3, 3, 3))
    logits[:, 1] = 3e4
    labels = np.full((1, 9, 9), 2, np.uint8)
    labels[0, 4] = 1
    loss, _, d_logits, _ = cuda_layers.pixel_loss(library, logits, labels, np.ones(labels.shape), True, "float16")
    np.testing.assert_allclose(loss[0, 4], 0, atol=1e-6)
    np.testing.assert_allclose(loss[0, :4], 3e4)
    assert np.isfinite(d_logits).all()


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize(
    "case", [(2, 5, 9, 13, 65, 97), (1, 19, 16, 12, 61, 76), (1, 3, 5, 5, 33, 33), (1, 2, 2, 2, 3, 488)]
)
def test_the_coarse_grid_of_ohem_is_that_of_the_plain_sibling(library, case, corners, rng):
    logits, labels, g = example(case, rng)
    _, log_sum, *_ = cuda_layers.pixel_loss(library, logits, labels, g, corners)
    probability = rng.random(labels.shape).astype(np.float32)
    *_, points = cuda_layers.pixel_loss(library, logits, labels, g, corners, probability=probability)
    inputs = (jt.array(a.astype(t)) for a, t in ((logits, "f4"), (labels, "i4"), (log_sum, "f4"), (probability, "f4")))
    expected = pixel_loss.coarse_plain(*inputs, 255, 8, corners).numpy()
    assert (points == 2).sum() == (expected == 2).sum() > 0
    np.testing.assert_allclose(points.reshape(-1), expected, atol=1e-5)


def test_errors_contain_the_shape(library, rng):
    logits, labels, g = example((2, 3, 4, 5, 6, 7), rng)
    library.set_processors(132)
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (1, 1 << 16, 1 << 16), (0, 0, 0))
    sizes = (cuda_layers.ctypes.c_int * 6)(1, 3, 4, 5, *huge.shape[1:])
    with pytest.raises(RuntimeError, match="too large .batch 1, 3 classes, logits 4x5, labels 65536x65536"):
        cuda_layers.call(library.run_pixel_loss, 0, 1, sizes, 1, 1, 1, 255, cuda_layers.addresses([None] * 8))


@pytest.mark.parametrize("label_type", ["int32", "uint8"])
@pytest.mark.parametrize("dtype", TYPES)
def test_jittor_calls_the_kernels_with_the_right_arguments(monkeypatch, rng, dtype, label_type):
    """Shapes, dtypes and source of pixel_loss.py, expanded by Jittor; the coarse grid, too."""
    jittor_source(monkeypatch, pixel_loss)
    logits, labels, g = example((2, 5, 9, 13, 65, 97), rng, dtype)
    x, y = jt.array(logits.astype("f4")).cast(dtype), jt.array(labels.astype(label_type))
    loss, log_sum = pixel_loss.cuda(x, y, True)
    gradient = jt.grad((loss * jt.array(g)).sum(), x)
    assert gradient.dtype == dtype and loss.dtype == log_sum.dtype == "float32"
    results = [v.float32().numpy() for v in (loss, log_sum, gradient)]
    for result, expected in zip(results, by_definition(logits, labels, g, True)):
        np.testing.assert_allclose(result, expected, atol=BOUNDS[dtype] * max(1, abs(expected).max()), rtol=0)
    points = pixel_loss.coarse_cuda(x, y, log_sum, loss, 255, 8).numpy()
    plain = pixel_loss.coarse_plain(x.float32(), y.int32(), log_sum, loss, 255, 8).numpy()
    np.testing.assert_allclose(points, plain, atol=1e-5)


def test_logits_on_the_gpu_go_to_the_kernels(monkeypatch):
    monkeypatch.setattr(pixel_loss, "jt", types.SimpleNamespace(flags=types.SimpleNamespace(use_cuda=1)))
    monkeypatch.setattr(pixel_loss, "cuda", lambda *inputs: "cuda")
    monkeypatch.setattr(pixel_loss, "plain", lambda *inputs: "plain")
    logits = types.SimpleNamespace(ndim=4, dtype="bfloat16")
    assert pixel_loss.pixel_loss(logits, None) == "cuda"
    logits.dtype = "float64"
    assert pixel_loss.pixel_loss(logits, None) == "plain"


@pytest.mark.parametrize("options", [{}, {"ohem": {"thresh": 0.6, "min_kept": 500}}, {"dice": 0.5}])
def test_labels_of_uint8_give_the_losses_of_int32(rng, options):
    """All losses, with class weights; the gradient, too."""
    logits, labels, _ = example((2, 5, 9, 9, 33, 33), rng)
    weight = jt.array(rng.random(5).astype(np.float32))
    results = []
    for y in (labels, labels.astype(np.uint8)):
        x = [jt.array(logits.astype(np.float32)) for _ in range(2)]
        parts = losses.segmentation_losses(x, jt.array(y), class_weight=weight, **options)
        results.append([parts["loss"].numpy(), *(d.numpy() for d in jt.grad(parts["loss"], x))])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.cuda
@pytest.mark.skipif(not jt.flags.use_cuda, reason="needs a GPU: CCNET_TEST_DEVICE=cuda pytest -m cuda")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("case", [*CASES, (2, 19, 97, 97, 769, 769)])
def test_on_a_card(rng, case, dtype):
    logits, labels, g = example(case, rng, dtype)
    x, results = jt.array(logits.astype("f4")).cast(dtype), []
    for y in (labels, labels.astype(np.uint8)):
        loss, log_sum = pixel_loss.pixel_loss(x, jt.array(y))
        gradient = jt.grad((loss * jt.array(g)).sum(), x)
        results.append([v.float32().numpy() for v in (loss, log_sum, gradient)])
    for first, second in zip(*results):
        np.testing.assert_array_equal(first, second)
    for result, expected in zip(results[0], by_definition(logits, labels, g, True)):
        np.testing.assert_allclose(result, expected, atol=2 * BOUNDS[dtype] * max(1, abs(expected).max()), rtol=0)
