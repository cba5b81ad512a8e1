"""Strides, pooling, outputs in training and evaluation, errors."""

import jittor as jt
import numpy as np
import pytest

from models import MODELS, build_model
from models.layers.dropout import DropPath
from models.tables import VAN_ALIASES, VAN_SIZES
from models.van import VAN


@pytest.fixture(scope="module")
def network():
    return build_model("ccnet_r18", num_classes=9)


def test_strides_and_dilations_of_the_two_families():
    """Stages 3 and 4: stride 1, dilation 2 and 4; in mmsegmentation 1 and 2 in their first blocks."""
    for name, expected in (("ccnet_r50", (1, 1, 2, 2, 4, 4)), ("ccnet_mmseg_r50", (1, 1, 1, 2, 2, 4))):
        model = build_model(name)
        blocks = [block for stage in (model.layer2, model.layer3, model.layer4) for block in (stage[0], stage[1])]
        assert tuple(block.conv2.dilation[0] for block in blocks) == expected
        assert [block.conv2.stride[0] for block in blocks] == [2, 1, 1, 1, 1, 1]
        assert all(block.conv1.stride == (1, 1) for block in blocks)
        assert all(block.conv2.padding == block.conv2.dilation for block in blocks)


@pytest.mark.parametrize("name, sides", [("ccnet_r18", (9, 13)), ("ccnet_mmseg_r50", (8, 12))])
def test_pooling_rounds_up_in_the_official_network_and_down_in_mmsegmentation(name, sides):
    model = build_model(name)
    pooled = model.maxpool(jt.zeros((1, 1, 32, 48)))  # the output of the stem for 64x96
    assert tuple(-(-side // 2) for side in pooled.shape[2:]) == sides


@pytest.mark.parametrize("up", [True, False])
def test_pooling_of_the_smallest_feature_maps(up, rng):
    pool = build_model("ccnet_r18", 9, ceil_pool=up).pool
    for h, w in ((1, 1), (1, 4), (2, 3), (3, 2), (4, 5), (6, 1)):
        x = rng.random((1, 2, h, w), dtype=np.float32)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 3), (1, 3)))
        rows, columns = ((side // 2 if up and side > 1 else (side - 1) // 2) + 1 for side in (h, w))
        windows = [[padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] for j in range(columns)] for i in range(rows)]
        expected = np.array([[window.max((2, 3)) for window in row] for row in windows]).transpose(2, 3, 0, 1)
        np.testing.assert_array_equal(pool(jt.array(x)).numpy(), expected)


@pytest.mark.parametrize(
    "stride, main, aux",
    [("multi", (13, 17), (7, 9)), (8, (13, 17), (13, 17)), (16, (7, 9), (7, 9)), (32, (4, 5), (7, 9))],
)
def test_van_logits_have_the_requested_stride(stride, main, aux):
    model = build_model("van", 9, van_size="van_tiny", output_stride=stride)
    logits = model(jt.zeros((2, 3, 97, 129)))
    assert [tuple(x.shape) for x in logits] == [(2, 9, *main), (2, 9, *aux)]


def test_training_gives_main_and_auxiliary_logits_at_stride_8(network):
    network.train()
    logits = network(jt.randn(2, 3, 97, 129))
    assert [tuple(x.shape) for x in logits] == [(2, 9, 13, 17)] * 2


def test_evaluation_gives_main_logits_only(network):
    network.eval()
    first, second = (network(jt.ones((1, 3, 97, 129)))[0].numpy() for _ in range(2))
    assert first.shape == (1, 9, 13, 17)
    np.testing.assert_allclose(first, second, atol=1e-6)  # no dropout
    network.aux_always = True
    assert len(network(jt.ones((1, 3, 97, 129)))) == 2
    network.aux_always = False


def test_every_parameter_is_trained(network):
    network.train()
    network.head.cca.gamma.assign(jt.array([0.3]))
    loss = sum((x * x).mean() for x in network(jt.randn(2, 3, 97, 129)))
    names = [name for name, p in network.named_parameters() if not p.is_stop_grad()]
    parameters = [p for p in network.parameters() if not p.is_stop_grad()]
    without_gradient = [n for n, g in zip(names, jt.grad(loss, parameters)) if not np.abs(g.numpy()).max() > 0]
    # the bias of the keys adds a constant to all energies of a pixel, which does not change the softmax
    assert set(without_gradient) <= {"head.cca.key_conv.bias"}, without_gradient


def test_drop_path_increases_over_the_blocks_and_drops_whole_samples():
    rates = [
        block.drop_path.rate
        for stage in (1, 2, 3, 4)
        for block in getattr(VAN("van_b0", drop_path=0.3), f"block{stage}")
    ]
    np.testing.assert_allclose(rates, np.linspace(0, 0.3, 13), atol=1e-7)
    drop = DropPath(0.25)
    drop.train()
    y = drop(jt.ones((4000, 1, 2, 1))).numpy()[:, 0, :, 0]
    assert (y[:, 0] == y[:, 1]).all() and set(np.unique(y.round(5))) == {0, np.float32(1.33333)}
    assert abs(y.mean() - 1) < 0.05
    drop.eval()
    assert (drop(jt.ones((3, 1, 1, 1))).numpy() == 1).all()


def test_errors_list_the_known_values():
    for message, name, options in (
        ("unknown model 'ccnet101'; choose from .*ccnet_r18", "ccnet101", {}),
        ("num_classes is 1", "ccnet_r18", {"num_classes": 1}),
        ("depth is 34; choose from 18, 50, 101", "ccnet", {"depth": 34}),
        ("stem is 'v2'; choose from deep, v1c, v1", "ccnet", {"stem": "v2"}),
        ("van_size is 'van_b9'; choose from van_tiny", "van", {"van_size": "van_b9"}),
        ("output_stride is 4", "van", {"output_stride": 4}),
    ):
        with pytest.raises(ValueError, match=message):
            build_model(name, **options)
    assert {"van_tiny", "van_large", "van_b0", "van_b6"} <= {*VAN_SIZES, *VAN_ALIASES} and "ccnet_mmseg_r101" in MODELS
