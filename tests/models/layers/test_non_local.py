import jittor as jt
import numpy as np

from models.layers.non_local import NonLocal, non_local


def definition(q, k, v):
    """In float64: softmax over all pixels of <q, k>, weighted sum of v."""
    b, c, h, w = v.shape
    q, k, v = (x.reshape(b, x.shape[1], h * w).astype(np.float64) for x in (q, k, v))
    energies = np.einsum("bci,bcj->bij", q, k)
    weights = np.exp(energies - energies.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bij,bcj->bci", weights, v).reshape(b, c, h, w)


def test_values_and_gradients_are_those_of_the_definition(rng):
    arrays = [rng.normal(size=(2, channels, 3, 5)).astype(np.float32) for channels in (2, 2, 4)]
    g = rng.normal(size=(2, 4, 3, 5)).astype(np.float32)
    inputs = [jt.array(x) for x in arrays]
    out = non_local(*inputs)
    assert abs(out.numpy() - definition(*arrays)).max() < 1e-5
    for number, gradient in enumerate(jt.grad((out * jt.array(g)).sum(), inputs)):
        step = rng.normal(size=arrays[number].shape)
        moved = [[x + sign * 1e-5 * step if n == number else x for n, x in enumerate(arrays)] for sign in (1, -1)]
        slope = ((definition(*moved[0]) - definition(*moved[1])) * g).sum() / 2e-5
        assert abs((gradient.numpy() * step).sum() - slope) < 1e-4 * max(1, abs(slope))


def test_the_module_is_the_identity_at_first_and_repeats_its_pass():
    x = jt.randn(1, 16, 3, 4)
    module = NonLocal(16, 2)
    assert (module(x).numpy() == x.numpy()).all()
    module.gamma.assign(np.full(1, 0.5, np.float32))
    once = NonLocal(16, 1)
    once.load_state_dict(module.state_dict())
    jt.sync_all()
    assert abs(module(x).numpy() - once(once(x)).numpy()).max() < 1e-5
