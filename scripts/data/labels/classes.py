"""The classes of the written dataset: their order, names that classes.txt can hold, colours, and label values."""

import json
import re
from typing import NamedTuple

from datasets.reading.image_io import DataError
from models.tables import devkit_palette
from scripts.data.labels.export import BACKGROUND, VOID, VOID_NAMES, shortened

FILES = ("classes.txt", "classes.json")


class Classes(NamedTuple):
    names: list
    colours: list  # RGB, or None if the export has no colours
    values: dict  # {name in the export: value in the label files}
    fill: int  # the value of what is not annotated
    remarks: list


def plan(exported, wanted, unlabelled):
    """`exported`: [(name, colour or None)] of the export; `wanted`: names in their order, or None for all;
    `unlabelled`: background (a class, number 0 unless `wanted` has it elsewhere) or void."""
    given = {name: name_for_file(name) for name, _ in exported if name.lower() not in VOID_NAMES}
    names = list(dict.fromkeys(wanted or given.values()))
    names = [name for name in names if name.lower() not in VOID_NAMES]
    has_background, remarks = "background" in names, remarks_on(given, names)
    if has_background and not wanted:
        names.remove("background")
    if has_background and not wanted or not has_background and unlabelled == "background":
        names.insert(0, "background")
        if wanted:
            remarks.append("the class background, which --classes does not list, is number 0, before those of the file")
    if not 2 <= len(names) <= 254:
        more = "with --unlabelled background, what is not annotated is a class as well" if len(names) < 2 else ""
        raise DataError(f"{len(names)} classes ({shortened(names)}), and 2 to 254 are possible; {more}".rstrip("; "))
    number = {name: k for k, name in enumerate(names)}
    values = {name: number[safe] for name, safe in given.items() if safe in number}
    fill = number["background"] if unlabelled == "background" else VOID
    return Classes(names, colours_of(names, exported), values, fill, remarks)


def name_for_file(name):
    """One line of classes.txt: without line breaks, not a comment, and not ending like a colour."""
    name = " ".join(name.split()) or "_"
    if name.lower() in BACKGROUND:
        return "background"
    name = "_" + name.lstrip("#") if name[0] == "#" else name
    return re.sub(r" (\d+) (\d+) (\d+)$", r"_\1_\2_\3", name)


def remarks_on(given, names):
    lines = [f"the class {name!r} is written as {safe!r}" for name, safe in given.items() if name != safe]
    lower = {}
    for name in names:
        other = lower.setdefault(name.lower(), name)
        if other != name:
            lines.append(f"the classes {other!r} and {name!r} differ only in upper and lower case")
    return lines


def colours_of(names, exported):
    """RGB colours, unique; None if the export has none. A grey (v, v, v) with v above the class numbers is changed by
    one, because the project would take grey labels for colours where grey values can be colours of classes."""
    known = {name_for_file(name): tuple(colour) for name, colour in exported if colour}
    if not known:
        return None
    free = [colour for colour in devkit_palette(256) if colour not in known.values()]
    free = ([(0, 0, 0)] if (0, 0, 0) in free else []) + [colour for colour in free if any(colour)]
    colours = []
    for name in names:
        if name in known:
            colours.append(known[name])
        else:
            colours.append(free.pop(0) if name == "background" else free.pop(1))
    return [(r, g, b - 1) if r == g == b and r >= len(names) else (r, g, b) for r, g, b in colours]


def text_of(classes):
    """The lines of classes.txt."""
    if classes.colours is None:
        return "".join(f"{name}\n" for name in classes.names)
    return "".join(f"{name} {r} {g} {b}\n" for name, (r, g, b) in zip(classes.names, classes.colours))


def json_of(classes):
    """classes.json, which states that 255 is void: two classes with labels of 0 and 255 could also be masks."""
    known = {"names": classes.names, "ignore_label": VOID}
    if classes.colours:
        known["palette"] = classes.colours
    return json.dumps(known) + "\n"
