"""The loss scale of mixed precision, on the CPU: the same arithmetic as on a GPU."""

import json

import jittor as jt
import numpy as np
import pytest

from utils.training import amp


def make(optimizer_name, values=((1.0, -2.0), (0.5,))):
    """Two parameters, one of them a single number as gamma."""
    weights = [jt.array(np.array(value, "float32")) for value in values]
    jt.sync_all()
    if optimizer_name == "sgd":
        return weights, jt.optim.SGD(weights, 0.1, 0.9, 0.01)
    return weights, jt.optim.AdamW(weights, 0.1, weight_decay=0.01)


def loss_of(weights, factor=1.0):
    a, b = weights
    return (((a * a).sum() + (a.sum() * b).sum() * 3) * factor).sum()


@pytest.mark.parametrize("optimizer_name", ["sgd", "adamw"])
def test_a_scaled_step_is_the_plain_step(optimizer_name):
    """Multiplying and dividing by a power of two is exact in float32."""
    (plain, optimizer), (scaled, other), scaler = make(optimizer_name), make(optimizer_name), amp.LossScaler("float16")
    for _ in range(4):
        optimizer.step(loss_of(plain))
        assert scaler.step(other, loss_of(scaled))
        jt.sync_all()
    for a, b in zip(plain, scaled):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
    assert scaler.good == 4 and scaler.scale == 2**16 and other.n_step == optimizer.n_step == 4


@pytest.mark.parametrize("optimizer_name", ["sgd", "adamw"])
@pytest.mark.parametrize("bad", [1e38, float("nan")])
def test_an_overflow_changes_nothing(optimizer_name, bad):
    """Neither weights nor momentum nor the step count of Adam: the next step is that of a run without the overflow."""
    (plain, optimizer), (scaled, other), scaler = make(optimizer_name), make(optimizer_name), amp.LossScaler("float16")
    optimizer.step(loss_of(plain))
    assert scaler.step(other, loss_of(scaled))
    before = [w.numpy().copy() for w in scaled]
    assert not scaler.step(other, loss_of(scaled, bad))
    assert not scaler.step(other, loss_of(scaled, bad))
    assert scaler.scale == 2**14 and scaler.skipped == 2 and scaler.good == 0
    assert all(np.array_equal(a, w.numpy()) for a, w in zip(before, scaled))
    optimizer.step(loss_of(plain))
    assert scaler.step(other, loss_of(scaled))
    jt.sync_all()
    for a, b in zip(plain, scaled):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_gradient_accumulation():
    """Two halves give the step of the whole batch; an overflow in one half skips the step."""
    (plain, optimizer), (scaled, other), scaler = make("sgd"), make("sgd"), amp.LossScaler("float16")
    optimizer.step(loss_of(plain))
    for _ in range(2):
        scaler.backward(other, loss_of(scaled) / 2)
    assert scaler.ready(other)
    other.step()
    for factor in (1.0, float("inf")):
        scaler.backward(other, loss_of(scaled, factor) / 2)
    assert not scaler.ready(other) and scaler.skipped == 1
    jt.sync_all()
    for a, b in zip(plain, scaled):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_the_scale_grows_up_to_a_limit():
    weights, optimizer = make("sgd")
    scaler = amp.LossScaler("float16", scale=2.0**22, patience=2, largest=2.0**24)
    seen = []
    for _ in range(7):
        scaler.step(optimizer, loss_of(weights, 1e-3))
        seen.append(np.log2(scaler.scale))
    assert seen == [22, 23, 23, 24, 24, 24, 24]


def test_overflows_at_the_smallest_scale_are_an_error():
    weights, optimizer = make("sgd")
    scaler = amp.LossScaler("float16", scale=2.0)
    assert not scaler.step(optimizer, loss_of(weights, float("inf"))) and scaler.scale == 1
    with pytest.raises(FloatingPointError, match="not finite even at loss scale 1 .2 steps.*--amp bfloat16"):
        scaler.step(optimizer, loss_of(weights, float("inf")))


def test_small_gradients_need_a_scale():
    """1e-8 is 0 in float16; multiplied by 65536 it is not."""

    def gradient(scaler):
        weight = jt.array(np.ones(4, "float32"))
        optimizer = jt.optim.SGD([weight], 1.0)
        scaler.step(optimizer, (weight.float16() * jt.ones(4, "float16")).float32().sum() * 1e-8)
        return optimizer.param_groups[0]["grads"][0].numpy()

    assert (gradient(amp.LossScaler()) == 0).all()
    np.testing.assert_allclose(gradient(amp.LossScaler("float16")), 1e-8, rtol=1e-3)


def test_without_float16_a_step_is_that_of_the_optimizer():
    for dtype in (None, "bfloat16"):
        (plain, optimizer), (weights, other), scaler = make("sgd"), make("sgd"), amp.LossScaler(dtype)
        optimizer.step(loss_of(plain))
        assert scaler.step(other, loss_of(weights)) and scaler.state() == {}
        assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(plain, weights))


def test_the_state_is_saved_and_loaded():
    scaler, other = amp.LossScaler("float16"), amp.LossScaler("float16")
    scaler.scale, scaler.good, scaler.skipped = 1.0, 17, 16
    other.load_state(json.loads(json.dumps(scaler.state())))
    assert other.state() == scaler.state()
    fresh = amp.LossScaler("float16")
    fresh.load_state(amp.LossScaler().state())  # the resumed run was in float32
    assert fresh.scale == 2**16
    plain = amp.LossScaler()
    plain.load_state(scaler.state())  # this run is in float32
    assert plain.scale == 1
