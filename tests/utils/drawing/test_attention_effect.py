import numpy as np
import pytest

from utils.drawing import attention_effect


def test_gamma_near_zero_is_stated_and_measured():
    """A network of one attention layer: its classes are the signs of its output."""
    import jittor as jt

    from models.cca import RCCA

    layer, x = RCCA(8, recurrence=2), jt.randn(1, 8, 6, 7)
    classes = lambda: (layer(x).numpy()[0].sum(0) > 0).astype(np.uint8)  # noqa: E731
    effects = {}
    for gamma in (0.0, 1e-5, 3.0):
        layer.gamma.assign(jt.array([gamma]))
        effects[gamma] = attention_effect.measure(layer, x, classes(), classes)
        assert layer.gamma.item() == pytest.approx(gamma) == effects[gamma]["gamma"]  # restored
    assert effects[0.0]["features"] == effects[0.0]["pixels"] == 0
    assert 0 < effects[1e-5]["features"] < 1e-3 and effects[3.0]["features"] > 0.5 and effects[3.0]["pixels"] > 0
    assert [attention_effect.is_negligible(effects[gamma]) for gamma in effects] == [True, True, False]
    exact = layer(x).numpy() - x.numpy()
    assert effects[3.0]["features"] == pytest.approx(np.linalg.norm(exact) / np.linalg.norm(x.numpy()), rel=1e-4)
    texts = [attention_effect.describe(effects[gamma]) for gamma in effects]
    assert texts[0].startswith("Attention has almost no effect yet (gamma = 0): ") and "differ by 0 %" in texts[0]
    assert "has almost no effect yet (gamma = 1e-05)" in texts[1] and "no effect" not in texts[2]
    assert "gamma = 3: attention changes" in texts[2]
