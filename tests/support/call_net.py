"""Checks arguments: calls, constructors, overrides and replaced methods must take what callers pass.

    for finding in calls(project, types): ...

Positional arguments are counted, keywords compared by name; `*rest` and `**options` of a call can be anything.
"""

import ast
from typing import NamedTuple

from support.infer import Types
from support.nets import finding, in_tests, show, show_scope
from support.values import Value


class Shape(NamedTuple):
    """What a call passes: the number of positional arguments, the keywords, and whether there may be more of either."""

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
    """Why a function with these `arguments`, of which the first `bound` are bound, does not take the call; or None."""
    only = [argument.arg for argument in arguments.posonlyargs]
    positional = [*only, *(argument.arg for argument in arguments.args)]
    optional = set(positional[len(positional) - len(arguments.defaults) :])
    keywords = {argument.arg for argument in arguments.kwonlyargs}
    required = {a.arg for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults) if default is None}
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
    missing = sorted(required - set(shape.names))
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
    shape, problems, count = shape_of(node), [], 0
    for value in types.of(node.func, scope):
        target = types.callee(value)
        if value.tag == "class" and not target:
            why, count = without_constructor(value.what, types, shape), count + 1
        elif target:
            if not in_tests(scope.module):
                made.setdefault(target[0], []).append((target[1], shape))
            why, count = refusal(target[0].node.args, target[1], shape), count + 1
        else:
            continue
        if why:
            problems.append(f"{show(value)} {why}")
    if problems and (len(problems) == count or not in_tests(scope.module)):  # in tests, one value that fits is enough
        yield finding(scope, node, problems[0])


def without_constructor(cls, types, shape):
    """A class without __init__ takes nothing, a NamedTuple its fields; constructors of libraries are not checked."""
    outside = [base for base, ours in types.ancestry(cls) if not ours]
    if any(ast.unparse(base).split(".")[-1] == "NamedTuple" for base in cls.node.bases):
        fields = [node for node in cls.node.body if isinstance(node, ast.AnnAssign)]
        arguments = ast.arguments([], [ast.arg(node.target.id) for node in fields], None, [], [], None, [])
        arguments.defaults = [node.value for node in fields if node.value is not None]
        return refusal(arguments, 0, shape)
    if outside or not (shape.count or shape.names):
        return None
    return "has no __init__ that takes arguments"


def overrides(project, types):
    """A method that overrides another of the project takes the same arguments under the same names."""
    for module in project.modules.values():
        for cls in module.classes.values() if not in_tests(module) else ():
            bases = [base for base, ours in types.ancestry(cls) if ours and base is not cls]
            for name, node in methods_of(cls).items():
                base = next((base for base in bases if name in methods_of(base)), None)
                if base and name not in ("__init__", "__new__"):
                    why = refusal(node.args, 0, shape_taken(methods_of(base)[name].args))
                    if why:
                        yield finding(cls.scope, node, f"{cls}.{name} overrides {base}.{name}, and {why}")


def methods_of(cls):
    return {node.name: node for node in cls.node.body if isinstance(node, ast.FunctionDef)}


def shape_taken(arguments):
    """The fullest call that a function takes: the first argument by position, the others by name."""
    names = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args]]
    count = max(len(arguments.posonlyargs), 1 if names else 0)
    keywords = [argument.arg for argument in arguments.kwonlyargs]
    return Shape(count, (*names[count:], *keywords), bool(arguments.vararg), bool(arguments.kwarg))


def replaced(project, types, made):
    """module.execute = run: `run` must take what callers of `execute` pass."""
    for module in project.modules.values():
        for scope in module.scopes if not in_tests(module) else ():
            for node in scope.nodes:
                if not isinstance(node, ast.Assign):
                    continue
                for target in (t for t in node.targets if isinstance(t, ast.Attribute)):
                    for value in types.of(node.value, scope):
                        if value.tag in ("function", "method"):
                            yield from refused(target, value, scope, types, made)


def refused(target, value, scope, types, made):
    reported = set()
    for method, (given, shape) in calls_of(target, scope, types, made):
        shape = shape._replace(count=shape.count - (1 - given))
        why = refusal(value.what.node.args, int(value.tag == "method"), shape)
        if why and method not in reported:
            reported.add(method)
            yield finding(scope, target, f"{show(value)} replaces {show_scope(method)}, and {why}")


def calls_of(target, scope, types, made):
    """Calls of the methods that an assignment to `target` replaces: of its class, or of every class if unknown."""
    receivers = [value for value in types.of(target.value, scope) if value.tag == "instance"]
    candidates = [types.first_method(Value("instance", value.what), target.attr) for value in receivers]
    methods = {candidate[0] for candidate in candidates if candidate}
    for method in made:
        if method.owner and getattr(method.node, "name", "") == target.attr:
            if method in methods or not receivers:
                yield from ((method, made_call) for made_call in made[method])
