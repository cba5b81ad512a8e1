"""The kernels of a training step of CCNet on a GPU with their bytes and operations, counted from the shapes.

    calls = record(model, (8, 3, 769, 769))       # nothing is computed: Jittor's graph knows its shapes
    kernels = count(calls, (8, 769, 769), "float16", parameters=71_300_000)

Each kernel is counted as if it moved each of its tensors once from or to memory, twice where it reads it in two passes.
"""

from collections import defaultdict, namedtuple

from scripts.benchmark.cca_bytes import attention_cost

Call = namedtuple("Call", "module inputs output activation")  # tensors are (key, shape)
Kernel = namedtuple("Kernel", "group name bytes operations matrix")  # matrix: may use tensor cores

GROUPS = (
    "convolution forward", "convolution backward_x", "convolution backward_w", "BatchNorm", "attention", "elementwise",
    "pooling", "losses", "casts", "optimizer", "all-reduce",
)  # fmt: skip


def elements(shape):
    product = 1
    for side in shape:
        product *= int(side)
    return product


def record(model, shape):
    """Call the network on lazy variables. -> the calls of its layers, in order"""
    import jittor as jt
    from jittor import nn

    from models.cca.module import CrissCrossAttention
    from models.ccnet import RCCAHead
    from models.layers.batch_norm import BatchNorm
    from models.layers.dropout import Dropout2d

    layers = (nn.Conv, BatchNorm, nn.Pool, Dropout2d, RCCAHead)
    calls, kept = [], []
    call_layer, attend = nn.Module.__call__, CrissCrossAttention.execute

    def tensor(var):
        kept.append(var)  # while it is kept, no other variable has its id
        return id(var), tuple(int(side) for side in var.shape)

    def note(module, x, residual, output, activation="none"):
        inputs = [tensor(v) for v in (x, residual) if v is not None]
        calls.append(Call(module, inputs, tensor(output), activation))
        return output

    def layer(module, *args, **named):
        output = call_layer(module, *args, **named)
        if isinstance(module, layers):
            activation = named.get("activation", getattr(module, "activation", "none"))
            note(module, args[0], named.get("residual"), output, activation)
        return output

    def one_pass(module, x):
        return note(module, x, None, attend(module, x))

    nn.Module.__call__, CrissCrossAttention.execute = layer, one_pass
    try:
        model(jt.zeros(shape))
    finally:
        nn.Module.__call__, CrissCrossAttention.execute = call_layer, attend
    return calls


LAYER_TYPES = ("Conv", "BatchNorm", "Pool", "Dropout2d", "CrissCrossAttention", "RCCAHead")


def layer_type(module):
    """The class of a layer that decides how it is counted."""
    names = {cls.__name__ for cls in type(module).__mro__}
    return next(name for name in LAYER_TYPES if name in names)


def convolution(call, size, first):
    """`first`: its input is the image, which needs no gradient."""
    module, (_, x), (_, y) = call.module, call.inputs[0], call.output
    weights, maps = elements(module.weight.shape), elements(y) // y[1]
    operations = 2 * maps * weights
    moved = (elements(x) + elements(y) + weights) * size
    name = f"{module.kernel_size[0]}x{module.kernel_size[1]} {x[1]}-{y[1]} {y[2]}x{y[3]}"
    yield Kernel(GROUPS[0], name, moved, operations, True)
    if not first:
        yield Kernel(GROUPS[1], name, moved, operations, True)
    yield Kernel(GROUPS[2], name, moved, operations, True)
    if module.bias is not None:
        yield Kernel("elementwise", "bias", 3 * elements(y) * size, 2 * elements(y), False)  # read, write; read g
    if size == 2:  # the weight becomes 16 bits, its gradient float32
        yield Kernel("casts", "weights", 12 * weights, 2 * weights, False)


def batch_norm(call, size):
    """Forward: x twice, the residual, y. Backward: g and x twice, dx; behind the sum with a residual and an activation
    y twice, whose sign x does not tell, and the gradient of the residual, which is g without an activation."""
    values, residual = elements(call.output[1]), len(call.inputs) - 1
    gate = 3 if residual and call.activation != "none" else 0
    yield Kernel("BatchNorm", "forward", (3 + residual) * values * size, 8 * values, False)
    yield Kernel("BatchNorm", "backward", (5 + gate) * values * size, 12 * values, False)


def attention(call, size, dtype):
    """One pass: the attention itself, gamma * out + x, and the sum of the four gradients of x."""
    b, c, h, w = call.inputs[0][1]
    for name, (moved, operations) in attention_cost(b, c // 8, c, h, w, dtype).items():
        yield Kernel("attention", name, moved, operations, True)
    maps = b * c * h * w * size
    yield Kernel("elementwise", "gamma * out + x", 3 * maps, 2 * b * c * h * w, False)
    yield Kernel("elementwise", "gamma * out + x, backward", 3 * maps, 3 * b * c * h * w, False)


def other(call, size):
    values, inputs = elements(call.output[1]), elements(call.inputs[0][1])
    what = layer_type(call.module)
    if what == "Pool":  # in float32
        yield Kernel("pooling", "forward", 4 * (inputs + values), 9 * values, False)
        yield Kernel("pooling", "backward", 4 * (2 * inputs + 2 * values), 9 * values, False)
        if size == 2:
            yield Kernel("casts", "pooling", 2 * 6 * (inputs + values), 2 * (inputs + values), False)
    elif what == "Dropout2d":
        yield Kernel("elementwise", "dropout", 4 * values * size, 2 * values, False)
    elif what == "RCCAHead":  # the concatenation before its last convolutions, and the slices of its gradient
        channels = call.module.bottleneck[0].in_channels
        maps = channels * elements(call.output[1]) // call.output[1][1] * size
        yield Kernel("elementwise", "concat", 2 * maps, 0, False)
        yield Kernel("elementwise", "concat, backward", 2 * maps, 0, False)


def losses(logits, labels, size):
    """Up-sampling and cross entropy of one output: two numbers a pixel are written, and read by the backward."""
    pixels, values = elements(labels), elements(logits) * 4
    each = 20 * pixels * logits[1]
    yield Kernel("losses", "forward", values + pixels * (1 + 8), each, False)
    yield Kernel("losses", "weighted mean", pixels * (1 + 4 + 4), 4 * pixels, False)
    yield Kernel("losses", "backward", 2 * values + pixels * (1 + 8 + 4), 2 * each, False)
    if size == 2:
        yield Kernel("casts", "logits", 2 * 6 * elements(logits), 0, False)


def gradient_sums(calls, size):
    """A map with several readers: its gradients are added."""
    readers, shapes = defaultdict(int), {}
    for call in calls:
        for key, shape in call.inputs:
            readers[key] += 1
            shapes[key] = shape
    image = calls[0].inputs[0][0]
    for key, count in readers.items():
        if count > 1 and key != image:
            values = elements(shapes[key])
            yield Kernel("elementwise", "sum of gradients", (count + 1) * values * size, (count - 1) * values, False)


def count(calls, labels, dtype, parameters):
    """-> [Kernel]. `labels`: their shape (B, H, W); `parameters`: the number of weights."""
    size, kernels = 4 if dtype == "float32" else 2, []
    image = calls[0].inputs[0][0]
    for call in calls:
        what = layer_type(call.module)
        if what == "Conv":
            kernels += convolution(call, size, call.inputs[0][0] == image)
        elif what == "BatchNorm":
            kernels += batch_norm(call, size)
        elif what == "CrissCrossAttention":
            kernels += attention(call, size, dtype)
        else:
            kernels += other(call, size)
    kernels += gradient_sums(calls, size)
    for logits in outputs(calls):
        kernels += losses(logits, labels, size)
    kernels.append(Kernel("optimizer", "SGD: w, g, m; w, m", 20 * parameters, 5 * parameters, False))
    kernels.append(Kernel("optimizer", "norm of the gradient", 4 * parameters, 2 * parameters, False))
    kernels.append(Kernel("all-reduce", "gradients", 8 * parameters, parameters, False))
    return kernels


def outputs(calls):
    """Shapes of the logits: the outputs of convolutions that no layer reads."""
    read = {key for call in calls for key, _ in call.inputs}
    inside = {
        id(part) for call in calls if layer_type(call.module) == "CrissCrossAttention" for part in call.module.modules()
    }
    ends = [call for call in calls if layer_type(call.module) == "Conv" and id(call.module) not in inside]
    return [call.output[1] for call in ends if call.output[0] not in read]
