"""Folds BatchNorms into the weights and biases of the convolutions before them, for evaluation."""

import jittor as jt
from jittor import nn

from models.layers.batch_norm import BatchNorm
from models.layers.packed import pack


def fold(model, packing=True):
    """Folds BatchNorms in place where possible, then packs the network (packed.py) if supported. -> a summary, text.

    `packing=False` keeps ordinary convolutions, for example to export their weights. The model must be in evaluation
    mode. Afterwards it cannot be trained, and its state-dict keys no longer match a checkpoint.
    """
    if model.is_training():
        raise ValueError("fold() is for evaluation; call model.eval() first")
    count = 0
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            keys = list(module.layers)
            pairs = [(a, b) for a, b in zip(keys, keys[1:]) if isinstance(module.layers[b], BatchNorm)]
            layers = module.layers
        else:
            layers = module.__dict__
            pairs = [pair for pair in getattr(module, "folds", ()) if pair[0] in layers]
        for conv, norm in pairs:
            fold_pair(layers[conv], layers[norm])
            layers[norm] = layers[norm].folded()
            count += 1
    jt.sync_all()
    done = f"{count} BatchNorms folded"
    return f"{done}, maps packed for oneDNN" if packing and hasattr(model, "packed") and pack(model) else done


def fold_pair(conv, norm):
    scale = norm.weight / jt.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    conv.weight = (conv.weight * scale.reshape((-1, 1, 1, 1))).stop_grad()
    conv.bias = (shift if conv.bias is None else shift + conv.bias * scale).stop_grad()
