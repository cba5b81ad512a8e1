from pathlib import Path

import jittor as jt
import numpy as np
import pytest
from support.ohem import ohem_by_numpy

from models import losses
from models.layers.resize import resize
from models.losses import category_consistency_losses, cross_entropy, ohem_label, segmentation_losses

GOLDEN = np.load(Path(__file__).resolve().parents[1] / "golden" / "losses.npz")


def by_numpy(logits, label, ignore=255, weight=None):
    rows = logits.transpose(0, 2, 3, 1).reshape(-1, logits.shape[1]).astype(float)
    flat = label.reshape(-1)
    logsumexp = np.log(np.exp(rows - rows.max(1, keepdims=True)).sum(1)) + rows.max(1)
    keep = flat != ignore
    terms = logsumexp - rows[np.arange(len(flat)), np.where(keep, flat, 0)]
    return np.average(terms[keep], weights=None if weight is None else weight[flat[keep]])


def example(rng, ignored_rows=3):
    logits = rng.standard_normal((2, 5, 7, 6)).astype(np.float32) * 3
    label = rng.integers(0, 5, (2, 7, 6)).astype(np.int32)
    label[:, :ignored_rows] = 255
    return logits, label


def test_cross_entropy_is_the_mean_over_valid_pixels(rng):
    logits, label = example(rng)
    result = cross_entropy(jt.array(logits), jt.array(label)).item()
    np.testing.assert_allclose(result, by_numpy(logits, label), rtol=1e-5)


def test_another_ignore_label(rng):
    logits, label = example(rng, 0)
    result = cross_entropy(jt.array(logits), jt.array(label), ignore=0).item()
    np.testing.assert_allclose(result, by_numpy(logits, label, ignore=0), rtol=1e-5)


def test_class_weights_with_an_ignore_label_above_the_number_of_classes(rng):
    logits, label = example(rng)
    weight = np.array([0.5, 1, 2, 4, 0.1], np.float32)
    result = cross_entropy(jt.array(logits), jt.array(label), class_weight=jt.array(weight)).item()
    np.testing.assert_allclose(result, by_numpy(logits, label, weight=weight), rtol=1e-5)


def test_the_loss_is_zero_without_valid_pixels():
    logits = jt.randn(2, 5, 7, 6)
    void = jt.full((2, 7, 6), 255).int32()
    for ohem in (None, {"thresh": 0.7, "min_kept": 0}, {"thresh": 0.7, "min_kept": 500}):
        loss = segmentation_losses([logits, logits], void, ohem=ohem)["loss"]
        assert loss.item() == 0 and (jt.grad(loss, logits).numpy() == 0).all()


def test_the_weight_of_the_auxiliary_loss_is_0_4():
    main, aux = jt.randn(2, 5, 4, 4), jt.randn(2, 5, 4, 4)
    label = jt.randint(0, 5, (2, 16, 16)).int32()
    values = {name: value.item() for name, value in segmentation_losses([main, aux], label).items()}
    np.testing.assert_allclose(values["loss"], values["main"] + 0.4 * values["aux"], rtol=1e-6)
    assert set(segmentation_losses([main], label)) == {"loss", "main"}


def test_the_mean_loss_of_the_parts_of_a_batch_is_that_of_the_batch(rng):
    """With `total`, the mean weight per part, even if the parts have different numbers of valid pixels."""
    logits, label = example(rng)
    label[0, :6] = 255
    whole = cross_entropy(jt.array(logits), jt.array(label)).item()
    total = jt.array([(label != 255).sum() / 2]).float32()
    halves = [
        cross_entropy(jt.array(logits[k : k + 1]), jt.array(label[k : k + 1]), total=total).item() for k in (0, 1)
    ]
    np.testing.assert_allclose(np.mean(halves), whole, rtol=1e-6)


def test_upsampling_keeps_the_corners():
    x = jt.array(np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4))
    up = resize(x, (9, 13)).numpy()[0, 0]
    np.testing.assert_allclose(up[[0, 0, -1, -1], [0, -1, 0, -1]], [0, 3, 8, 11], atol=1e-5)
    np.testing.assert_allclose(up[4, 6], 5.5, atol=1e-5)


@pytest.mark.parametrize(
    "small, large", [((3, 4), (9, 13)), ((13, 17), (97, 129)), ((9, 12), (65, 89)), ((1, 5), (8, 5))]
)
def test_the_gradient_of_upsampling_is_the_adjoint(rng, small, large):
    """<up(x), y> = <x, up*(y)>, and the sum of the gradient is the sum of y."""
    x0 = rng.standard_normal((2, 3, *small)).astype(np.float32)
    y = rng.standard_normal((2, 3, *large)).astype(np.float32) + 0.5
    x = jt.array(x0)
    up = resize(x, large)
    back = jt.grad((up * jt.array(y)).sum(), x).numpy().astype(float)
    np.testing.assert_allclose((up.numpy().astype(float) * y).sum(), (x0 * back).sum(), rtol=2e-5)
    np.testing.assert_allclose(back.sum(), y.sum(dtype=float), rtol=2e-5)


@pytest.mark.parametrize("case", ["ohem_a", "ohem_c"])
def test_ohem_equals_the_official_code(case):
    """Kept pixels, loss and both gradients."""
    g = {name: GOLDEN[f"{case}/{name}"] for name in ("main", "dsn", "label", "new_label", "min_kept", "dmain", "ddsn")}
    main, aux, label = jt.array(g["main"]), jt.array(g["dsn"]), jt.array(g["label"].astype(np.int32))
    ohem = {"thresh": 0.7, "min_kept": int(g["min_kept"])}
    kept = ohem_label(resize(main, label.shape[1:]), label, **ohem).numpy()
    np.testing.assert_array_equal(kept, g["new_label"])
    for options, total in ((ohem, GOLDEN[f"{case}/loss"]), (None, GOLDEN[f"{case}/loss_plain_dsn"])):
        loss = segmentation_losses([main, aux], label, ohem=options)["loss"]
        np.testing.assert_allclose(loss.item(), total, rtol=1e-5)
        if options:
            for result, expected in zip(jt.grad(loss, [main, aux]), (g["dmain"], g["ddsn"])):
                np.testing.assert_allclose(result.numpy(), expected, atol=1e-6 * abs(expected).max() + 1e-9, rtol=1e-4)


@pytest.mark.parametrize(
    "keep, regime", [(0, "given"), (64, "given"), (64 * 80, "raised"), (64 * 150, "all"), (10**9, "all")]
)
def test_ohem_in_every_regime(rng, keep, regime):
    label = rng.integers(0, 5, (2, 61, 76)).astype(np.int32)
    logits = rng.standard_normal((2, 5, 61, 76)).astype(np.float32) * 0.3
    np.put_along_axis(logits, label[:, None], 3.5, 1)  # probabilities above the given threshold
    logits[0, :, :20] = rng.standard_normal((5, 20, 76))
    label[:, 30:40] = 255
    expected, threshold = ohem_by_numpy(logits, label, 0.6, keep)
    assert regime == ("given" if threshold == 0.6 else "all" if threshold == 1 else "raised")
    result = ohem_label(jt.array(logits), jt.array(label), thresh=0.6, min_kept=keep).numpy()
    assert (result != expected).mean() < 1e-3  # rounding: probabilities at the threshold


def test_the_pixel_that_defines_the_threshold_is_kept(rng):
    """At 17x17 the coarse grid is the four corners, so the threshold is exactly the probability of a pixel."""
    label = rng.integers(0, 5, (2, 17, 17)).astype(np.int32)
    for _ in range(20):
        logits = rng.standard_normal((2, 5, 17, 17)).astype(np.float32)
        np.put_along_axis(logits, label[:, None], 3 + rng.random((2, 1, 17, 17)), 1)
        expected, _ = ohem_by_numpy(logits.astype(float), label, 0.1, 64 * 3)
        result = ohem_label(jt.array(logits), jt.array(label), thresh=0.1, min_kept=64 * 3).numpy()
        corners = result[:, ::16, ::16]
        assert (corners != 255).sum() == 3  # as many as requested, including the one at the threshold
        assert (result != expected).sum() == 0


def test_ohem_keeps_all_pixels_if_min_kept_requires_it():
    logits = jt.zeros((1, 5, 16, 16))
    logits[:, 2] = 100
    label = jt.full((1, 16, 16), 2).int32()
    assert (ohem_label(logits, label, min_kept=10**6).numpy() == 2).all()
    assert (ohem_label(logits, label, min_kept=0).numpy() == 255).all()


def test_category_consistency_equals_the_published_values_and_gradient():
    features = jt.array(GOLDEN["ccl_a/feat"].astype(np.float32))
    label = jt.array(GOLDEN["ccl_a/label"].astype(np.int32))
    parts = category_consistency_losses(features, label, 19)
    for name, key in (("var", "l_var"), ("dis", "l_dis"), ("reg", "l_reg"), ("ccl", "total")):
        np.testing.assert_allclose(parts[name].item(), GOLDEN[f"ccl_a/{key}"], rtol=1e-5)
    gradient = jt.grad(parts["ccl"], features).numpy()
    np.testing.assert_allclose(gradient, GOLDEN["ccl_a/dfeat"], atol=1e-5 * abs(GOLDEN["ccl_a/dfeat"]).max(), rtol=1e-3)


@pytest.mark.parametrize("value", [255, 3])
def test_category_consistency_with_at_most_one_class_is_finite(value):
    features = jt.randn(2, 16, 17, 13)
    parts = category_consistency_losses(features, jt.full((2, 17, 13), value).int32(), 19)
    assert parts["dis"].item() == 0 and np.isfinite(jt.grad(parts["ccl"], features).numpy()).all()
    assert (parts["ccl"].item() == 0) == (value == 255)


def test_category_consistent_loss_resizes_labels_by_nearest_neighbour():
    layer = losses.CategoryConsistentLoss(24, 19)
    x, label = jt.randn(2, 24, 17, 13), jt.randint(0, 19, (2, 129, 97)).int32()
    parts = layer(x, label)
    grads = jt.grad(parts["ccl"], layer.parameters())
    assert parts["ccl"].item() > 0 and abs(grads[0].numpy()).sum() > 0
    expected = category_consistency_losses(layer.reduce(x), jt.array(label.numpy()[:, ::8, ::8]), 19)["ccl"]
    np.testing.assert_allclose(parts["ccl"].item(), expected.item(), rtol=1e-6)
