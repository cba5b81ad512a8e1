"""A network as an ONNX model: 0..255 RGB pixels in, logits, probabilities or labels at the size of the image out.

`to_onnx(model, normalisation, size=(512, 1024))` -> an onnx.ModelProto. This folder imports onnx, the rest does not.
The modules are walked, each written by one function of networks.py or layers.py; nothing is traced. Opset 17, IR 10.
"""

import json

import numpy as np
from onnx import TensorProto, checker, helper

from models.export.graph import Graph, Map
from models.export.layers import resize
from models.export.networks import emit
from models.resnet import ResNet

METADATA = "segmentation"


def to_onnx(model, normalisation, size=None, batch=1, output="logits", half=False, metadata=None):
    """-> ModelProto with input `image` (N, 3, H, W) float32, RGB, 0..255, and one output named as `output` asks.

    `model`: in evaluation, best folded (models/fold.py, packing=False). `size`: (H, W), with `batch` images at a time;
    None: every size and number. `normalisation`: {"channels": "rgb" or "bgr", "mean", "std"}, the two in the order of
    the network's channels. Logits and probabilities are (N, K, H, W) float32, labels (N, H, W) int64. `half`: weights
    and arithmetic are float16, input and output as before. `metadata`: what JSON can hold; its key is METADATA.
    """
    if model.is_training() or getattr(model, "packed", False):
        raise ValueError("to_onnx() takes a network in evaluation, not packed: eval(), fold(model, packing=False)")
    g = Graph(half)
    image = Map("image", (batch, 3, *size) if size else None)
    x = g.to_working(normalised(g, model, image, normalisation))
    scores = resize(g, g.to_float32(emit(g, model, x, "")), image, "logits")
    finish(g, scores.name, output)

    free = image.shape or ("N", 3, "H", "W")
    classes = model.head.bottleneck[3].out_channels
    shape = (free[0], *free[2:]) if output == "labels" else (free[0], classes, *free[2:])
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, free)]
    kind = TensorProto.INT64 if output == "labels" else TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info(output, kind, shape)]
    texts = {METADATA: json.dumps(metadata)} if metadata else {}
    result = g.model("ccnet", inputs, outputs, texts)
    checker.check_model(result, full_check=True)
    return result


def normalised(g, model, image, how):
    """Minus the mean, by the deviation. That a network wants BGR is a matter of its first convolution's weights."""
    backwards = how["channels"] == "bgr"
    mean, std = (np.float32(how[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    x = image
    for op, numbers, name in (("Sub", mean, "mean"), ("Div", std, "std")):
        numbers = numbers[:, ::-1] if backwards else numbers
        if name == "mean" or (numbers != 1).any():
            x = image.like(g.node(op, [x.name, g.weight(name, numbers, exact=True)], f"image.{name}"))
    if backwards:  # the walk finds this name taken, and keeps these weights
        resnet = isinstance(model, ResNet)
        key, first = ("conv1", model.conv1) if resnet else ("patch_embed1.proj", model.patch_embed1.proj)
        g.weight(f"{key}.weight", first.weight.numpy()[:, ::-1])
    return x


def finish(g, scores, output):
    """The last node gets the name of the output."""
    if output == "probabilities":
        g.node("Softmax", [scores], output, axis=1)
    elif output == "labels":
        g.node("ArgMax", [scores], output, axis=1, keepdims=0)
    elif scores != output:  # the scores had the size of the image already
        g.node("Identity", [scores], output)
