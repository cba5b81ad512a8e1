"""ONNX export. The model takes RGB pixels 0..255, or N bands of the same range where the network was trained with N
channels, and returns logits, probabilities or labels at the size of the image.

`to_onnx(model, normalisation, size=(512, 1024))` -> an onnx.ModelProto, opset 17, IR 10. Each module is converted by a
function of networks.py or layers.py; nothing is traced. Only this folder imports onnx.
"""

import functools
import json

import numpy as np
from onnx import TensorProto, checker, helper

from models.export.graph import Graph, Map
from models.export.layers import resize
from models.export.networks import emit
from models.resnet import ResNet
from models.shallow import ShallowCCNet
from models.van import VAN

METADATA = "segmentation"
FIRST = {ResNet: "conv1", VAN: "patch_embed1.proj", ShallowCCNet: "down1.conv"}  # the first convolution


def to_onnx(model, normalisation, size=None, batch=1, output="logits", half=False, metadata=None):
    """-> ModelProto with input `image`, (N, C, H, W) float32 0..255, and one output, named like `output`. C: 3, RGB, or
    the number of bands of the normalisation record.

    `model`: in evaluation mode, preferably after fold(model, packing=False). `size`: fixed (H, W) with `batch` images;
    None: any size and batch. `normalisation`: {"channels": "rgb", "bgr" or "bands", "mean": .., "std": ..}, mean and
    std in the order of "channels". `output`: "logits" or "probabilities", (N, K, H, W) float32, or "labels",
    (N, H, W) int64. `half`: weights and arithmetic in float16; input and output stay float32.
    `metadata`: any JSON value, stored under the key METADATA.
    """
    if model.is_training() or getattr(model, "packed", False):
        raise ValueError("to_onnx() needs a network in evaluation mode, not packed: eval(), fold(model, packing=False)")
    if getattr(model, "frames", 1) > 1:
        raise ValueError(
            f"this network takes clips of {model.frames} frames, and ONNX export is for single images: predict with "
            "scripts/predict.py"
        )
    g, channels = Graph(half), len(normalisation["mean"])
    image = Map("image", (batch, channels, *size) if size else None)
    x = g.to_working(normalised(g, model, image, normalisation))
    scores = resize(g, g.to_float32(emit(g, model, x, "")), image, "logits", getattr(model, "align_corners", True))
    finish(g, scores.name, output)

    free = image.shape or ("N", channels, "H", "W")
    classes = model.head.bottleneck[3].out_channels
    shape = (free[0], *free[2:]) if output == "labels" else (free[0], classes, *free[2:])
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, free)]
    dtype = TensorProto.INT64 if output == "labels" else TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info(output, dtype, shape)]
    texts = {METADATA: json.dumps(metadata)} if metadata else {}
    result = g.model("ccnet", inputs, outputs, texts)
    checker.check_model(result, full_check=True)
    return result


def normalised(g, model, image, normalisation):
    """(image - mean) / std. For BGR networks, the input channels of the first convolution are reversed instead."""
    bgr = normalisation["channels"] == "bgr"
    mean, std = (np.float32(normalisation[key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    x = image
    for op, numbers, name in (("Sub", mean, "mean"), ("Div", std, "std")):
        numbers = numbers[:, ::-1] if bgr else numbers
        if name == "mean" or (numbers != 1).any():
            x = image.like(g.node(op, [x.name, g.weight(name, numbers, exact=True)], f"image.{name}"))
    if bgr:  # Graph.weight keeps the first array of each name
        key = next(key for cls, key in FIRST.items() if isinstance(model, cls))
        first = functools.reduce(getattr, key.split("."), model)
        g.weight(f"{key}.weight", first.weight.numpy()[:, ::-1])
    return x


def finish(g, scores, output):
    """Adds the last node, named `output`."""
    if output == "probabilities":
        g.node("Softmax", [scores], output, axis=1)
    elif output == "labels":
        g.node("ArgMax", [scores], output, axis=1, keepdims=0)
    elif scores != output:  # nothing was resized, so the scores have another name
        g.node("Identity", [scores], output)
