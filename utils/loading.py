"""From a checkpoint file to a network ready to evaluate. What the file says about itself is not to be said again."""

from utils import checkpoint, weights

USUAL = {"model": "ccnet", "recurrence": 2}  # of released files, which do not record them
SAME = {"ccnet_large": "ccnet"}  # one network, two names
SAME.update(van_b0="van_tiny", van_b1="van_small", van_b2="van_base", van_b3="van_large")


def load_network(path, build, asked, fold=None, **options):
    """-> (model in eval mode, meta). build(name, num_classes, recurrence, **options) makes the network.

    `asked`: what the command line says of model, num_classes, recurrence, van_size (None: nothing). What contradicts
    the file is an error. `fold(model)` may simplify the network for evaluation.
    """
    arrays, meta = weights.read(path)
    if meta.get("num_classes", 0) is None:
        raise ValueError(
            f"{path} is a backbone without a classifier: train from it (train.py --restore-from), then evaluate"
        )
    meta = {**meta, **agree(path, meta, asked)}
    options.update(meta.get("model_options") or {})
    if meta["van_size"]:
        if meta["model"] != "van":
            raise ValueError(
                f"--van-size {meta['van_size']} contradicts {path}, which is {meta['model']}; leave it out"
            )
        options["van_size"] = meta["van_size"]
    model = build(meta["model"], meta["num_classes"], meta["recurrence"], **options)
    try:
        checkpoint.load_weights(model, arrays, path)
    except ValueError as error:  # what is odd about the file may be why
        raise ValueError("; ".join((str(error), *meta.get("remarks", ())))) from None
    model.eval()
    return model, {**meta, "simplified": fold(model) if fold else "not folded"}


def same(name):
    return SAME.get(name, SAME.get(f"van_{name}", name))


def agree(path, meta, asked):
    """What the file records, else what was asked, else the usual."""
    known = {**(meta.get("model_options") or {}), **{key: meta.get(key) for key in asked if key != "van_size"}}
    if "provenance" in meta:
        known["recurrence"] = None  # a converted file does not record it: what stands there is the usual
    agreed = {}
    for key in ("model", "num_classes", "recurrence", "van_size"):
        value, recorded = asked.get(key), known.get(key)
        if value is not None and recorded is not None and same(value) != same(recorded):
            flag = "--" + key.replace("_", "-")
            raise ValueError(f"{flag} {value} contradicts {path}, which was trained with {recorded}; leave {flag} out")
        agreed[key] = recorded if recorded is not None else value if value is not None else USUAL.get(key)
    if agreed["num_classes"] is None:
        raise ValueError(f"{path} does not say how many classes it has; give --num-classes")
    return agreed
