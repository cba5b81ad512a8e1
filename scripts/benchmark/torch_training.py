#!/usr/bin/env python3
r"""The training of train.py in PyTorch: the same network, initial weights, batches, dropout masks and schedule.

    python train.py --model ccnet_r18 --dataset scenes --learning-rate 1e-4 --num-steps 20 --snapshot-dir runs/a
    python scripts/benchmark/torch_training.py --model ccnet_r18 --dataset scenes --learning-rate 1e-4 --num-steps 20 \
        --snapshot-dir runs/b
    python scripts/plot_log.py runs/a/log.csv runs/b/log.csv --out runs/curves.svg

It takes the flags of train.py and writes the same log.csv. Batches, masks, learning rate and initial weights come from
this repository; network, loss, gradients and update are PyTorch's (torch_models.py). It needs PyTorch, trains
ccnet_r18, ccnet_r50 and ccnet in float32 in one process, and writes no checkpoint.
"""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import train  # noqa: E402
from utils import runtime  # noqa: E402

DEPTHS = {"ccnet": 101, "ccnet_large": 101, "ccnet_r50": 50, "ccnet_r18": 18}


def main():
    args = train.parse_args()
    machine = runtime.start("cpu", args.verbose)
    check(args)
    from models.layers import dropout
    from utils.training import logger, optim, resume

    begin, _ = train.prepare(args, machine)
    data, _, info = train.build_data(args, begin)
    model = train.build_network(args, info)
    criterion = train.build_criterion(args, info, model, data, begin)
    resume.load(begin, model, criterion, None)
    network, optimizer = build(args, model)
    log = logger.RunLog(args.snapshot_dir, f"{args.model} in PyTorch", args.last_step, 0, args.batch_size)
    batches = train.stream(data, info["normalisation"], 0)
    for step in range(args.last_step):
        started = time.time()
        images, labels, _ = next(batches)
        lr = optim.poly(args.learning_rate, step, args.num_steps, args.power, args.warmup_steps, args.min_learning_rate)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        dropout.at(args.random_seed, step)
        losses = update(network, optimizer, images, labels, criterion)
        log.step(step + 1, lr, time.time() - started, **losses, gamma=network.head.cca.gamma.item())
    log.close(f"log in {log.path}")


def check(args):
    """Raises a ValueError for a training that this script does not have, a MachineError without PyTorch."""
    if not find_spec("torch"):
        raise runtime.MachineError("this script needs PyTorch. Fix: pip install torch")
    if args.model not in DEPTHS:
        raise ValueError(f"--model {args.model}: this script has {', '.join(DEPTHS)}")
    others = ("amp", "ohem", "ccl", "dice", "frozen_bn", "eval_every", "resume", "start_iters")
    given = [f"--{name.replace('_', '-')}" for name in others if getattr(args, name)]
    if given or args.accumulate > 1:
        raise ValueError(f"this script has no {', '.join(given or ['--accumulate'])}: compare trainings without")


def build(args, model):
    """-> the PyTorch network with the weights of `model`, and its optimizer."""
    import torch

    from scripts.benchmark import torch_models

    classes = model.head.bottleneck[-1].out_channels
    network = torch_models.CCNet(DEPTHS[args.model], classes, args.recurrence)
    torch_models.load(network, {key: value.numpy() for key, value in model.state_dict().items()}).train()
    replace_dropout(network)
    groups = [group(args, name, p) for name, p in network.named_parameters()]
    if args.optimizer == "sgd":
        return network, torch.optim.SGD(groups, args.learning_rate, args.momentum)
    return network, torch.optim.AdamW(groups, args.learning_rate)


def group(args, name, parameter):
    """One parameter with its learning rate and weight decay: the rules of utils/training/optim.py."""
    decays = args.optimizer == "sgd" or parameter.dim() > 1
    factor = args.head_lr_factor if name.startswith(("head.", "dsn.")) else 1.0
    return {"params": [parameter], "factor": factor, "weight_decay": args.weight_decay if decays else 0.0}


def replace_dropout(network):
    """Dropout with the masks of models/layers/dropout.py instead of PyTorch's random numbers."""
    import torch

    from models.layers import dropout

    class Dropout2d(torch.nn.Module):
        def forward(self, x):
            return x * torch.from_numpy(dropout.kept(*x.shape[:2], rate=0.1))[:, :, None, None]

    for part in (network.head.bottleneck, network.dsn):
        place = next(k for k, layer in enumerate(part) if isinstance(layer, torch.nn.Dropout2d))
        part[place] = Dropout2d()


def update(network, optimizer, images, labels, criterion):
    """One step. -> {"loss", "main", "aux", "gradient"} as numbers"""
    import torch
    import torch.nn.functional as F

    target = torch.from_numpy(labels).long()
    weight = None if criterion.weights is None else torch.tensor(criterion.weights, dtype=torch.float32)
    corners = {"mode": "bilinear", "align_corners": True}
    logits = [F.interpolate(y, target.shape[1:], **corners) for y in network(torch.from_numpy(images.numpy()))]
    main, aux = (F.cross_entropy(y, target, weight, ignore_index=criterion.options["ignore"]) for y in logits)
    loss = main + criterion.options["aux_weight"] * aux
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in network.parameters()])
    optimizer.step()
    return {"loss": loss.item(), "main": main.item(), "aux": aux.item(), "gradient": norm.item()}


if __name__ == "__main__":
    runtime.run(main, "torch_training.py")
