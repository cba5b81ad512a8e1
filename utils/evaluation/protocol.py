"""The protocol of a checkpoint: how its network is evaluated, a plain dict in the metadata of the file.

    {"crop": [769, 769],            of the training; None where unknown
     "window": [769, 769],          of sliding windows; None: whole images
     "overlap": 0.333,              of neighbouring windows, a share of the window
     "short_side": 512, "long_side": 2048,    images are scaled to the first, with the second as limit; None: not scaled
     "flip": False,                 average over the image and its horizontal flip
     "align_corners": True,         of the bilinear resizing of logits
     "labels": {"dataset": "cityscapes", "classes": 19, "ignored": 255}}

and of a network of clips "frames" and "frame_stride": their number, and by how many frames of the data they are apart.

train.py writes it and validates by it; evaluate.py and predict.py follow it unless a flag differs. Files that do not
record one, those of earlier versions, are evaluated on whole images.
"""

OVERLAP = 1 / 3  # of neighbouring windows; the stride is rounded up from this float, as in the official evaluation
SIDES = 4  # limit of the long side as a multiple of the short side, if none is given: 2048 for 512 (mmsegmentation)


def record(
    crop=None,
    window=None,
    overlap=None,
    short_side=None,
    long_side=None,
    flip=False,
    align_corners=True,
    dataset=None,
    classes=None,
    ignored=255,
    frames=1,
    frame_stride=None,
):
    """-> a protocol; values that JSON keeps as they are."""
    clips = {"frames": frames, "frame_stride": frame_stride or 1} if frames > 1 else {}
    return {
        "crop": listed(crop),
        "window": listed(window),
        "overlap": OVERLAP if overlap is None else overlap,
        "short_side": short_side or None,
        "long_side": (long_side or SIDES * short_side) if short_side else None,
        "flip": bool(flip),
        "align_corners": bool(align_corners),
        "labels": {"dataset": dataset, "classes": classes, "ignored": ignored},
        **clips,
    }


def listed(size):
    return list(size) if size else None


def settings(protocol):
    """-> the part of a protocol that are arguments of inference.predict."""
    window = protocol["window"]
    chosen = {key: protocol[key] for key in ("overlap", "short_side", "long_side", "flip")}
    return {"tile": tuple(window) if window else None, **chosen}


def clip(protocol):
    """-> {"frames", "frame_stride"} of a protocol, 1 and 1 for single images; None is a file without a protocol."""
    return {key: (protocol or {}).get(key, 1) for key in ("frames", "frame_stride")}


def changed(
    protocol,
    whole=None,
    window=None,
    overlap=None,
    short_side=None,
    long_side=None,
    flip=None,
    frames=1,
    frame_stride=None,
):
    """-> (the protocol with the values of flags, None where a flag is not given; the names of the changed values).

    `frames`: of the network. `whole` False slides windows of the size that the protocol has or, without one, of the
    crop of the training.
    """
    result = dict(protocol)
    if whole:
        result["window"] = None
    elif window:
        result["window"] = listed(window)
    elif whole is False:
        result["window"] = protocol["window"] or protocol["crop"]
    if short_side is not None:
        result["short_side"] = short_side or None
        result["long_side"] = SIDES * short_side or None
    given = {"overlap": overlap, "long_side": long_side, "flip": flip}
    result.update({key: value for key, value in given.items() if value is not None})
    if frames > 1:
        result.update(frames=frames, frame_stride=frame_stride or clip(protocol)["frame_stride"])
    else:
        result = {key: value for key, value in result.items() if key not in ("frames", "frame_stride")}
    names = [key for key in {**protocol, **result} if result.get(key, 1) != protocol.get(key, 1)]
    return result, names


def describe(protocol):
    """ "sliding 769x769, overlap 1/3; align_corners yes; labels: cityscapes, 19 classes, 255 ignored"."""
    window, share, labels = protocol["window"], protocol["overlap"], protocol["labels"]
    parts = ["whole images"]
    if window:
        share = "1/3" if abs(share - OVERLAP) < 1e-6 else f"{share:g}"
        parts = [f"sliding {window[0]}x{window[1]}", f"overlap {share}"]
    if protocol["short_side"]:
        parts.append(f"short side {protocol['short_side']} (long side at most {protocol['long_side']})")
    parts += ["mirrored"] * protocol["flip"]
    parts += ["clips of {frames} frames, stride {frame_stride}".format(**protocol)] if "frames" in protocol else []
    names = [labels["dataset"] or "unknown dataset", f"{labels['classes']} classes", f"{labels['ignored']} ignored"]
    corners = "yes" if protocol["align_corners"] else "no"
    return f"{', '.join(parts)}; align_corners {corners}; labels: {', '.join(names)}"
