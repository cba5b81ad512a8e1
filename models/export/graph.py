"""An ONNX graph while it is built: nodes in order, and weights, each stored once under its state-dict key."""

from collections import Counter
from typing import NamedTuple, Optional

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OPSET, IR = 17, 10
END = np.iinfo(np.int64).max  # the end of an axis, for Slice


class Map(NamedTuple):
    """A value (B, C, H, W) in the graph. `shape` is None where only the run knows it: with --dynamic."""

    name: str
    shape: Optional[tuple] = None

    def like(self, name):
        return Map(name, self.shape)


class Graph:
    """`half`: weights and values are float16 between `to_working` and `to_float32`."""

    def __init__(self, half=False):
        self.half, self.nodes, self.weights, self.used = half, [], {}, Counter()

    def node(self, op, inputs, name, **attributes):
        """-> the name of its output; a layer that runs twice gets name, name#2."""
        self.used[name] += 1
        name = f"{name}#{self.used[name]}" if self.used[name] > 1 else name
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def weight(self, name, array, exact=False):
        """`array` in the working type, or, with `exact`, as it is. A name that is known keeps its first array."""
        if name not in self.weights:
            array = np.asarray(array)
            self.weights[name] = array if exact else array.astype(np.float16 if self.half else np.float32)
        return name

    def per_channel(self, name, array):
        return self.weight(name, np.asarray(array).reshape((1, -1, 1, 1)))

    def number(self, value):
        return self.weight(f"number {value:g}", np.float32(value))

    def whole(self, *values):
        """Whole numbers: sizes, starts, axes."""
        return self.weight(f"whole {','.join(map(str, values))}", np.int64(values), exact=True)

    def transpose(self, x, order, name):
        return self.node("Transpose", [x], name, perm=order)

    def sizes(self, x, first, last):
        """Axes first..last of a Map's shape, as int64 in the graph."""
        if x.shape:
            return self.whole(*x.shape[first:last])
        return self.node("Shape", [x.name], f"{x.name}.shape", start=first, end=last)

    def to_working(self, x):
        return x.like(self.node("Cast", [x.name], f"{x.name}.half", to=TensorProto.FLOAT16)) if self.half else x

    def to_float32(self, x):
        return x.like(self.node("Cast", [x.name], f"{x.name}.float", to=TensorProto.FLOAT)) if self.half else x

    def model(self, name, inputs, outputs, metadata):
        """-> ModelProto. `inputs`, `outputs`: value infos; `metadata`: {key: text}."""
        weights = [numpy_helper.from_array(array, key) for key, array in self.weights.items()]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, weights)
        versions = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=IR, producer_name="ccnet-jittor")
        helper.set_model_props(model, metadata)
        return model
