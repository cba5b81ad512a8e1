"""The network of clips, against its definition in NumPy and against the network for single images."""

import jittor as jt
import numpy as np
import pytest
from support import rule_weights

from models import build_model
from models.cca import RCCA
from models.ccnet import RCCAHead
from models.layers import conv, dropout
from models.layers.fold import fold
from models.losses import Criterion
from models.video import labelled, split
from utils.training import amp

T = 3


def convolution(x, weight, bias):
    """x (C, H, W), stride 1, padding that keeps the size."""
    reach, (_, height, width) = weight.shape[2] // 2, x.shape
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    return bias[:, None, None] + sum(
        np.einsum("oi,ihw->ohw", weight[:, :, i, j], padded[:, i : i + height, j : j + width])
        for i in range(weight.shape[2])
        for j in range(weight.shape[3])
    )


def attention(q, k, v):
    """Volumes (C, T, H, W): each position attends to the union of three lines, itself once."""
    _, *sizes = v.shape
    out = np.zeros_like(v)
    for place in np.ndindex(*sizes):
        line = {place}
        for axis in range(3):
            line |= {(*place[:axis], other, *place[axis + 1 :]) for other in range(sizes[axis])}
        assert len(line) == sum(sizes) - 2
        line = tuple(np.array(sorted(line)).T)
        energy = q[(slice(None), *place)] @ k[(slice(None), *line)]
        weight = np.exp(energy - energy.max())
        out[(slice(None), *place)] = v[(slice(None), *line)] @ (weight / weight.sum())
    return out


def definition(weights, clip, recurrence):
    """The head, in float64: clip (T, C, h, w) -> logits (K, h, w) of the middle frame."""

    def layer(name, x):
        return convolution(x, weights[f"{name}.weight"], weights.get(f"{name}.bias", np.zeros(1)))

    def block(name, x):
        scale, shift, mean, variance = (
            weights[f"{name}.1.{key}"][:, None, None] for key in ("weight", "bias", "running_mean", "running_var")
        )
        y = (layer(f"{name}.0", x) - mean) / np.sqrt(variance + 1e-5) * scale + shift
        return np.where(y > 0, y, 0.01 * y)

    volume = np.stack([block("conva", frame) for frame in clip], 1)  # (C, T, h, w)
    for _ in range(recurrence):
        q, k, v = (
            np.stack([layer(f"cca.{name}_conv", volume[:, t]) for t in range(len(clip))], 1)
            for name in ("query", "key", "value")
        )
        volume = weights["cca.gamma"] * attention(q, k, v) + volume
    middle = len(clip) // 2
    y = np.concatenate([clip[middle], block("convb", volume[:, middle])])
    return layer("bottleneck.3", block("bottleneck", y))


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("frames, recurrence", [(1, 2), (3, 1), (5, 2)])
def test_the_head_is_the_plain_definition(backend, frames, recurrence):
    head = RCCAHead(24, 16, 4, recurrence, backend, "leaky_relu")
    weights = rule_weights.fill(head)
    x = rule_weights.image("clips", (2 * frames, 24, 5, 7))
    with jt.no_grad():
        logits = head(jt.array(x), frames).numpy()
    exact = {key: value.astype(np.float64) for key, value in weights.items()}
    expected = [definition(exact, clip, recurrence) for clip in np.float64(x).reshape(2, frames, 24, 5, 7)]
    assert logits.shape == (2, 4, 5, 7) and np.abs(expected).max() > 1
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


def test_a_volume_of_one_frame_is_an_image_and_the_weights_are_the_same(rng):
    layer = RCCA(16, 2)
    layer.gamma = jt.array([0.5])
    x = jt.array(rng.standard_normal((2, 16, 5, 7)).astype(np.float32))
    image, volume = layer(x), layer(x.reshape((2, 16, 1, 5, 7)))
    np.testing.assert_allclose(volume.numpy()[:, :, 0], image.numpy(), atol=1e-5)
    with pytest.raises(ValueError, match=r"expected \(B, C, H, W\) or \(B, C, T, H, W\) with C = 16"):
        layer(x[0])


def build(frames=T, name="ccnet_r18", **options):
    model = build_model(name, 7, 2, aux_always=True, frames=frames, **options)
    rule_weights.fill(model)
    return model


def logits(model, x):
    with jt.no_grad():
        return [y.numpy() for y in model(jt.array(x))]


NETWORKS = [
    ("ccnet_r18", {}),
    ("van", {"van_size": "van_tiny"}),
    ("van", {"van_size": "van_tiny", "output_stride": 32}),
]


@pytest.mark.parametrize("name, options", NETWORKS)
def test_keys_shapes_and_the_logits_of_one_frame_are_those_of_the_network_for_images(name, options):
    clips, images = build(T, name, **options), build_model(name, 7, 2, aux_always=True, **options)
    shapes = [{key: tuple(value.shape) for key, value in model.state_dict().items()} for model in (clips, images)]
    assert shapes[0] == shapes[1]
    rule_weights.fill(images)
    x = rule_weights.image("fold", (2, 3, 41, 57))
    for one, other in zip(logits(build(1, name, **options), x), logits(images, x)):
        np.testing.assert_array_equal(one, other)
    clip = rule_weights.image("clip", (2, 3 * T, 41, 57))
    got, middle = logits(clips, clip), logits(images, clip[:, 3:6])
    assert [y.shape for y in got] == [y.shape for y in middle]
    np.testing.assert_allclose(got[1], middle[1], atol=1e-4)  # the auxiliary head sees the labelled frame only
    assert np.abs(got[0] - middle[0]).max() > 1e-2  # the main head sees the others, too


def test_each_frame_has_its_place():
    """Frames at different distances in time are lines of one axis: their order among themselves does not matter, which
    frame is the labelled one does."""
    model, x = build(), rule_weights.image("clip", (1, 3 * T, 41, 57))
    order = [np.r_[a : a + 3, b : b + 3, c : c + 3] for a, b, c in ((0, 3, 6), (6, 3, 0), (3, 0, 6))]
    first, reverse, other = (logits(model, x[:, channels])[0] for channels in order)
    np.testing.assert_allclose(first, reverse, atol=2e-4)
    assert np.abs(first - other).max() > 1e-2


def test_folded_and_packed_evaluation_gives_the_same(rng):
    model, x = build(), rule_weights.image("clip", (2, 3 * T, 41, 57))
    before = logits(model, x)
    fold(model)
    for one, other in zip(before, logits(model, x)):
        np.testing.assert_allclose(other, one, atol=2e-5 * np.abs(one).max())


@pytest.mark.skipif(bool(conv.why_no_bfloat16()), reason="oneDNN has no bfloat16 on this processor")
@pytest.mark.parametrize("folding", [None, fold])
@pytest.mark.parametrize("name, options", NETWORKS)
def test_bfloat16_is_near(name, options, folding):
    model, x = build(T, name, **options), rule_weights.image("clip", (2, 3 * T, 41, 57))
    before = logits(model, x)
    assert amp.simplify("bfloat16", folding)(model).endswith("bfloat16")
    for one, other in zip(before, logits(model, x)):
        assert 0 < np.linalg.norm(one - other) < 0.03 * np.linalg.norm(one)


def test_the_gradient_reaches_all_frames_also_with_the_category_consistent_loss(rng):
    model = build_model("ccnet_r18", 7, frames=T)
    rule_weights.fill(model)
    model.train()
    criterion = Criterion(model, 7, ccl=1.0)
    x = jt.array(rule_weights.image("clip", (2, 3 * T, 41, 57)))
    labels = jt.array(rng.integers(0, 7, (2, 41, 57)).astype(np.int32))
    losses = criterion(model(x), labels)
    assert float(losses["ccl"].item()) > 0
    gradient = jt.grad(losses["loss"], x).numpy().reshape(2, T, 3, 41, 57)
    sizes = np.abs(gradient).sum((2, 3, 4))
    assert (sizes > 0).all() and (sizes[:, T // 2] > sizes[:, 0]).all()


def test_the_rows_of_a_clip_in_the_backbone_do_not_depend_on_the_ranks():
    """Drop path counts frames, the dropout of the head counts clips."""
    dropout.at(1, 2)
    with dropout.rows(T):
        whole = dropout.kept(2 * T, 8, 0.5)
    heads = dropout.kept(2, 8, 0.5)
    dropout.at(1, 2, first=1)  # the second of two ranks
    with dropout.rows(T):
        np.testing.assert_array_equal(dropout.kept(T, 8, 0.5), whole[T:])
    np.testing.assert_array_equal(dropout.kept(1, 8, 0.5), heads[1:])


def test_what_is_refused():
    with pytest.raises(ValueError, match="frames is 4; expected an odd number"):
        build(4)
    with pytest.raises(ValueError, match="softmax runs over the whole image, which has no form for clips"):
        build(3, whole_softmax=True)
    with pytest.raises(
        ValueError, match=r"the input is \(1, 4, 9, 9\); expected \(B, 3 \* C, H, W\): clips of 3 frames"
    ):
        split(jt.zeros((1, 4, 9, 9)), 3)
    frames = jt.arange(6).reshape((6, 1))
    assert labelled(frames, 3).numpy().ravel().tolist() == [1, 4]
