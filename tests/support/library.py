"""Attributes of installed libraries, which are imported for that."""

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
    """An installed module, or None. Never torch, which the tests do not require."""
    if name.split(".")[0] == "torch":
        return None
    try:
        return importlib.import_module(name)
    except Exception:
        return None


def from_library(member):
    simple = isinstance(member, type) or type(member).__name__ in ("module", "function", "builtin_function_or_method")
    return frozenset([Value("lib", member)]) if simple else NOTHING


@functools.cache
def assigned_names(cls):
    """Attributes that the methods of a library class assign to self or its body declares."""
    try:
        text = inspect.getsource(cls)
    except (OSError, TypeError):
        return frozenset()
    return frozenset(re.findall(r"self\.(\w+)\s*(?:,[^=\n]*)?=[^=]", text) + re.findall(r"^    (\w+)\s*:", text, re.M))


def has(member, name):
    """Does this member of a library, or a class that it inherits from, have the attribute?"""
    return hasattr(member, name) or any(name in assigned_names(cls) for cls in getattr(member, "__mro__", ()))


CACHE = {}


def library_attributes(modules):
    """Attributes of the builtin types, of the imported libraries, and of their classes."""
    if modules not in CACHE:
        names, files, members = set(), set(), list(vars(builtins).values())
        for name in modules:
            module = library(name)
            if module is None:
                continue
            names |= set(dir(module))
            parts = [getattr(module, part, None) for part in dir(module)]
            for part in parts:  # numpy.random with numpy
                if type(part).__name__ == "module" and part.__name__.startswith(name + "."):
                    names |= set(dir(part))
                    members += [getattr(part, inner, None) for inner in dir(part)]
            members += parts
        for member in members:
            if isinstance(member, type):
                names |= set(dir(member)) | set(getattr(member, "_fields", ()))
                files |= {getattr(sys.modules.get(cls.__module__), "__file__", None) for cls in member.__mro__}
            elif callable(member) or type(member).__module__ == "builtins":
                names |= set(dir(type(member)))
        for cls in object.__subclasses__():  # also those without a name in their module, that of zlib.decompressobj()
            if cls.__module__ in modules:
                names |= set(dir(cls))
        for file in files:
            if file and file.endswith(".py"):
                names |= set(re.findall(r"self\.(\w+)", Path(file).read_text(errors="replace")))
        CACHE[modules] = names
    return CACHE[modules]
