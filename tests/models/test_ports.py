"""Weights of the released Jittor ports give the ports' own numbers; golden: a plain rendering of them in PyTorch."""

import jittor as jt
import numpy as np
import pytest
from support import key_lists, rule_weights

from models import build_model
from models.cca import RCCA
from models.layers.fold import fold
from models.ports import WholeSoftmaxRCCA
from utils.evaluation.inference import predict_probabilities
from utils.weights import any_file, network

torch = pytest.importorskip("torch")
from support import port_networks  # noqa: E402

FLAGS = dict(model=None, num_classes=None, recurrence=None, van_size=None)


@pytest.fixture(scope="module", params=["3 4 12 3", "3 4 5 3", "ccnet-jittor"])
def port(request, tmp_path_factory):
    """-> (what the port computes for an image: main and auxiliary logits; the path of its file; our key list of it)"""
    x = torch.from_numpy(rule_weights.image("port", (1, 3, 65, 97)))
    weights, path = port_networks.Weights(), tmp_path_factory.mktemp("port") / "port.pkl"
    with torch.no_grad():
        if request.param == "ccnet-jittor":
            logits = port_networks.ccnet_jittor(weights, x)
            keys = {**key_lists.mmseg(key_lists.R101, 150), "backbone.conv1.weight": (64, 3, 7, 7)}
            keys.update(key_lists.norm("backbone.bn1", 64, False))
        else:
            blocks = tuple(map(int, request.param.split()))
            logits = port_networks.ann_lab(weights, x, blocks)
            keys = key_lists.official(blocks)
    jt.save(dict(weights), str(path))
    return x, logits, path, {key for key in keys if not key.endswith("num_batches_tracked")}, weights


def close(ours, theirs, share=2e-5):
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < share * np.abs(theirs).max()


def test_a_file_of_a_port_gives_its_numbers(port):
    """Both heads at the network's stride, plain and folded, and probabilities at the size of the image."""
    x, (main, aux), path, keys, weights = port
    assert set(weights) == keys
    model, meta = network.load_network(str(path), build_model, FLAGS, aux_always=True)
    with jt.no_grad():
        ours = [logits.numpy() for logits in model(jt.array(x.numpy()))]
        close(ours[0], main.numpy())
        close(ours[1], aux.numpy())
        fold(model)
        close(model(jt.array(x.numpy()))[0].numpy(), main.numpy(), 1e-4)
    aligned = "whole_softmax" in meta["model_options"]
    full = torch.nn.functional.interpolate(main, x.shape[2:], mode="bilinear", align_corners=aligned)
    _, probability = predict_probabilities(model, x.numpy()[0])
    np.testing.assert_allclose(probability, full.softmax(1).numpy()[0], atol=2e-4)


def test_each_difference_of_the_ports_matters(port):
    """So that the test above can fail: with one option as in the other networks, the numbers are others."""
    x, (main, _), path, *_ = port
    arrays, meta = any_file.read(path)
    options = meta["model_options"]
    assert ("dilations" in options) != ("whole_softmax" in options) and not meta["model"].endswith("large")
    for name, usual in (("activation", "leaky_relu"), ("whole_softmax", False), ("dilations", (2, 4))):
        if name in options:
            model = build_model(meta["model"], meta["num_classes"], 2, **{**options, name: usual})
            model.load_parameters(arrays)
            model.eval()
            with jt.no_grad():
                other = model(jt.array(x.numpy()))[0].numpy()
            assert np.abs(other - main.numpy()).max() > 1e-3 * np.abs(main.numpy()).max(), name


def test_the_softmax_over_the_whole_image_is_that_of_numpy(rng):
    layer = WholeSoftmaxRCCA(16, 1)
    layer.gamma.assign(jt.array([1.0]))
    x = rng.standard_normal((2, 16, 3, 4)).astype(np.float32)
    with jt.no_grad():
        out = (layer(jt.array(x)) - jt.array(x)).numpy()
        q, k, v = (getattr(layer, f"{name}_conv")(jt.array(x)).numpy() for name in ("query", "key", "value"))
    for b in range(2):
        exact, total = np.zeros((16, 3, 4)), 0.0
        for i in range(3):
            for j in range(4):
                for a, c in [(n, j) for n in range(3) if n != i] + [(i, n) for n in range(4)]:
                    weight = np.exp(float(q[b, :, i, j] @ k[b, :, a, c]))
                    total += weight
                    exact[:, i, j] += weight * v[b, :, a, c]
        np.testing.assert_allclose(out[b], exact / total, atol=1e-5)
    assert isinstance(layer, RCCA)
