"""Networks in training: the gradient of every parameter compared with PyTorch, and a few steps on generated scenes."""

import sys
from pathlib import Path

import jittor as jt
import numpy as np
import pytest

from datasets import dataset_class, transforms
from models import build_model
from models.losses import segmentation_losses
from models.tables import VAN_SIZES
from utils.weights import checkpoint

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts" / "benchmark"))
NETWORKS = {"ccnet_r18": ("ccnet_r18", {}), "van_tiny": ("van", {"van_size": "van_tiny", "drop_path": 0.0})}


def build(name, num_classes=9):
    model_name, options = NETWORKS[name]
    model = build_model(model_name, num_classes, **options)
    model.train()
    return model


def pytorch_model(name, classes):
    import torch_models

    if name == "ccnet_r18":
        return torch_models.CCNet(18, classes)
    return torch_models.VANCCNet(*VAN_SIZES[name][:2], classes)


def away_from_kinks(weights, rng):
    """Changes weights so that hardly any ReLU input is near 0, where rounding errors could change the gradient.

    Each normalised channel is shifted to positive or negative values, the last of a residual block always to positive
    ones. Layer scales and gamma, initially 0.01 and 0, are increased so that all branches contribute.
    """
    for key in weights:
        shape = weights[key].shape
        base = key.rsplit(".", 1)[0]
        if "layer_scale" in key:
            weights[key] = rng.uniform(0.1, 0.4, shape).astype(np.float32)
        elif key == "head.cca.gamma":
            weights[key] = np.float32([0.4])
        elif f"{base}.running_var" in weights and "block" not in key and "patch" not in key:
            if key.endswith(".weight"):
                weights[key] = rng.uniform(0.4, 0.6, shape).astype(np.float32)
            elif key.endswith(".bias"):
                ends = base.endswith(("bn2", "downsample.1")) and base.startswith("layer")
                sign = 1 if ends else rng.choice([-1, 1], shape)
                weights[key] = (sign * rng.uniform(1.6, 2.4, shape)).astype(np.float32)
    return weights


def gradients(name, model, image, label):
    names = [key for key, p in model.named_parameters() if not p.is_stop_grad()]
    parameters = dict(model.named_parameters())
    loss = segmentation_losses(model(jt.array(image)), jt.array(label))["loss"]
    return loss.item(), dict(zip(names, [g.numpy() for g in jt.grad(loss, [parameters[key] for key in names])]))


def gradients_of_pytorch(model, image, label):
    import torch
    from torch.nn import functional as F

    model.zero_grad()
    logits = model(torch.from_numpy(image).double())
    logits = [F.interpolate(x, label.shape[1:], mode="bilinear", align_corners=True) for x in logits]
    main, aux = (F.cross_entropy(x, torch.from_numpy(label).long(), ignore_index=255) for x in logits)
    (main + 0.4 * aux).backward()
    return (main + 0.4 * aux).item(), {key: p.grad.numpy() for key, p in model.named_parameters()}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_gradients_of_a_step_equal_those_of_pytorch(name, rng):
    """Error below 1e-3 of the largest gradient of the parameter, compared with float64.

    One of three images must agree: for about one image in ten, max pooling in float32 selects another maximum.
    """
    pytest.importorskip("torch")
    import torch_models

    model = build(name)
    weights = away_from_kinks({key: value.numpy() for key, value in model.state_dict().items()}, rng)
    checkpoint.load_weights(model, weights)
    other = torch_models.load(pytorch_model(name, 9), weights).double().train()
    for network, name_of_rate in ((model, "rate"), (other, "p")):
        setattr(network.head.bottleneck[2], name_of_rate, 0.0)
        setattr(network.dsn[2], name_of_rate, 0.0)
    worst = []
    for _ in range(3):
        image = rng.standard_normal((2, 3, 41, 57)).astype(np.float32)
        label = rng.integers(0, 9, (2, 41, 57)).astype(np.int32)
        label[:, :9] = 255
        loss, ours = gradients(name, model, image, label)
        expected, theirs = gradients_of_pytorch(other, image, label)
        assert abs(loss - expected) < 1e-5 and set(ours) == set(theirs)
        scales = {key: np.abs(g).max() for key, g in theirs.items()}
        largest = max(scales.values())
        errors = {}
        for key, scale in scales.items():  # 0 up to rounding: biases before a BatchNorm, and of the keys
            scale = scale if scale > 1e-9 * largest else largest
            errors[key] = np.abs(ours[key] - theirs[key]).max() / scale
        worst.append(max(errors.values()))
    assert min(worst) < 1e-3, worst


@pytest.mark.parametrize("name", NETWORKS)
def test_a_few_steps_on_scenes_lower_the_loss(name):
    Scenes = dataset_class("scenes")
    data = Scenes("train", 48, 96, transform=transforms.TrainTransform((48, 96)), seed=1, batch_size=2)
    model = build(name, len(Scenes.names))
    optimizer = jt.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-2)
    batches, losses = data.forever(), []
    for _ in range(12):
        batch = next(batches)
        images = (batch.images.transpose(0, 3, 1, 2) - np.float32(110)).copy()  # (B, 3, H, W)
        labels = jt.array(batch.labels.astype(np.int32))
        loss = segmentation_losses(model(jt.array(images)), labels, Scenes.ignore_label)["loss"]
        optimizer.step(loss)
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3]), losses
