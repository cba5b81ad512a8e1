"""The ways in which PyTorch runs the networks of torch_models.py, for scripts/benchmark/model.py."""

import copy
import os

import torch
import torch.nn.functional as F

WAYS = {  # name -> (channels last, compiled, bfloat16)
    "eager": (False, False, False),
    "channels_last": (True, False, False),
    "compile": (False, True, False),
    "bf16": (False, False, True),
    "bf16 channels_last": (True, False, True),
    "bf16 compile": (False, True, True),
}


def prepared(network, way):
    """-> (a copy of the network that is run this way, the memory format of its input)"""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    last, compiled, _ = WAYS[way]
    layout = torch.channels_last if last else torch.contiguous_format
    network = copy.deepcopy(network).to(memory_format=layout)
    if compiled:
        from torch._inductor import config

        config.freezing = not network.training  # weights become constants, BatchNorm is folded
        network = torch.compile(network)
    return network, layout


def forward(network, images, way):
    """-> run(): the main logits as numpy."""
    network, layout = prepared(network.eval(), way)
    x = torch.from_numpy(images).to(memory_format=layout)

    def run():
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=WAYS[way][2]):
            return network(x)[0].float().numpy()

    return run


def step(network, images, labels, way):
    """-> run(): the loss of one step of SGD."""
    network, layout = prepared(network.train(), way)
    x, target = torch.from_numpy(images).to(memory_format=layout), torch.from_numpy(labels).long()
    sgd = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4)

    def run():
        sgd.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=WAYS[way][2]):
            logits = network(x)
        logits = [F.interpolate(y.float(), labels.shape[1:], mode="bilinear", align_corners=True) for y in logits]
        main, auxiliary = (F.cross_entropy(y, target, ignore_index=255) for y in logits)
        loss = main + 0.4 * auxiliary
        loss.backward()
        sgd.step()
        return loss.item()

    return run
