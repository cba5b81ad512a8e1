import jittor as jt
import numpy as np
import pytest
import rule_weights

from models import build_model
from models.batch_norm import BatchNorm
from models.fold import fold
from utils import checkpoint

NETWORKS = {  # and how many norms stay: those in front of a VAN's attention and MLP, which more than a convolution reads
    "ccnet_r18": ({}, 0),
    "ccnet_mmseg_r50": ({}, 0),
    "van": ({"van_size": "van_tiny"}, 26),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_gives_the_same(name):
    options, stay = NETWORKS[name]
    model = build_model(name, 9, **options)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    rule = rule_weights.van if name == "van" else rule_weights.ccnet
    checkpoint.load_weights(model, rule(shapes))
    model.eval()
    x = jt.array(rule_weights.picture("fold", (1, 3, 97, 129)))
    before = model(x)[0].numpy()
    norms = sum(isinstance(module, BatchNorm) for module in model.modules())
    assert fold(model) == norms - stay
    assert sum(isinstance(module, BatchNorm) for module in model.modules()) == stay
    after = model(x)[0].numpy()
    assert np.abs(after - before).max() < 1e-4 * max(1, np.abs(before).max())


def test_a_network_in_training_is_not_folded():
    with pytest.raises(ValueError, match="model.eval"):
        fold(build_model("ccnet_r18", 9))
