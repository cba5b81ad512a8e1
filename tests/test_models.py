import jittor as jt
import numpy as np
import pytest

from models import build_model


@pytest.fixture(scope="module")
def network():
    return build_model("ccnet_r18", num_classes=9)


def test_training_gives_main_and_auxiliary_logits_at_stride_8(network):
    network.train()
    logits = network(jt.randn(2, 3, 97, 129))
    assert [tuple(x.shape) for x in logits] == [(2, 9, 13, 17)] * 2


def test_evaluation_gives_main_logits_only(network):
    network.eval()
    first, again = (network(jt.ones((1, 3, 97, 129)))[0].numpy() for _ in range(2))
    assert first.shape == (1, 9, 13, 17)
    np.testing.assert_allclose(first, again, atol=1e-6)  # dropout is off
    network.aux_always = True
    assert len(network(jt.ones((1, 3, 97, 129)))) == 2
    network.aux_always = False


def test_names_are_those_of_the_released_checkpoints(network):
    keys = set(network.state_dict())
    for key in (
        "conv1.weight bn1.running_mean conv3.weight layer1.0.downsample.0.weight layer4.1.bn2.weight "
        "head.conva.0.weight dsn.0.bias dsn.3.weight "
        "head.conva.1.running_var head.cca.query_conv.bias head.cca.value_conv.weight head.cca.gamma head.convb.1.bias "
        "head.bottleneck.0.weight head.bottleneck.1.weight head.bottleneck.3.weight head.bottleneck.3.bias"
    ).split():
        assert key in keys, key
    assert not any("backbone" in key for key in keys)


def test_every_parameter_is_trained(network):
    network.train()
    network.head.cca.gamma.assign(jt.array([0.3]))
    loss = sum((x * x).mean() for x in network(jt.randn(2, 3, 97, 129)))
    names = [name for name, p in network.named_parameters() if not p.is_stop_grad()]
    parameters = [p for p in network.parameters() if not p.is_stop_grad()]
    still = [n for n, g in zip(names, jt.grad(loss, parameters)) if not np.abs(g.numpy()).max() > 0]
    # softmax does not feel a constant added to all energies of a pixel: the key's bias has no gradient but rounding
    assert set(still) <= {"head.cca.key_conv.bias"}, still


def test_unknown_model_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown model 'ccnet101'; choose from .*ccnet_r18"):
        build_model("ccnet101")
    with pytest.raises(ValueError, match="num_classes is 1"):
        build_model("ccnet_r18", num_classes=1)
