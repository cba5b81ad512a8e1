import itertools

import jittor as jt
import numpy as np
import pytest

from models.cca import RCCA, CrissCrossAttention, criss_cross_attention
from models.cca.maps import attention_passes


def by_loops(q, k, v):
    """The definition in numpy: for every pixel, the positions on all axes through it, itself once."""
    out = np.zeros_like(v)
    sides = q.shape[2:]
    for b in range(len(q)):
        for here in itertools.product(*map(range, sides)):
            there = {here}
            for axis, side in enumerate(sides):
                there |= {here[:axis] + (i,) + here[axis + 1 :] for i in range(side)}
            there = sorted(there)
            assert len(there) == sum(sides) - len(sides) + 1
            energy = np.array([q[(b, slice(None), *here)] @ k[(b, slice(None), *u)] for u in there])
            weight = np.exp(energy - energy.max())
            weight /= weight.sum()
            out[(b, slice(None), *here)] = sum(w * v[(b, slice(None), *u)] for w, u in zip(weight, there))
    return out


@pytest.mark.parametrize("sides", [(5, 7), (1, 1), (1, 6), (6, 1), (2, 3, 4)])
def test_the_reference_equals_the_definition(rng, sides):
    q, k, v = (rng.standard_normal((2, c, *sides)).astype(np.float32) for c in (3, 3, 5))
    out = criss_cross_attention(jt.array(q), jt.array(k), jt.array(v), backend="reference").numpy()
    np.testing.assert_allclose(out, by_loops(q.astype(float), k.astype(float), v.astype(float)), atol=2e-5)


def test_a_new_module_is_the_identity():
    x = jt.randn(1, 16, 4, 5)
    np.testing.assert_array_equal(CrissCrossAttention(16)(x).numpy(), x.numpy())


def test_recurrence_applies_one_module_repeatedly():
    module = RCCA(16, recurrence=3)
    module.gamma.assign(jt.array([0.5]))
    x = jt.randn(1, 16, 4, 5)
    once = RCCA(16, recurrence=1)
    once.load_parameters(module.state_dict())
    np.testing.assert_allclose(module(x).numpy(), once(once(once(x))).numpy(), atol=1e-5)
    module.recurrence = 0
    np.testing.assert_array_equal(module(x).numpy(), x.numpy())
    assert sorted(module.state_dict()) == sorted(CrissCrossAttention(16).state_dict())


@pytest.mark.parametrize("backend", ["auto", "reference", "fused"])
def test_wrong_inputs_are_errors_before_any_operator_runs(backend):
    q, v = jt.zeros((1, 2, 4, 5)), jt.zeros((1, 8, 4, 5))
    jt.sync_all()
    before = jt.liveness_info()["lived_ops"]
    for args, words in (
        ((q, jt.zeros((1, 3, 4, 5)), v), r"key \(1, 3, 4, 5\).*query has 2 channels and key 3; give both the same"),
        ((q, q, jt.zeros((1, 8, 5, 4))), r"value \(1, 8, 5, 4\): value must have the batch, height and width of the q"),
        ((q, jt.zeros((1, 2, 4, 6)), v), "key must have the batch, height and width of the query"),
        ((q, q, jt.zeros((2, 8, 4, 5))), "value must have the batch, height and width of the query"),
        ((jt.zeros((2, 4, 5)),) * 3, r"\(2, 4, 5\).*expected \(B, C, H, W\)"),
        ((q, q, jt.zeros((1, 8, 4, 5, 6))), r"expected \(B, C, H, W\) for all three"),
        ((jt.zeros(4), q, v), r"query \(4,\).*expected"),
        ((q, q, jt.zeros((1, 8, 4, 5), "float16")), "value float16: cast them to one dtype"),
        ((jt.zeros((1, 2, 4, 5), "int32"),) * 3, r"are int32; expected a floating dtype: x.float32\(\) converts"),
        ((np.zeros((1, 2, 4, 5)), q, v), r"query is a ndarray; expected a jittor Var, which jt.array"),
    ):
        with pytest.raises(ValueError, match=words):
            criss_cross_attention(*args, backend=backend)
    del args
    assert jt.liveness_info()["lived_ops"] == before  # no operator was created


def test_wrong_arguments_are_errors():
    q, v = jt.zeros((1, 2, 4, 5)), jt.zeros((1, 8, 4, 5))
    for size in (4, 0):  # also for empty inputs
        with pytest.raises(ValueError, match="'cuda'; choose from auto, reference, fused"):
            criss_cross_attention(q[:, :, :size], q[:, :, :size], v[:, :, :size], backend="cuda")
    with pytest.raises(ValueError, match="in_dim is 7"):
        CrissCrossAttention(7)
    with pytest.raises(ValueError, match="recurrence is -1"):
        RCCA(16, -1)


@pytest.mark.parametrize("backend", ["auto", "reference", "fused"])
def test_errors_of_a_module_contain_its_number_of_channels(backend):
    module = RCCA(64, backend=backend)
    for x, words in (
        (jt.zeros((1, 32, 5, 5)), r"RCCA\(64\) takes 64 channels, the input \(1, 32, 5, 5\) has 32: build RCCA\(32\)"),
        (jt.zeros((1, 3, 5, 5)), r"\(1, 3, 5, 5\) has 3: bring the input to 64 channels"),  # RCCA(3) cannot be built
        (jt.zeros((64, 5, 5)), r"the input is \(64, 5, 5\); expected \(B, C, H, W\) or \(B, C, T, H, W\) with C = 64"),
        (jt.zeros((1, 64, 5, 5), "int32"), "RCCA: the input is int32; expected a floating dtype"),
    ):
        with pytest.raises(ValueError, match=words):
            module(x)
        with pytest.raises(ValueError, match=words if len(x.shape) == 4 else "one image at a time"):
            attention_passes(module, x, 2)
