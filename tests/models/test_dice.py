"""The soft Dice loss beside a plain rendering in NumPy and PyTorch."""

import jittor as jt
import numpy as np
import pytest

from models import dice
from models.losses import segmentation_losses

SHAPES = [(2, 5, 7, 6), (3, 4, 1, 9), (1, 3, 13, 1)]


def example(rng, shape):
    logits = rng.standard_normal(shape).astype(np.float32) * 3
    label = rng.integers(0, shape[1] - 1, (shape[0], *shape[2:])).astype(np.int32)  # the last class never occurs
    label[rng.random(label.shape) < 0.3] = 255
    return logits, label


def by_numpy(logits, label, ignore=255):
    losses = []
    for x, y in zip(logits.astype(float), label):
        p = np.exp(x - x.max(0)) / np.exp(x - x.max(0)).sum(0)
        p, y = p[:, y != ignore], y[y != ignore]
        scores = [2 * p[c, y == c].sum() / (p[c].sum() + (y == c).sum()) for c in np.unique(y)]
        losses += [1 - np.mean(scores)] * (len(scores) > 0)
    return np.mean(losses) if losses else 0.0


@pytest.mark.parametrize("losses", [dice.plain, dice.lean])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ignore", [255, 0])
def test_the_loss_is_that_of_the_definition(rng, losses, shape, ignore):
    logits, label = example(rng, shape)
    loss = dice.dice_loss(jt.array(logits), jt.array(label), ignore, losses=losses).item()
    if ignore == 0:
        label[label == 255] = 1
        loss = dice.dice_loss(jt.array(logits), jt.array(label), ignore, losses=losses).item()
    np.testing.assert_allclose(loss, by_numpy(logits, label, ignore), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_that_of_pytorch_in_float64(rng, shape):
    torch = pytest.importorskip("torch")
    logits, label = example(rng, shape)
    x = torch.tensor(logits.astype(float), requires_grad=True)
    total = 0
    for row, y in zip(x, torch.tensor(label)):
        p, known = row.softmax(0), y != 255
        scores = [2 * p[c][y == c].sum() / (p[c][known].sum() + (y == c).sum()) for c in y[known].unique().tolist()]
        total = total + (1 - torch.stack(scores).mean() if scores else 0)
    images = max((label != 255).any((1, 2)).sum(), 1)
    (total / images).backward()
    expected = x.grad.numpy()
    for losses in (dice.plain, dice.lean):
        var = jt.array(logits)
        gradient = jt.grad(dice.dice_loss(var, jt.array(label), losses=losses), var).numpy()
        assert np.abs(gradient - expected).max() <= 2e-6 * np.abs(expected).max()


def test_an_image_without_a_label_does_not_count(rng):
    logits, label = example(rng, SHAPES[0])
    label[1] = 255
    both = dice.dice_loss(jt.array(logits), jt.array(label)).item()
    np.testing.assert_allclose(both, dice.dice_loss(jt.array(logits[:1]), jt.array(label[:1])).item(), rtol=1e-6)
    x, void = jt.array(logits), jt.full((2, 7, 6), 255).int32()
    loss = dice.dice_loss(x, void)
    assert loss.item() == 0 and (jt.grad(loss, x).numpy() == 0).all()


def test_the_pieces_of_a_batch_add_up_to_its_loss(rng):
    logits, label = example(rng, SHAPES[0])
    whole = dice.dice_loss(jt.array(logits), jt.array(label)).item()
    parts = [dice.dice_loss(jt.array(logits[k : k + 1]), jt.array(label[k : k + 1])).item() for k in (0, 1)]
    np.testing.assert_allclose(np.mean(parts), whole, rtol=1e-6)


def test_its_weight_and_its_independence_of_ohem_and_class_weights(rng):
    logits, label = example(rng, SHAPES[0])
    x, y = jt.array(logits), jt.array(label)
    alone = dice.dice_loss(x, y).item()
    plain = {name: value.item() for name, value in segmentation_losses([x, x], y).items()}
    with_dice = {name: value.item() for name, value in segmentation_losses([x, x], y, dice=0.5).items()}
    assert set(with_dice) - set(plain) == {"dice"}
    np.testing.assert_allclose(with_dice["loss"], plain["loss"] + 0.5 * alone, rtol=1e-6)
    options = {"ohem": {"thresh": 0.3, "min_kept": 0}, "class_weight": jt.array([1.0, 2.0, 3.0, 4.0, 5.0])}
    np.testing.assert_allclose(segmentation_losses([x], y, dice=2.0, **options)["dice"].item(), alone, rtol=1e-6)
