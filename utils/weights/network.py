"""From a checkpoint file to a network ready to evaluate. What the file says about itself is not to be said again."""

from utils.weights import any_file, checkpoint
from utils.weights.settle import settle


def load_network(path, build, asked, fold=None, source="auto", **options):
    """-> (model in eval mode, meta). build(name, num_classes, recurrence, **options) makes the network.

    `asked`: what the command line says of model, num_classes, recurrence, van_size (None: nothing). What contradicts
    the file is an error. `fold(model)` may simplify the network for evaluation. meta["remarks"]: lines to print.
    """
    path, arrays, meta = any_file.take(path, source)
    if meta["num_classes"] is None:
        raise ValueError(
            f"{path} is a backbone without a classifier: train from it (train.py --restore-from), then evaluate"
        )
    network, lines = settle(asked, path, arrays, meta)
    options.update(network["options"])
    model = build(network["model"], network["num_classes"], network["recurrence"], **options)
    try:
        checkpoint.load_weights(model, arrays, path)
    except ValueError as error:  # what is odd about the file may be why
        raise ValueError("; ".join((str(error), *meta.get("remarks", ())))) from None
    model.eval()
    network["model_options"] = network.pop("options")
    meta = {**meta, **network, "checkpoint": path, "remarks": [*meta["remarks"], *lines]}
    return model, {**meta, "simplified": fold(model) if fold else "not folded"}
