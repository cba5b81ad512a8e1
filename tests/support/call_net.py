"""The net of arguments: calls, constructors, overrides and replaced methods must take what they are given.

    for finding in calls(project, types): ...

Positional arguments and keywords are counted and named; `*rest` and `**options` of a call can be anything.
"""

import ast
from typing import NamedTuple

from support.infer import Types
from support.nets import find, in_tests, show, show_scope
from support.values import Value


class Shape(NamedTuple):
    """What a call passes: how many positional arguments, which keywords, and whether there may be more of either."""

    count: int
    names: tuple
    more: bool = False
    options: bool = False


def shape_of(call):
    starred = any(isinstance(argument, ast.Starred) for argument in call.args)
    count = sum(not isinstance(argument, ast.Starred) for argument in call.args)
    names = tuple(keyword.arg for keyword in call.keywords if keyword.arg)
    return Shape(count, names, starred, any(keyword.arg is None for keyword in call.keywords))


def refusal(arguments, bound, shape):
    """Why a function with these `arguments`, the first `bound` of which are given, does not take the call; or None."""
    only = [argument.arg for argument in arguments.posonlyargs]
    positional = [*only, *(argument.arg for argument in arguments.args)]
    optional = set(positional[len(positional) - len(arguments.defaults) :])
    keywords = {argument.arg for argument in arguments.kwonlyargs}
    needed = {a.arg for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults) if default is None}
    free = positional[bound:]
    if shape.count > len(free) and not arguments.vararg:
        return f"takes {len(free)} positional arguments, {shape.count} are given"
    given = set(free[: shape.count])
    for name in shape.names:
        if name in given:
            return f"gets {name} twice"
        if name not in keywords and name not in free[shape.count :] and not arguments.kwarg:
            return f"does not take {name}="
        if name in only and not arguments.kwarg:
            return f"takes {name} by position only"
    missing = [name for name in free[shape.count :] if name not in optional and name not in shape.names]
    if missing and not shape.more and not shape.options:
        return f"is called without {missing[0]}"
    missing = sorted(needed - set(shape.names))
    return f"is called without {missing[0]}=" if missing and not shape.options else None


def calls(project, types=None):
    types = types or Types(project)
    made = {}  # {function scope: [(number of bound arguments, Shape)]}, of calls outside the tests
    for module in project.modules.values():
        for scope in module.scopes:
            for node in scope.nodes:
                if isinstance(node, ast.Call):
                    yield from call(node, scope, types, made)
    yield from overrides(project, types)
    yield from replaced(project, types, made)


def call(node, scope, types, made):
    shape, said, count = shape_of(node), [], 0
    for value in types.of(node.func, scope):
        target = types.callee(value)
        if value.kind == "class" and not target:
            why, count = without_constructor(value.what, types, shape), count + 1
        elif target:
            if not in_tests(scope.module):
                made.setdefault(target[0], []).append((target[1], shape))
            why, count = refusal(target[0].node.args, target[1], shape), count + 1
        else:
            continue
        if why:
            said.append(f"{show(value)} {why}")
    if said and (len(said) == count or not in_tests(scope.module)):  # in tests, one of several values may do
        yield find(scope, node, said[0])


def without_constructor(cls, types, shape):
    """A class without __init__ takes nothing, a NamedTuple its fields; a library's constructor is not known."""
    outside = [found for found, known in types.ancestry(cls) if not known]
    if any(ast.unparse(base).split(".")[-1] == "NamedTuple" for base in cls.node.bases):
        fields = [node for node in cls.node.body if isinstance(node, ast.AnnAssign)]
        arguments = ast.arguments([], [ast.arg(node.target.id) for node in fields], None, [], [], None, [])
        arguments.defaults = [node.value for node in fields if node.value is not None]
        return refusal(arguments, 0, shape)
    if outside or not (shape.count or shape.names):
        return None
    return "has no __init__ that takes arguments"


def overrides(project, types):
    """A method that overrides one of the project takes what the other takes, under the same names."""
    for module in project.modules.values():
        for cls in module.classes.values() if not in_tests(module) else ():
            below = [found for found, known in types.ancestry(cls) if known and found is not cls]
            for node in cls.node.body:
                if not isinstance(node, ast.FunctionDef) or node.name in ("__init__", "__new__"):
                    continue
                for base in below:
                    other = next(
                        (n for n in base.node.body if isinstance(n, ast.FunctionDef) and n.name == node.name), None
                    )
                    if other:
                        why = refusal(node.args, 0, shape_taken(other.args))
                        if why:
                            yield find(cls.scope, node, f"{cls}.{node.name} overrides {base}.{node.name}, and {why}")
                        break


def shape_taken(arguments):
    """The fullest call that a function takes: the first argument by position, the others by name."""
    names = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args]]
    count = max(len(arguments.posonlyargs), 1 if names else 0)
    keywords = [argument.arg for argument in arguments.kwonlyargs]
    return Shape(count, (*names[count:], *keywords), bool(arguments.vararg), bool(arguments.kwarg))


def replaced(project, types, made):
    """module.execute = run: `run` takes what callers of that method pass."""
    for module in project.modules.values():
        for scope in module.scopes if not in_tests(module) else ():
            for node in scope.nodes:
                if not isinstance(node, ast.Assign):
                    continue
                for target in (t for t in node.targets if isinstance(t, ast.Attribute)):
                    for value in types.of(node.value, scope):
                        if value.kind in ("function", "method"):
                            yield from refused(target, value, scope, types, made)


def refused(target, value, scope, types, made):
    said = set()
    for method, (given, shape) in calls_of(target, scope, types, made):
        shape = shape._replace(count=shape.count - (1 - given))
        why = refusal(value.what.node.args, int(value.kind == "method"), shape)
        if why and method not in said:
            said.add(method)
            yield find(scope, target, f"{show(value)} stands in for {show_scope(method)}, and {why}")


def calls_of(target, scope, types, made):
    """Calls of the methods that an assignment to `target` replaces: those of its class, of every class if not known."""
    receivers = [value for value in types.of(target.value, scope) if value.kind == "instance"]
    methods = [types.first_method(Value("instance", value.what), target.attr) for value in receivers]
    wanted = {found[0] for found in methods if found}
    for method in made:
        if method.owner and getattr(method.node, "name", "") == target.attr:
            if method in wanted or not receivers:
                yield from ((method, made_call) for made_call in made[method])
