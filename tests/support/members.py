"""Attributes of what infer.py finds: of modules, classes with their bases, and instances."""

from typing import NamedTuple

from support.library import from_library, has
from support.values import NOTHING, Value

OBJECT = set(dir(object))  # without __call__, which hasattr would find on its type


class Members:
    def attribute(self, value, name):
        """-> a set of values, or None where the project itself says that there is no such attribute."""
        kind, what, _ = value
        if kind == "module":
            if name in what.scope.names:
                return self.name(name, what.scope)
            inner = self.project.find(f"{what.name}.{name}")
            if inner:
                return frozenset([Value("module", inner)])
            return NOTHING if name in ("__file__", "__name__", "__doc__", "__dict__", "__path__") else None
        if kind in ("class", "instance"):
            return self.member(value, name)
        if kind == "lib":
            return from_library(getattr(what, name)) if hasattr(what, name) else NOTHING
        if kind == "many" and name in ("values", "get", "pop", "setdefault", "items", "popleft", "append"):
            return frozenset([Value("container", value, name)])
        return NOTHING

    def member(self, value, name):
        kind, cls, _ = value
        found = set()
        for ancestor, is_known in self.ancestry(cls):
            if not is_known:
                if ancestor is None or has(ancestor, name):
                    return frozenset(found) or NOTHING
                continue
            if name in ancestor.scope.names:
                for binding in ancestor.scope.names[name]:
                    found |= self.bound(binding, ancestor, value)
            for scope, binding in ancestor.attributes.get(name, ()):
                found |= self.binding(binding, scope, name)
            if name in ancestor.scope.names or name in ancestor.attributes:
                return frozenset(found) or NOTHING
        if any(name.startswith(begin) for ancestor, known in self.ancestry(cls) if known for begin in ancestor.dynamic):
            return NOTHING
        if name in OBJECT or name in self.project.foreign or name in ("__name__", "__dict__"):
            return NOTHING
        return None

    def bound(self, binding, cls, value):
        if binding.how != "def":
            return self.binding(binding, cls.scope, "")
        scope = cls.scope.module.functions[binding.node]
        if scope.has_decorator("property", "cached_property"):
            return self.returned(scope)
        if scope.has_decorator("staticmethod") or (value.kind == "class" and not scope.has_decorator("classmethod")):
            return {Value("function", scope)}
        return {Value("method", scope, value)}

    def ancestry(self, cls, seen=()):
        """[(Class, True) or (library class or None, False)] in the order in which Python looks."""
        if cls in self.bases_of:
            return self.bases_of[cls]
        if cls in seen:
            return []
        found = [(cls, True)]
        for base in cls.node.bases:
            for value in self.of(base, cls.scope.parent) or NOTHING:
                if value.kind == "class":
                    found += [pair for pair in self.ancestry(value.what, (*seen, cls)) if pair not in found]
                elif value.kind == "lib" and value.what is NamedTuple:
                    found.append((tuple, False))
                else:
                    found.append((value.what if value.kind == "lib" else None, False))
        found.sort(key=lambda pair: not pair[1])
        self.bases_of[cls] = found
        return found
