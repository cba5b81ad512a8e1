"""Weights to start from: a whole network, or a backbone for one; which of the two, the keys decide, and it is said."""

HEADS = ("head.", "dsn.")
COUNTERS = ("num_batches_tracked",)


def fit(own, arrays, source):
    """own: {key: shape} of the network, arrays: {key: array} of the file -> (arrays to load, one line that says what).

    All of the backbone must be there. The heads may be absent, together; a last layer for another number of classes
    stays as it was initialised; what a classifier (fc.*) brings is left.
    """
    usable = {key: value for key, value in arrays.items() if not key.endswith(COUNTERS)}
    matched = {key: value for key, value in usable.items() if key in own and tuple(value.shape) == tuple(own[key])}
    missing = [key for key in own if key not in usable]
    reshaped = [key for key in own if key in usable and key not in matched]
    dropped = sorted({key.split(".")[0] for key in usable if key not in own})
    body = [key for key in missing if not key.startswith(HEADS)]
    last = [key for key in reshaped if key.startswith(HEADS) and tuple(usable[key].shape[1:]) == tuple(own[key][1:])]
    wrong = [f"{key} {tuple(usable[key].shape)} for {tuple(own[key])}" for key in reshaped if key not in last]
    heads = [key for key in own if key.startswith(HEADS)]
    partly = [key for key in missing if key.startswith(HEADS)]
    if 0 < len(partly) < len(heads):
        body += partly
    if body or wrong or not matched:
        text = f"{len(body)} missing: {', '.join(body[:4])}; " if body else ""
        text += f"{len(wrong)} of another shape: {', '.join(wrong[:4])}; " if wrong else ""
        raise ValueError(
            f"{source} does not fit this model ({text}{len(matched)} keys match); is --model the right one?"
        )
    what = "the backbone" if partly else "the whole network"
    line = f"{source}: {what}, {len(matched)} of {len(own)} keys"
    if last:
        line += f"; for another number of classes, so new: {', '.join(last)}"
    if dropped:
        line += f"; not used: {', '.join(dropped)}"
    return matched, line


def load_into(model, arrays, source):
    """Returns the line to print."""
    import jittor as jt

    own = model.state_dict()
    matched, line = fit({key: value.shape for key, value in own.items()}, arrays, source)
    model.load_parameters(matched)
    jt.sync_all()  # Jittor 1.3.11 miscompiles a one-number update (gamma) that is still pending when it is used
    return line
