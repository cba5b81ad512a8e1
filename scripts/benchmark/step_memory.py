"""The peak memory of a training step of CCNet, counted from the shapes and lifetimes of its tensors.

Forward: each layer keeps what its gradient needs. Backward, from the last layer to the first: the gradient of a map
lives from its first reader to the layer that made the map; what a layer kept is freed when no earlier one needs it.
"""

from scripts.benchmark.step_kernels import elements, layer_type, outputs


def kept_by(call, size):
    """{key: bytes} of the tensors that a layer keeps for its gradient."""
    what, (x, shape), (y, result) = layer_type(call.module), call.inputs[0], call.output
    maps = {x: elements(shape) * size, y: elements(result) * size}
    if what == "Conv":
        return {x: maps[x]}
    if what == "BatchNorm":
        return maps
    if what == "Pool":  # computed in float32: copies of both, if the maps are 16 bits
        return {("float32", key): 2 * value for key, value in maps.items()} if size == 2 else maps
    if what == "CrissCrossAttention":  # q, k, v, the attended values, a number a pixel
        pixels = elements(shape) // shape[1]
        return {("attention", y): pixels * (size * (2 * (shape[1] // 8) + 2 * shape[1]) + 4)}
    return {}


def backward(calls, kept, size):
    """-> bytes of the maps at the peak of the backward pass: those that are kept, and gradients of maps."""
    alive = {key: value for tensors in kept for key, value in tensors.items()}
    first, gradients, most, image = {}, {}, sum(alive.values()), calls[0].inputs[0][0]
    for number in reversed(range(len(calls))):
        first.update(dict.fromkeys(kept[number], number))
    for number in reversed(range(len(calls))):
        call, sums = calls[number], 0
        gradients.setdefault(call.output[0], elements(call.output[1]) * size)
        for key, shape in call.inputs:
            if key != image:
                sums += elements(shape) * size if key in gradients else 0  # the sum of two gradients is a new map
                gradients[key] = elements(shape) * size
        most = max(most, sum(alive.values()) + sum(gradients.values()) + sums)
        gradients.pop(call.output[0])
        for key in [key for key in kept[number] if first[key] == number]:
            alive.pop(key, None)
    return most


def peak(calls, labels, dtype, parameters, workspace=0):
    """-> {what: bytes} of what lives at the peak of a step, and their sum, "peak"."""
    size, pixels = 4 if dtype == "float32" else 2, elements(labels)
    kept = [kept_by(call, size) for call in calls]
    saved = sum({key: value for tensors in kept for key, value in tensors.items()}.values())
    parts = dict.fromkeys(("weights", "moments", "gradients of the weights"), 4 * parameters)
    parts["weights in 16 bits"] = 2 * parameters if size == 2 else 0
    parts["activations"], parts["labels and losses"] = saved, (8 * len(outputs(calls)) + 1) * pixels
    parts["gradients of maps"], parts["workspace"] = backward(calls, kept, size) - saved, workspace
    return {**parts, "peak": sum(parts.values())}
