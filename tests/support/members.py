"""Attributes of inferred values: of modules, classes with their bases, and instances."""

from typing import NamedTuple

from support.library import from_library, has
from support.values import NOTHING, Value

OBJECT = set(dir(object))  # not hasattr, which also finds attributes of the metaclass, __call__ for example


class Members:
    def attribute(self, value, name):
        """-> a set of values, or None if the sources show that there is no such attribute."""
        tag, what, _ = value
        if tag == "module":
            if name in what.scope.names:
                return self.name(name, what.scope)
            inner = self.project.find(f"{what.name}.{name}")
            if inner:
                return frozenset([Value("module", inner)])
            return NOTHING if name in ("__file__", "__name__", "__doc__", "__dict__", "__path__") else None
        if tag in ("class", "instance"):
            return self.member(value, name)
        if tag == "lib":
            return from_library(getattr(what, name)) if hasattr(what, name) else NOTHING
        if tag == "many" and name in ("values", "get", "pop", "setdefault", "items", "popleft", "append"):
            return frozenset([Value("container", value, name)])
        return NOTHING

    def member(self, value, name):
        tag, cls, _ = value
        values = set()
        for ancestor, ours in self.ancestry(cls):
            if not ours:
                if ancestor is None or has(ancestor, name):
                    return frozenset(values) or NOTHING
                continue
            if name in ancestor.scope.names:
                for binding in ancestor.scope.names[name]:
                    values |= self.bound(binding, ancestor, value)
            for scope, binding in ancestor.attributes.get(name, ()):
                values |= self.binding(binding, scope, name)
            if name in ancestor.scope.names or name in ancestor.attributes:
                return frozenset(values) or NOTHING
        if any(name.startswith(prefix) for base, ours in self.ancestry(cls) if ours for prefix in base.dynamic):
            return NOTHING
        if name in OBJECT or name in self.project.foreign or name in ("__name__", "__dict__"):
            return NOTHING
        return None

    def bound(self, binding, cls, value):
        if binding.form != "def":
            return self.binding(binding, cls.scope, "")
        scope = cls.scope.module.functions[binding.node]
        if scope.has_decorator("property", "cached_property"):
            return self.returned(scope)
        if scope.has_decorator("staticmethod") or (value.tag == "class" and not scope.has_decorator("classmethod")):
            return {Value("function", scope)}
        return {Value("method", scope, value)}

    def ancestry(self, cls, seen=()):
        """[(Class, True) or (library class or None, False)] in the order in which Python searches."""
        if cls in self.bases_of:
            return self.bases_of[cls]
        if cls in seen:
            return []
        bases = [(cls, True)]
        for base in cls.node.bases:
            for value in self.of(base, cls.scope.parent) or NOTHING:
                if value.tag == "class":
                    bases += [pair for pair in self.ancestry(value.what, (*seen, cls)) if pair not in bases]
                elif value.tag == "lib" and value.what is NamedTuple:
                    bases.append((tuple, False))
                else:
                    bases.append((value.what if value.tag == "lib" else None, False))
        bases.sort(key=lambda pair: not pair[1])
        self.bases_of[cls] = bases
        return bases
