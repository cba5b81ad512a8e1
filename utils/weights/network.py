"""From a file of weights to a network: which one to build, from the file and the flags; loading it for evaluation.

    model, meta = load_network(path, build_model, flags)        # in eval mode
    settings, lines = resolve(flags, path, arrays, meta)        # "model", "num_classes", "recurrence", "options"
    settings, lines = resolve(flags)                            # without a file: the flags and the defaults

The shapes of the arrays determine most (depth, stem, size of a VAN), `meta` the rest. A flag that contradicts either is
an error; what the file records need not be repeated as a flag.
"""

import re

from models.tables import VAN_ALIASES
from utils.weights import any_file, checkpoint

DEFAULTS = {"model": "ccnet", "recurrence": 2}  # where neither the file nor a flag gives a value
ALIASES = {"ccnet_large": "ccnet", **VAN_ALIASES}  # one network, two names
VAN_FLAGS, RESNET_FLAGS = ("van_size", "drop_path", "output_stride", "dilate"), ("stem",)


def load_network(path, build, flags, fold=None, source="auto", **options):
    """-> (model in eval mode, meta). build(name, num_classes, recurrence, **options) constructs the network.

    `flags`: the values of model, num_classes, recurrence, van_size on the command line (None: not given). A value that
    contradicts the file is an error. `fold(model)` may simplify the network for evaluation. meta["remarks"]: lines to
    print.
    """
    path, arrays, meta = any_file.take(path, source)
    if meta["num_classes"] is None:
        raise ValueError(
            f"{path} is a backbone without a classifier: train from it (train.py --restore-from), then evaluate"
        )
    settings, lines = resolve(flags, path, arrays, meta)
    options.update(settings["options"])
    model = build(settings["model"], settings["num_classes"], settings["recurrence"], **options)
    try:
        checkpoint.load_weights(model, arrays, path)
    except ValueError as error:  # the remarks about the file may give the reason
        raise ValueError("; ".join((str(error), *meta.get("remarks", ())))) from None
    model.eval()
    settings["model_options"] = settings.pop("options")
    meta = {**meta, **settings, "checkpoint": path, "remarks": [*meta["remarks"], *lines]}
    return model, {**meta, "simplified": fold(model) if fold else "not folded"}


def resolve(flags, path="", arrays=(), meta=None, training=False):
    """-> ({"model", "num_classes", "recurrence", "options"}, lines to print).

    `flags`: {name: value, or None where the flag is not given} of model, num_classes, recurrence, align_corners,
    frames, VAN_FLAGS and RESNET_FLAGS. In training a backbone fits every network that has it, another recurrence or
    drop path is allowed, and the number of classes is that of the data.
    """
    flags = {name: value for name, value in flags.items() if value is not None}
    meta, facts = meta or {}, any_file.shape_facts(arrays)
    complete = meta.get("num_classes") is not None
    assumed = meta.get("assumed", ["recurrence"] if "provenance" in meta else [])  # older versions wrote no list
    model = flags.get("model", meta.get("model", DEFAULTS["model"]))
    same_model = canonical(model) == canonical(meta.get("model", ""))
    if "model" in meta and not same_model and (complete or not training or backbone_of(model) != facts.get("backbone")):
        raise contradiction(path, "model", model, meta["model"])
    recorded = dict(meta.get("model_options") or {}) if same_model else {}
    options = {name: value for name, value in recorded.items() if name not in assumed or name not in flags}
    options.update({name: facts[name] for name in ("stem", "van_size", "blocks") if name in facts})
    if complete and "mmseg" in model:  # True for a file of an earlier version, which has no protocol
        options.setdefault("align_corners", (meta.get("protocol") or {}).get("align_corners", True))
    if "align_corners" in flags:
        options["align_corners"] = flags["align_corners"]
    lines = apply_flags(options, flags, model, path, fixed_options(options, facts, meta, complete))
    if "frames" in flags:  # the weights fit any number of frames
        before = options.pop("frames", 1)
        if flags["frames"] > 1:
            options["frames"] = flags["frames"]
        if complete and before != flags["frames"]:
            lines.append(f"--frames {flags['frames']}: {path} was trained with {before}")

    trained = meta.get("recurrence") if complete and "recurrence" not in assumed else None
    recurrence = flags.get("recurrence", DEFAULTS["recurrence"] if trained is None else trained)
    if trained not in (None, recurrence):
        if not training:
            raise contradiction(path, "recurrence", recurrence, trained)
        lines.append(f"--recurrence {recurrence}: {path} was trained with {trained}")
    settings = {"model": model, "num_classes": meta.get("num_classes"), "recurrence": recurrence}
    if not training and "num_classes" in flags:
        if settings["num_classes"] not in (None, flags["num_classes"]):
            raise contradiction(path, "num_classes", flags["num_classes"], settings["num_classes"])
        settings["num_classes"] = flags["num_classes"]
    values = {**settings, **options}
    lines += [f"{words(name)} is not in the file: using {values[name]}" for name in assumed if name not in flags]
    return {**settings, "options": options}, lines


def fixed_options(options, facts, meta, complete):
    """The options that the file determines, which a flag must not contradict."""
    fixed = {name: facts[name] for name in ("stem", "van_size") if name in facts}
    if complete:
        fixed["output_stride"] = options.get("output_stride", facts.get("output_stride"))
        if "provenance" not in meta:  # other code does not record it
            fixed["dilate"] = options.get("dilate", True)
    return fixed


def apply_flags(options, flags, model, path, fixed):
    """Add the values of the flags to `options`; -> lines about flags that have no effect."""
    lines = []
    for name in [name for name in VAN_FLAGS + RESNET_FLAGS if name in flags]:
        value, known = flags[name], fixed.get(name)
        if name not in (VAN_FLAGS if model == "van" else RESNET_FLAGS):
            if path and "model" not in flags:
                raise contradiction(path, name, value, model, "is")
            lines.append(f"{flag(name, value)} has no effect {'without' if name in VAN_FLAGS else 'with'} --model van")
            continue
        any_stride = known == any_file.ANY_STRIDE and value != "multi"
        if known is not None and canonical(value) != canonical(known) and not any_stride:
            raise contradiction(path, name, value, known)
        options.setdefault(name, value)
        if name == "drop_path":
            options[name] = value
        stride = flags.get("output_stride", options.get("output_stride", "multi"))
        if name == "dilate" and stride in ("multi", 32):
            lines.append(f"{flag(name, value)} has no effect at output stride {stride}")
    return lines


def summary(settings, flags, meta):
    """One line: what a run takes from the file it starts from."""
    values = {"model": settings["model"], **settings["options"]}
    if meta.get("num_classes") is not None and "recurrence" not in meta.get("assumed", ()):
        values["recurrence"] = settings["recurrence"]
    parts = [f"{words(name)} {value}" for name, value in values.items() if flags.get(name) is None]
    normalisation = meta.get("normalisation") or {}
    parts += [f"input {normalisation['channels'].upper()}"] if normalisation.get("channels") else []
    return f"taken from the file: {', '.join(parts)}"


def canonical(name):
    return ALIASES.get(name, ALIASES.get(f"van_{name}", name))


def backbone_of(model):
    """ "ccnet_mmseg_r50" -> "r50", as any_file.shape_facts names backbones."""
    depth = re.fullmatch(r"ccnet(?:_mmseg)?_(r\d+)", model)
    return depth.group(1) if depth else {"ccnet": "r101", "van": "van"}.get(canonical(model), "")


def words(name):
    return name.replace("_", " ")


def flag(name, value):
    return "--plain-stride" if name == "dilate" else f"--{name.replace('_', '-')} {value}"


def contradiction(path, name, value, known, verb="has"):
    given = flag(name, value)
    fact = known if verb == "is" else f"{words(name)} {known}"
    return ValueError(f"{given} contradicts {path}, which {verb} {fact}; leave {given.split()[0]} out")
