"""Which network to build: what a file of weights says, held against the flags. What the file says need not be repeated.

    network, lines = settle(asked, path, arrays, meta)     # "model", "num_classes", "recurrence", "options"
    network, lines = settle(asked)                         # no file: the flags and the defaults

The shapes tell most (depth, stem, size of a VAN), `meta` the rest. A flag that contradicts either is an error.
"""

import re

from utils.weights import identify

USUAL = {"model": "ccnet", "recurrence": 2}  # what neither a file nor a flag says
SAME = {"ccnet_large": "ccnet"}  # one network, two names
SAME.update(van_b0="van_tiny", van_b1="van_small", van_b2="van_base", van_b3="van_large")
OF_VAN, OF_RESNET = ("van_size", "drop_path", "output_stride", "dilate"), ("stem",)  # options that a flag may say
CONVERTED_VAN = "8, 16 or 32"  # the output strides that fit a head without a squeeze layer


def settle(asked, path="", arrays=(), meta=None, training=False):
    """-> ({"model", "num_classes", "recurrence", "options"}, lines to print).

    `asked`: {name: value, None where the command line says nothing} of model, num_classes, recurrence, OF_VAN and
    OF_RESNET. In training a backbone fits every network that has it, another recurrence or drop path is a choice, and
    the number of classes is that of the data.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    meta, seen = meta or {}, identify.seen(arrays)
    whole = meta.get("num_classes") is not None
    assumed = meta.get("assumed", ["recurrence"] if "provenance" in meta else [])  # no list: an older version wrote it
    model = asked.get("model", meta.get("model", USUAL["model"]))
    ours = same(model) == same(meta.get("model", ""))
    if "model" in meta and not ours and (whole or not training or backbone_of(model) != seen.get("backbone")):
        raise contradiction(path, "model", model, meta["model"])
    recorded = dict(meta.get("model_options") or {}) if ours else {}
    options = {name: value for name, value in recorded.items() if name not in assumed or name not in asked}
    options.update({name: seen[name] for name in ("stem", "van_size") if name in seen})
    lines = choose(options, asked, model, path, told(options, seen, meta, whole))

    trained = meta.get("recurrence") if whole and "recurrence" not in assumed else None
    recurrence = asked.get("recurrence", USUAL["recurrence"] if trained is None else trained)
    if trained not in (None, recurrence):
        if not training:
            raise contradiction(path, "recurrence", recurrence, trained)
        lines.append(f"--recurrence {recurrence}: {path} was trained with {trained}")
    network = {"model": model, "num_classes": meta.get("num_classes"), "recurrence": recurrence}
    if not training and "num_classes" in asked:
        if network["num_classes"] not in (None, asked["num_classes"]):
            raise contradiction(path, "num_classes", asked["num_classes"], network["num_classes"])
        network["num_classes"] = asked["num_classes"]
    taken = {**network, **options}
    lines += [f"{words(name)} is not in the file: {taken[name]} taken" for name in assumed if name not in asked]
    return {**network, "options": options}, lines


def told(options, seen, meta, whole):
    """What a file says of each option, which a flag must not contradict."""
    said = {name: seen[name] for name in ("stem", "van_size") if name in seen}
    if whole:
        said["output_stride"] = options.get("output_stride", seen.get("output_stride"))
        if "provenance" not in meta:  # other code does not record it
            said["dilate"] = options.get("dilate", True)
    return said


def choose(options, asked, model, path, said):
    """Bring what the flags say into `options`; -> lines about flags that have no effect."""
    lines = []
    for name in [name for name in OF_VAN + OF_RESNET if name in asked]:
        value, known = asked[name], said.get(name)
        if name not in (OF_VAN if model == "van" else OF_RESNET):
            if path and "model" not in asked:
                raise contradiction(path, name, value, model, "is")
            lines.append(f"{flag(name, value)} has no effect {'without' if name in OF_VAN else 'with'} --model van")
            continue
        if known is not None and same(value) != same(known) and not (known == CONVERTED_VAN and value != "multi"):
            raise contradiction(path, name, value, known)
        options.setdefault(name, value)
        if name == "drop_path":
            options[name] = value
        stride = asked.get("output_stride", options.get("output_stride", "multi"))
        if name == "dilate" and stride in ("multi", 32):
            lines.append(f"{flag(name, value)} has no effect at output stride {stride}")
    return lines


def taken(network, asked, meta):
    """One line: what a run takes from the file it starts from."""
    facts = {"model": network["model"], **network["options"]}
    if meta.get("num_classes") is not None and "recurrence" not in meta.get("assumed", ()):
        facts["recurrence"] = network["recurrence"]
    said = [f"{words(name)} {value}" for name, value in facts.items() if asked.get(name) is None]
    normalisation = meta.get("normalisation") or {}
    said += [f"input {normalisation['channels'].upper()}"] if normalisation.get("channels") else []
    return f"taken from the file: {', '.join(said)}"


def same(name):
    return SAME.get(name, SAME.get(f"van_{name}", name))


def backbone_of(model):
    """ "ccnet_mmseg_r50" -> "r50", as describe.seen names backbones."""
    depth = re.fullmatch(r"ccnet(?:_mmseg)?_(r\d+)", model)
    return depth.group(1) if depth else {"ccnet": "r101", "van": "van"}.get(same(model), "")


def words(name):
    return name.replace("_", " ")


def flag(name, value):
    return "--plain-stride" if name == "dilate" else f"--{name.replace('_', '-')} {value}"


def contradiction(path, name, value, known, verb="has"):
    said, bare = flag(name, value), flag(name, value).split()[0]
    what = known if verb == "is" else f"{words(name)} {known}"
    return ValueError(f"{said} contradicts {path}, which {verb} {what}; leave {bare} out")
