"""Whole networks in training: every parameter's gradient against PyTorch, and a few steps on drawn scenes."""

import sys
from pathlib import Path

import jittor as jt
import numpy as np
import pytest

from datasets import dataset_class, transforms
from models import build_model
from models.losses import segmentation_loss
from models.tables import VAN_SIZES
from utils.weights import checkpoint

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts" / "benchmark"))
NETWORKS = {"ccnet_r18": ("ccnet_r18", {}), "van_tiny": ("van", {"van_size": "van_tiny", "drop_path": 0.0})}


def build(name, num_classes=9):
    kind, options = NETWORKS[name]
    model = build_model(kind, num_classes, **options)
    model.train()
    return model


def sibling(name, classes):
    import torch_models

    if name == "ccnet_r18":
        return torch_models.CCNet(18, classes)
    return torch_models.VANCCNet(*VAN_SIZES[name][:2], classes)


def away_from_kinks(weights, rng):
    """Weights for which hardly any value lies near the kink of a ReLU, where float32 decides by chance.

    Each normalised channel is moved well above or below it; what ends a residual block always above, as it is added to
    positive values. New layer scales are 0.01 and gamma is 0: here larger, or what lies behind them would not count.
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
    loss = segmentation_loss(model(jt.array(image)), jt.array(label))["loss"]
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
def test_every_gradient_of_one_step_is_that_of_pytorch(name, rng):
    """Within 1e-3 of the parameter's largest, against float64.

    Three pictures, of which one must agree: float32 may by chance take another maximum when pooling, on one of some ten
    pictures, but a wrong gradient is wrong on all.
    """
    pytest.importorskip("torch")
    import torch_models

    model = build(name)
    weights = away_from_kinks({key: value.numpy() for key, value in model.state_dict().items()}, rng)
    checkpoint.load_weights(model, weights)
    other = torch_models.load(sibling(name, 9), weights).double().train()
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
        for key, scale in scales.items():  # 0 but for rounding: biases in front of a BatchNorm, and of the key
            scale = scale if scale > 1e-9 * largest else largest
            errors[key] = np.abs(ours[key] - theirs[key]).max() / scale
        worst.append(max(errors.values()))
    assert min(worst) < 1e-3, worst


@pytest.mark.parametrize("name", NETWORKS)
def test_a_few_steps_on_scenes_lower_the_loss(name):
    kind = dataset_class("scenes")
    data = kind("train", 48, 96, transform=transforms.TrainTransform((48, 96)), seed=1, batch_size=2)
    model = build(name, len(kind.names))
    optimizer = jt.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-2)
    batches, losses = data.forever(), []
    for _ in range(12):
        batch = next(batches)
        images = (batch.images.transpose(0, 3, 1, 2) - np.float32(110)).copy()  # (B, 3, H, W)
        labels = jt.array(batch.labels.astype(np.int32))
        loss = segmentation_loss(model(jt.array(images)), labels, kind.ignore_label)["loss"]
        optimizer.step(loss)
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3]), losses
