"""What installed libraries hold: they are imported, and their classes asked for their attributes."""

import builtins
import functools
import importlib
import inspect
import re
import sys
from pathlib import Path

from support.values import NOTHING, Value


@functools.cache
def library(name):
    """An installed module, or None; torch never, which the tests do not require."""
    if name.split(".")[0] == "torch":
        return None
    try:
        return importlib.import_module(name)
    except Exception:
        return None


def from_library(thing):
    simple = isinstance(thing, type) or type(thing).__name__ in ("module", "function", "builtin_function_or_method")
    return frozenset([Value("lib", thing)]) if simple else NOTHING


@functools.cache
def assigned_names(cls):
    """Attributes that the methods of a library class assign on self, or its body declares."""
    try:
        text = inspect.getsource(cls)
    except (OSError, TypeError):
        return frozenset()
    return frozenset(re.findall(r"self\.(\w+)\s*(?:,[^=\n]*)?=[^=]", text) + re.findall(r"^    (\w+)\s*:", text, re.M))


def has(thing, name):
    """Has this library class (or what it is made of) the attribute?"""
    return hasattr(thing, name) or any(name in assigned_names(cls) for cls in getattr(thing, "__mro__", ()))


CACHE = {}


def library_attributes(modules):
    """Attributes of the built-in types, and of the libraries that are imported anywhere, and of their classes."""
    if modules not in CACHE:
        names, files, things = set(), set(), list(vars(builtins).values())
        for name in modules:
            module = library(name)
            if module is None:
                continue
            names |= set(dir(module))
            parts = [getattr(module, part, None) for part in dir(module)]
            for part in parts:  # numpy.random with numpy
                if type(part).__name__ == "module" and part.__name__.startswith(name + "."):
                    names |= set(dir(part))
                    things += [getattr(part, inner, None) for inner in dir(part)]
            things += parts
        for thing in things:
            if isinstance(thing, type):
                names |= set(dir(thing)) | set(getattr(thing, "_fields", ()))
                files |= {getattr(sys.modules.get(cls.__module__), "__file__", None) for cls in thing.__mro__}
            elif callable(thing) or type(thing).__module__ == "builtins":
                names |= set(dir(type(thing)))
        for file in files:
            if file and file.endswith(".py"):
                names |= set(re.findall(r"self\.(\w+)", Path(file).read_text(errors="replace")))
        CACHE[modules] = names
    return CACHE[modules]
