"""align_corners both ways, as PyTorch computes it: loss, inference, the maps of VAN, ONNX; forward and gradient."""

import cv2
import jittor as jt
import numpy as np
import pytest

from models import build_model
from models.layers.resize import resize as resize_maps
from models.losses import Criterion, segmentation_losses
from utils.evaluation.resize import resize
from utils.weights import network

torch = pytest.importorskip("torch")
F = torch.nn.functional
SIZES = [
    ((3, 4), (9, 13)),
    ((13, 17), (97, 129)),
    ((9, 12), (65, 89)),
    ((1, 5), (8, 5)),
    ((9, 8), (9, 31)),
    ((7, 9), (5, 4)),
]
BOTH = pytest.mark.parametrize("corners", [True, False])


def theirs(x, size, corners):
    return F.interpolate(x, size, mode="bilinear", align_corners=corners)


@BOTH
@pytest.mark.parametrize("small, large", SIZES)
def test_upsampling_and_its_gradient_are_those_of_pytorch(rng, small, large, corners):
    x0 = rng.standard_normal((2, 3, *small)).astype(np.float32)
    y = rng.standard_normal((2, 3, *large)).astype(np.float32)
    x, t = jt.array(x0), torch.tensor(x0, requires_grad=True)
    up, expected = resize_maps(x, large, corners), theirs(t, large, corners)
    (expected * torch.from_numpy(y)).sum().backward()
    np.testing.assert_allclose(up.numpy(), expected.detach().numpy(), atol=2e-5)
    np.testing.assert_allclose(jt.grad((up * jt.array(y)).sum(), x).numpy(), t.grad.numpy(), atol=3e-4)


@BOTH
@pytest.mark.parametrize("small, large", SIZES)
def test_resizing_in_inference_is_that_of_pytorch_also_in_bands(rng, small, large, corners):
    x = rng.standard_normal((3, *small)).astype(np.float32)
    expected = theirs(torch.from_numpy(x[None]), large, corners).numpy()[0]
    np.testing.assert_allclose(resize(jt.array(x), large, align_corners=corners).numpy(), expected, atol=2e-5)
    rows = (large[0] // 3, large[0])
    band = resize(jt.array(x), large, rows, align_corners=corners).numpy()
    np.testing.assert_allclose(band, expected[:, rows[0] : rows[1]], atol=2e-5)


@pytest.mark.parametrize("size", [(41, 58), (96, 137)])
def test_an_image_is_scaled_to_a_short_side_as_opencv_does(rng, size):
    """As in mmsegmentation: linear, without smoothing."""
    image = rng.standard_normal((3, 57, 81)).astype(np.float32)
    expected = cv2.resize(image.transpose(1, 2, 0), size[::-1], interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    np.testing.assert_allclose(resize(jt.array(image), size, align_corners=False).numpy(), expected, atol=1e-4)


@BOTH
def test_the_loss_of_a_network_resizes_both_logits_in_its_way(rng, corners):
    main, aux = (rng.standard_normal((2, 4, 5, 7)).astype(np.float32) for _ in range(2))
    label = rng.integers(0, 4, (2, 33, 49)).astype(np.int32)
    label[:, :4] = 255
    model = build_model("ccnet_r18", 4, align_corners=corners)
    ours = [jt.array(main), jt.array(aux)]
    loss = Criterion(model, 4)(ours, jt.array(label))["loss"]
    t = [torch.tensor(x, requires_grad=True) for x in (main, aux)]
    target = torch.from_numpy(label).long()
    both = [F.cross_entropy(theirs(x, (33, 49), corners), target, ignore_index=255) for x in t]
    expected = both[0] + 0.4 * both[1]
    expected.backward()
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-5)
    for got, x in zip(jt.grad(loss, ours), t):
        np.testing.assert_allclose(got.numpy(), x.grad.numpy(), atol=1e-6)
    other = segmentation_losses(ours, jt.array(label), align_corners=not corners)["loss"]
    assert abs(other.item() - expected.item()) > 1e-3


@BOTH
def test_the_maps_of_van_are_resized_in_that_way(rng, corners):
    """What enters the squeeze layer: stage 2, and stages 3 and 4 at its size."""
    model = build_model("van", 5, van_size="van_tiny", align_corners=corners, drop_path=0.0)
    model.eval()
    seen = []
    model.squeeze.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = jt.array(rng.standard_normal((1, 3, 65, 97)).astype(np.float32))
    with jt.no_grad():
        model(x)
        _, x2, *small = (torch.from_numpy(stage.numpy()) for stage in model.features(x))
        got = seen[0].numpy()
    expected = torch.cat([x2, *(theirs(m, x2.shape[2:], corners) for m in small)], 1)
    np.testing.assert_allclose(got, expected.numpy(), atol=2e-5)


def test_which_networks_align_corners():
    """mmsegmentation's do not; files of earlier versions, which had no choice, do."""
    assert build_model("ccnet_r18", 4).align_corners and not build_model("ccnet_mmseg_r50", 4, depth=18).align_corners
    flags = {"align_corners": None}
    old = {"model": "ccnet_mmseg_r50", "num_classes": 4, "recurrence": 2, "model_options": {}}
    assert network.resolve(flags, "old.npz", {}, old)[0]["options"] == {"align_corners": True}
    trained = {**old, "protocol": {"align_corners": False}}  # without a flag, as the network is by default
    assert network.resolve(flags, "trained.npz", {}, trained, True)[0]["options"] == {"align_corners": False}
    new = {**old, "model_options": {"align_corners": False}}
    assert network.resolve(flags, "new.npz", {}, new)[0]["options"] == {"align_corners": False}
    assert network.resolve({"align_corners": True}, "new.npz", {}, new)[0]["options"] == {"align_corners": True}
    assert network.resolve({**flags, "model": "ccnet_mmseg_r50"}, training=True)[0]["options"] == {}
