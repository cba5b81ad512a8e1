import jittor as jt
import numpy as np
import pytest
from support import rule_weights

from models import build_model
from models.layers import conv, packed
from models.layers.batch_norm import BatchNorm
from models.layers.fold import fold

# Options, and the number of BatchNorms that cannot be folded: those before the attention and MLP of a VAN.
NETWORKS = {
    "ccnet_r18": ({}, 0),
    "ccnet_r50": ({"stem": "v1"}, 0),
    "ccnet_mmseg_r50": ({}, 0),
    "van": ({"van_size": "van_tiny"}, 26),
}


def build(name, num_classes=9, **options):
    model = build_model(name, num_classes, aux_always=True, **options)
    rule_weights.fill(model)
    return model


def logits(model, shape):
    with jt.no_grad():
        return [x.numpy() for x in model(jt.array(rule_weights.image("fold", shape)))]


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_gives_the_same(name, packing, monkeypatch):
    if not packing:
        monkeypatch.setattr(packed, "folder", lambda: None)
    elif conv.folder() is None:
        pytest.skip("needs oneDNN 2.6 and AVX-512")
    options, unfolded = NETWORKS[name]
    model = build(name, **options)
    shapes = [(2, 3, 64, 96), (1, 3, 97, 57), (1, 3, 9, 300), (1, 3, 1, 1)]  # with even sides, the poolings differ
    before = [x for shape in shapes for x in logits(model, shape)]
    norms = sum(isinstance(module, BatchNorm) for module in model.modules())
    summary = fold(model)
    assert summary.startswith(f"{norms - unfolded} BatchNorms folded")
    assert ("packed" in summary) == (packing and name != "van")
    assert sum(isinstance(module, BatchNorm) for module in model.modules()) == unfolded
    after = [x for shape in shapes for x in logits(model, shape)]
    for a, b in zip(before, after):
        assert np.abs(a - b).max() < 1e-5 * max(10, np.abs(a).max())


def test_a_number_of_classes_that_is_a_multiple_of_the_lanes():
    model = build("ccnet_r18", num_classes=32)
    before = logits(model, (1, 3, 65, 33))
    fold(model)
    for a, b in zip(before, logits(model, (1, 3, 65, 33))):
        assert a.shape[1] == 32 and np.abs(a - b).max() < 1e-5 * np.abs(a).max()


def test_folding_a_network_in_training_mode_is_an_error():
    with pytest.raises(ValueError, match="model.eval"):
        fold(build_model("ccnet_r18", 9))
