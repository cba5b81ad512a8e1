"""Attention maps: the weights with which the values contribute to a pixel."""

import jittor as jt
import numpy as np
import pytest

from models.cca import RCCA, criss_cross_attention
from models.cca.maps import attention_map, attention_passes, strongest_path
from models.cca.reference import attention_weights

H, W = 6, 9


@pytest.fixture
def layer():
    layer = RCCA(16)
    layer.gamma.assign(jt.array([0.7]))
    jt.sync_all()
    return layer


@pytest.mark.parametrize("backend", ["reference", "fused"])
@pytest.mark.parametrize("recurrence", [1, 2, 3])
@pytest.mark.parametrize("point", [(2, 3), (0, 8)])
def test_map_is_the_gradient_of_the_output_with_respect_to_the_values(layer, backend, recurrence, point):
    """With fixed weights, d out[u] / d v[t] is the weight of t in u."""
    x = jt.randn(1, 16, H, W)
    passes = attention_passes(layer, x, recurrence)

    v = jt.randn(1, 2, H, W)
    out, y = v, x
    for _ in range(recurrence):
        q, k = layer.query_conv(y).stop_grad(), layer.key_conv(y).stop_grad()
        out = criss_cross_attention(q, k, out, backend)
        y = layer.gamma * criss_cross_attention(q, k, layer.value_conv(y)) + y
    gradient = jt.grad(out[0, 1, point[0], point[1]], v).numpy()

    np.testing.assert_allclose(attention_map(passes, *point), gradient[0, 1], atol=1e-6)
    assert abs(gradient[0, 0]).max() == 0  # channels are independent


def test_map_is_a_row_of_the_product_of_the_matrices(layer):
    """Dense HW x HW matrices, built entry by entry from the definition."""
    passes = attention_passes(layer, jt.randn(1, 16, H, W), 2)
    dense = []
    for weights in passes:
        matrix = np.zeros((H, W, H, W))
        for y, x in np.ndindex(H, W):
            matrix[y, x, :, x] += weights[y, x, :H]
            matrix[y, x, y, :] += weights[y, x, H:]
        dense.append(matrix.reshape(H * W, H * W))
    product = dense[1] @ dense[0]
    for y, x in np.ndindex(H, W):
        np.testing.assert_allclose(attention_map(passes, y, x).ravel(), product[y * W + x], atol=1e-12)
        np.testing.assert_allclose(attention_map(passes[:1], y, x).ravel(), dense[0][y * W + x], atol=1e-12)


def test_the_second_pass_uses_the_output_of_the_first(layer):
    x = jt.randn(1, 16, H, W)
    first = RCCA(16, recurrence=1)
    first.load_parameters(layer.state_dict())
    jt.sync_all()
    y = first(x)
    expected = attention_weights(layer.query_conv(y), layer.key_conv(y)).numpy()[0]
    np.testing.assert_allclose(attention_passes(layer, x, 2)[1], expected, atol=1e-6)
    assert abs(attention_passes(layer, x, 1)[0] - expected).max() > 1e-3


def test_one_pass_covers_the_cross_and_two_the_image(layer):
    passes = attention_passes(layer, jt.randn(1, 16, H, W), 2)
    one, two = attention_map(passes[:1], 2, 3), attention_map(passes, 2, 3)
    cross = np.zeros((H, W), bool)
    cross[2], cross[:, 3] = True, True
    assert (one[cross] > 0).all() and (one[~cross] == 0).all() and (two > 0).all()
    assert one.sum() == pytest.approx(1, abs=1e-5) and two.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("recurrence", [1, 2, 3])
def test_strongest_path_ends_at_the_largest_weight_and_no_other_path_is_stronger(layer, recurrence):
    passes = attention_passes(layer, jt.randn(1, 16, H, W), recurrence)
    point = (4, 1)
    path = strongest_path(passes, *point)
    others = attention_map(passes, *point)
    others[point] = -1
    assert path[0] == point and others[path[-1]] == others.max() and len(path) <= recurrence + 1
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in zip(path, path[1:]))
    if recurrence == 2:
        ends = [strength(passes[1], point, w) * strength(passes[0], w, path[-1]) for w in np.ndindex(H, W)]
        corner = path[1] if len(path) == 3 else None
        turns = [corner] if corner else [point, path[-1]]  # a straight path stays at one end for one pass
        assert max(strength(passes[1], point, w) * strength(passes[0], w, path[-1]) for w in turns) == max(ends)


def strength(weights, a, b):
    value = 0.0
    if a[1] == b[1]:
        value = weights[a[0], a[1], b[0]]
    if a[0] == b[0]:
        value = max(value, weights[a[0], a[1], H + b[1]])
    return value


def test_a_batch_is_an_error(layer):
    with pytest.raises(ValueError, match="one image at a time"):
        attention_passes(layer, jt.randn(2, 16, H, W), 2)
