"""Steps of the optimizers, against PyTorch and computed by hand."""

import jittor as jt
import numpy as np
import pytest
from support import tiny
from support.ohem import ohem_by_numpy

import train
from models.losses import Criterion
from utils.training import optim, step_control
from utils.training.amp import LossScaler

STEPS = 20


def settings(**others):
    argv = (
        "--model tiny --batch-size 4 --input-size 24,32 --num-steps 20 --learning-rate 0.02 --weight-decay 1e-3".split()
    )
    args = train.parse_args(argv)
    vars(args).update(others)
    return args


def without_dropout(model):
    for module in model.modules():
        if hasattr(module, "rate"):
            module.rate = 0.0
    return model


def batches(rng, count=STEPS):
    for _ in range(count):
        images = rng.standard_normal((4, 3, 24, 32)).astype(np.float32)
        label = rng.integers(0, 5, (4, 24, 32)).astype(np.int32)
        label[0, :10], label[3, :20] = 255, 255
        yield images, label


def cut(images, label, pieces):
    each = len(label) // pieces
    return [(jt.array(images[k : k + each]), label[k : k + each], []) for k in range(0, len(label), each)]


def run_here(args, data, weights=None):
    """-> weights at the start and at the end, loss of every step."""
    model = without_dropout(tiny.tiny(5, 2))
    if weights:
        model.load_parameters(weights)
    start = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    criterion = train.build_criterion(args, {"num_classes": 5, "ignore_label": 255}, model, None, {})
    optimizer = train.build_optimizer(args, model, criterion)
    curve = []
    for step, (images, label) in enumerate(data):
        optim.set_lr(optimizer, optim.poly(args.learning_rate, step, args.num_steps, args.power, args.warmup_steps))
        losses = train.gradients(
            args, model, criterion, LossScaler(), optimizer, cut(images, label, args.accumulate), step
        )
        curve.append(losses["loss"].item())
        optim.update(optimizer, step)
    return start, {key: value.numpy() for key, value in model.state_dict().items()}, np.array(curve)


def run_torch(args, start, data):
    torch = pytest.importorskip("torch")
    import torch.nn.functional as F

    w = {key: torch.tensor(value, requires_grad="running" not in key) for key, value in start.items()}

    def norm(x, name):
        parts = (w[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, training=True, momentum=0.1)

    def attend(x):
        q, k, v = (
            F.conv2d(x, w[f"head.cca.{n}_conv.weight"], w[f"head.cca.{n}_conv.bias"]) for n in ("query", "key", "value")
        )
        rows = x.shape[2]
        column = torch.einsum("bchw,bciw->bhwi", q, k) + torch.diag(torch.full((rows,), float("-inf"))).nan_to_num(
            nan=0.0, neginf=float("-inf")
        ).view(1, rows, 1, rows)
        row = torch.einsum("bchw,bchj->bhwj", q, k)
        share = torch.softmax(torch.cat([column, row], 3), 3)
        out = torch.einsum("bhwi,bciw->bchw", share[..., :rows], v) + torch.einsum(
            "bhwj,bchj->bchw", share[..., rows:], v
        )
        return w["head.cca.gamma"] * out + x

    def network(x):
        x = F.silu(norm(F.conv2d(x, w["conv1.weight"], stride=2, padding=1), "bn1"))
        x = F.silu(norm(F.conv2d(x, w["conv2.weight"], stride=2, padding=1), "bn2"))
        main = F.conv2d(norm(attend(attend(x)), "head.last.0"), w["head.last.2.weight"], w["head.last.2.bias"])
        return main, F.conv2d(x, w["dsn.0.weight"], w["dsn.0.bias"])

    def mined(logits, label):
        kept, _ = ohem_by_numpy(logits.detach().numpy(), label.numpy(), args.ohem_thres, args.ohem_keep)
        return torch.tensor(kept)

    leaves = [v for v in w.values() if v.requires_grad]
    if args.optimizer == "sgd":
        optimizer = torch.optim.SGD(leaves, args.learning_rate, args.momentum, weight_decay=args.weight_decay)
    else:
        groups = [
            {"params": [v for v in leaves if v.ndim > 1]},
            {"params": [v for v in leaves if v.ndim == 1], "weight_decay": 0},
        ]
        optimizer = torch.optim.AdamW(groups, args.learning_rate, weight_decay=args.weight_decay)
    curve = []
    for step, (images, label) in enumerate(data):
        for group in optimizer.param_groups:
            group["lr"] = args.learning_rate * (1 - step / args.num_steps) ** args.power
        label = torch.tensor(label).long()
        main, aux = (
            F.interpolate(x, label.shape[1:], mode="bilinear", align_corners=True)
            for x in network(torch.tensor(images))
        )
        chosen = mined(main, label) if args.ohem else label
        loss = F.cross_entropy(main, chosen, ignore_index=255) + 0.4 * F.cross_entropy(aux, label, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return {key: value.detach().numpy() for key, value in w.items()}, np.array(curve)


@pytest.mark.parametrize(
    "others, tolerance",
    [
        ({"ohem": True, "ohem_keep": 64 * 30, "ohem_thres": 0.2}, 1e-4),
        # AdamW divides by the size of the gradient, so rounding matters where that is near 0, as in key_conv.bias
        ({"optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.05}, 2e-3),
    ],
    ids=["sgd, momentum, decay, poly, OHEM", "adamw, no decay on vectors"],
)
def test_twenty_steps_are_those_of_pytorch(others, tolerance):
    """BatchNorm in training, auxiliary loss, ignored regions, gamma: weights to 1e-4, the loss curve to 1e-3."""
    args = settings(**others)
    start, ours, curve = run_here(args, batches(np.random.default_rng(5)))
    theirs, their_curve = run_torch(args, start, batches(np.random.default_rng(5)))
    for key in theirs:
        error = abs(ours[key] - theirs[key]).max() / abs(theirs[key]).max()
        assert error <= tolerance, (key, error)
        if key != "head.cca.key_conv.bias":  # the softmax cancels it: its exact gradient is 0
            assert abs(ours[key] - start[key]).max() > 1e-5, key  # it was trained
    assert np.mean(abs(curve - their_curve) / their_curve) < 1e-3
    assert abs(curve - their_curve).max() < 1e-4


def test_the_learning_rate_rises_then_follows_the_poly_rule():
    assert [optim.poly(2.0, s, 10, 1.0) for s in (0, 5, 9)] == pytest.approx([2.0, 1.0, 0.2])
    assert optim.poly(1e-2, 30000, 60000) == pytest.approx(1e-2 * 0.5**0.9)
    assert [optim.poly(1.0, s, 100, 0.0, warmup=4) for s in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [optim.poly(1.0, s, 10, 1.0, least=0.2) for s in (0, 5, 10)] == pytest.approx([1.0, 0.6, 0.2])


def test_gradient_accumulation_takes_the_step_of_the_whole_batch_with_frozen_norms(rng):
    """The ignored pixels are all in one piece."""

    def weights(accumulate):
        jt.set_global_seed(1)
        args = settings(accumulate=accumulate)
        model = without_dropout(tiny.tiny(5, 2))
        train_frozen(model)
        criterion = Criterion(model, 5)
        optimizer = train.build_optimizer(args, model, criterion)
        for step, (images, label) in enumerate(batches(np.random.default_rng(3), 2)):
            label[:2, :22] = 255
            train.gradients(args, model, criterion, LossScaler(), optimizer, cut(images, label, args.accumulate), step)
            optim.update(optimizer, step)
        return {key: value.numpy() for key, value in model.state_dict().items()}

    whole, pieces = weights(1), weights(2)
    for key in whole:
        np.testing.assert_allclose(pieces[key], whole[key], atol=2e-6 * abs(whole[key]).max(), err_msg=key)


def train_frozen(model):
    from models.layers.batch_norm import freeze

    freeze(model)


def test_frozen_norms_are_not_trained_and_heads_can_have_a_higher_rate():
    args = settings(frozen_bn=True, head_lr_factor=10.0, momentum=0.0, weight_decay=0.0)
    model = without_dropout(tiny.tiny(5, 2))
    train_frozen(model)
    criterion = Criterion(model, 5)
    optimizer = train.build_optimizer(args, model, criterion)
    names = [name for group in optimizer.param_groups for name in group["names"]]
    assert not [name for name in names if "bn" in name or "running" in name] and "head.cca.gamma" in names
    optim.set_lr(optimizer, 0.5)
    rates = {name: group["lr"] for group in optimizer.param_groups for name in group["names"]}
    assert rates["conv1.weight"] == 0.5 and rates["head.cca.gamma"] == rates["dsn.0.weight"] == 5.0
    args.gamma_lr_factor = 3.0
    groups = train.build_optimizer(args, model, criterion).param_groups
    factors = {name: group["factor"] for group in groups for name in group["names"]}
    assert factors["head.cca.gamma"] == 30.0 and factors["head.cca.value_conv.weight"] == 10.0


def test_the_layers_of_van_that_are_not_pretrained_have_the_rate_of_the_heads():
    """squeeze, and without weight decay the norms."""
    named = [
        (name, jt.ones(shape)) for name, shape in (("squeeze.0.weight", (2, 2, 1, 1)), ("block1.0.norm1.weight", 2))
    ]
    groups = optim.build(named, "adamw", 6e-5, weight_decay=0.01, head_factor=10.0).param_groups
    assert {group["names"][0]: (group["factor"], group["weight_decay"]) for group in groups} == {
        "squeeze.0.weight": (10.0, 0.01),
        "block1.0.norm1.weight": (1.0, 0.0),
    }


def test_moments_of_another_optimizer_are_an_error():
    model = tiny.tiny(5, 2)
    sgd = optim.build(list(model.named_parameters()), "sgd", 0.1)
    adamw = optim.build(list(model.named_parameters()), "adamw", 0.1)
    arrays = {key: value.numpy() for key, value in optim.named_moments(sgd)}
    with pytest.raises(ValueError, match="no optimizer/m/conv1.weight.*another --optimizer"):
        optim.load_moments(adamw, arrays, "a.npz")


def test_nothing_to_train_is_an_error():
    p = jt.ones(3)
    p.stop_grad()
    with pytest.raises(ValueError, match="nothing to train"):
        optim.build([("p", p)], "sgd", 0.1)


def test_a_gradient_of_nan_is_detected_where_the_loss_is_finite():
    """With -Ofast the maximum of NaN and 0 is 0: the output of the ReLU is finite, the weight's gradient is NaN."""
    from jittor import nn

    layer = nn.Conv2d(3, 4, 3, padding=1)
    optimizer = optim.build(list(layer.named_parameters()), "sgd", 0.1)
    x = np.ones((1, 3, 5, 5), np.float32)
    norms = []
    for value in (1.0, float("nan")):
        x[0, 0, 2, 2] = value
        optimizer.backward(nn.relu(layer(jt.array(x))).sum())
        norms.append(optim.gradient_norm(optimizer, step_control.fresh()).item())
        optimizer.zero_grad()
    assert np.isfinite(norms[0]) and norms[0] > 0 and not np.isfinite(norms[1])
