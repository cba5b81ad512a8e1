import jittor as jt
import numpy as np

from models.losses import cross_entropy, segmentation_loss, upsample


def by_numpy(logits, label, ignore=255):
    rows = logits.transpose(0, 2, 3, 1).reshape(-1, logits.shape[1]).astype(float)
    flat = label.reshape(-1)
    logsumexp = np.log(np.exp(rows - rows.max(1, keepdims=True)).sum(1)) + rows.max(1)
    keep = flat != ignore
    return (logsumexp - rows[np.arange(len(flat)), np.where(keep, flat, 0)])[keep].mean()


def test_cross_entropy_is_the_mean_over_valid_pixels(rng):
    logits = rng.standard_normal((2, 5, 7, 6)).astype(np.float32) * 3
    label = rng.integers(0, 5, (2, 7, 6)).astype(np.int32)
    label[:, :3] = 255
    got = cross_entropy(jt.array(logits), jt.array(label)).item()
    np.testing.assert_allclose(got, by_numpy(logits, label), rtol=1e-5)


def test_another_ignore_label(rng):
    logits = rng.standard_normal((1, 5, 7, 6)).astype(np.float32)
    label = rng.integers(0, 5, (1, 7, 6)).astype(np.int32)
    got = cross_entropy(jt.array(logits), jt.array(label), ignore=0).item()
    np.testing.assert_allclose(got, by_numpy(logits, label, ignore=0), rtol=1e-5)


def test_nothing_but_void_gives_zero_and_no_nan():
    logits = jt.randn(1, 5, 7, 6)
    loss = cross_entropy(logits, jt.full((1, 7, 6), 255).int32())
    assert loss.item() == 0 and (jt.grad(loss, logits).numpy() == 0).all()


def test_auxiliary_loss_counts_four_tenths():
    main, aux = jt.randn(2, 5, 4, 4), jt.randn(2, 5, 4, 4)
    label = jt.randint(0, 5, (2, 16, 16)).int32()
    losses = {name: value.item() for name, value in segmentation_loss([main, aux], label).items()}
    np.testing.assert_allclose(losses["loss"], losses["main"] + 0.4 * losses["aux"], rtol=1e-6)
    assert set(segmentation_loss([main], label)) == {"loss", "main"}


def test_upsampling_keeps_the_corners():
    x = jt.array(np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4))
    up = upsample(x, (9, 13)).numpy()[0, 0]
    np.testing.assert_allclose(up[[0, 0, -1, -1], [0, -1, 0, -1]], [0, 3, 8, 11], atol=1e-5)
    np.testing.assert_allclose(up[4, 6], 5.5, atol=1e-5)
