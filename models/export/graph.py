"""Builder of an ONNX graph: a list of nodes, and weights, each stored once under its state-dict key."""

from collections import Counter
from typing import NamedTuple, Optional

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OPSET, IR = 17, 10
END = np.iinfo(np.int64).max  # the end of an axis, for Slice


class Map(NamedTuple):
    """A value (B, C, H, W) in the graph. `shape` is None if it is known at run time only (--dynamic)."""

    name: str
    shape: Optional[tuple] = None

    def like(self, name):
        return Map(name, self.shape)


class Graph:
    """`half`: the working dtype, between `to_working` and `to_float32`, is float16 instead of float32."""

    def __init__(self, half=False):
        self.half, self.nodes, self.weights, self.used = half, [], {}, Counter()

    def node(self, op, inputs, name, **attributes):
        """-> the name of its output: `name`, or name#2, name#3 .. if `name` is already in use."""
        self.used[name] += 1
        name = f"{name}#{self.used[name]}" if self.used[name] > 1 else name
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def weight(self, name, array, exact=False):
        """Stores `array` in the working dtype, with `exact` unchanged. An existing name keeps its array. -> name"""
        if name not in self.weights:
            array = np.asarray(array)
            self.weights[name] = array if exact else array.astype(np.float16 if self.half else np.float32)
        return name

    def per_channel(self, name, array):
        return self.weight(name, np.asarray(array).reshape((1, -1, 1, 1)))

    def number(self, value):
        return self.weight(f"number {value:g}", np.float32(value))

    def integers(self, *values):
        """int64 constants: sizes, starts, axes."""
        return self.weight(f"whole {','.join(map(str, values))}", np.int64(values), exact=True)

    def transpose(self, x, order, name):
        return self.node("Transpose", [x], name, perm=order)

    def sizes(self, x, first, last):
        """Axes first..last of a Map's shape, as int64 in the graph."""
        if x.shape:
            return self.integers(*x.shape[first:last])
        return self.node("Shape", [x.name], f"{x.name}.shape", start=first, end=last)

    def to_working(self, x):
        return x.like(self.node("Cast", [x.name], f"{x.name}.half", to=TensorProto.FLOAT16)) if self.half else x

    def to_float32(self, x):
        return x.like(self.node("Cast", [x.name], f"{x.name}.float", to=TensorProto.FLOAT)) if self.half else x

    def model(self, name, inputs, outputs, metadata):
        """-> ModelProto. `inputs`, `outputs`: ValueInfoProtos; `metadata`: {key: text}."""
        weights = [numpy_helper.from_array(array, key) for key, array in self.weights.items()]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, weights)
        versions = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=IR, producer_name="ccnet-jittor")
        helper.set_model_props(model, metadata)
        return model
