"""Static checks of the whole project: names that do not exist, arguments that a function does not take.

    for finding in names(project): ...     # bare names, imports, module.attribute, instance.attribute
    for finding in calls(project): ...     # in call_net.py: arguments of functions, constructors and overrides

They find what a merge or a deletion leaves broken. Nothing is run. A finding is "path:line: problem".
"""

import ast
import builtins

from support.infer import Types
from support.library import library_attributes
from support.values import UNKNOWN, Value

# Methods of our classes that a library calls, by the library's base class.
PROTOCOLS = {("jittor", "Module"): ("execute",), ("jittor", "Function"): ("execute", "grad")}
PROTOCOLS.update({("torch", "Module"): ("forward",), ("torch", "Function"): ("forward", "backward")})
OURS = ("module", "class", "instance", "super")
MODULE_NAMES = {"__file__", "__name__", "__doc__", "__builtins__", "__path__", "__class__"}


def in_tests(module):
    return module.path.startswith("tests/")


def finding(scope, node, text):
    return f"{scope.module.path}:{node.lineno}: {text}"


def bare_names(project):
    """Names that are not defined in the function, around it, or as builtins."""
    for module in project.modules.values():
        for scope in module.scopes:
            for node in scope.nodes:
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and not visible(node.id, scope):
                    yield finding(scope, node, f"{node.id} is defined nowhere")


def visible(name, scope):
    first = scope
    while scope is not None:
        if name in scope.names and (scope is first or not scope.is_class):
            return True
        scope = scope.parent
    return hasattr(builtins, name) or name in MODULE_NAMES


def imports(project):
    """from module import name, for modules of the project."""
    for module in project.modules.values():
        for scope in module.scopes:
            for bindings in scope.names.values():
                for binding in bindings:
                    if binding.form != "from":
                        continue
                    source, name = binding.extra
                    target = project.find(source, module)
                    if target and name not in target.scope.names and not project.find(f"{target.name}.{name}"):
                        yield finding(scope, binding.node, f"{source} has no {name}")
                    if not target and project.has_package(source.split(".")[0]) and not project.has_package(source):
                        yield finding(scope, binding.node, f"there is no module {source}")


def attributes(project, types):
    """value.attribute where the value can be inferred, and methods that libraries and syntax need."""
    for module in project.modules.values():
        for scope in module.scopes:
            for node in scope.nodes:
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    values = [value for value in types.of(node.value, scope) if value.tag in OURS]
                    without = [value for value in values if lacks(types, value, node.attr)]
                    if without and len(without) == len(values):  # not all: there may be an isinstance
                        yield finding(scope, node, f"{show(without[0])} has no {node.attr}")
                for values, name in needed_by_syntax(node, scope, types) if not in_tests(module) else ():
                    values = [value for value in values if value.tag in OURS]
                    if values and all(types.attribute(value, name) is None for value in values):
                        place = getattr(node, "iter", getattr(node, "context_expr", node))
                        yield finding(scope, place, f"{show(values[0])} has no {name}")
        for cls in module.classes.values():
            for name in protocol(types, cls):
                if not any(ours and name in base.scope.names for base, ours in types.ancestry(cls)):
                    yield finding(cls.scope, cls.node, f"{cls} has no {name}")


def lacks(types, value, name):
    if value.tag == "super":
        bases = [pair for pair in types.ancestry(value.what) if pair[0] is not value.what]
        return not any(
            name in base.scope.names if ours else base is None or hasattr(base, name) for base, ours in bases
        )
    if types.attribute(value, name) is not None:
        if value.tag == "instance" and abstract(types, value, name):
            return any(abstract(types, Value("instance", leaf), name) for leaf in leaves(types, value.what))
        return False
    if value.tag == "instance" and value.of == "self":  # a base may use what all of its subclasses define
        below = [leaf for leaf in leaves(types, value.what) if leaf is not value.what]
        return not below or any(types.attribute(Value("instance", leaf), name) is None for leaf in below)
    return True


def abstract(types, value, name):
    """Is the method only `raise NotImplementedError`?"""
    method = types.first_method(value, name)
    body = method[0].node.body if method else []
    last = body[-1] if isinstance(body, list) and body else None
    return isinstance(last, ast.Raise) and "NotImplementedError" in ast.unparse(last) and len(body) <= 2


def leaves(types, cls):
    """The subclasses of `cls` (and `cls` itself) that have no subclasses or of which instances are made."""
    every = [c for module in types.project.modules.values() for c in module.classes.values()]
    below = [c for c in every if (cls, True) in types.ancestry(c)]
    return [
        c for c in below if c in types.made or not any(c is not d and (c, True) in types.ancestry(d) for d in below)
    ]


def protocol(types, cls):
    """Methods that a library calls on this class, if it is used and its only library base is in PROTOCOLS."""
    outside = [base for base, ours in types.ancestry(cls) if not ours]
    if len(outside) != 1 or (cls not in types.made and leaves(types, cls) != [cls]):
        return ()
    if outside == [None]:  # torch is not imported here
        return ("forward",) if any(ast.unparse(base) == "nn.Module" for base in cls.node.bases) else ()
    return PROTOCOLS.get((outside[0].__module__.split(".")[0], outside[0].__name__), ())


def needed_by_syntax(node, scope, types):
    """(values, special method that one of them must have) for a call, an index, a loop or a with statement."""
    if isinstance(node, ast.Call):
        yield [value for value in types.of(node.func, scope) if value.tag == "instance"], "__call__"
        if isinstance(node.func, ast.Name) and node.func.id == "len" and node.args:
            yield types.of(node.args[0], scope), "__len__"
    elif isinstance(node, ast.Subscript):
        yield types.of(node.value, scope), "__getitem__" if isinstance(node.ctx, ast.Load) else "__setitem__"
    elif isinstance(node, (ast.For, ast.comprehension)):
        values = types.of(node.iter, scope)
        if not any(types.attribute(value, "__getitem__") for value in values):
            yield values, "__iter__"
    elif isinstance(node, ast.withitem):
        yield types.of(node.context_expr, scope), "__enter__"
        yield types.of(node.context_expr, scope), "__exit__"


def show(value):
    if value.tag in ("function", "method"):
        return f"{value.tag} {show_scope(value.what)}"
    return f"{value.tag} {getattr(value.what, 'name', value.what)}"


def show_scope(scope):
    return f"{scope.owner or scope.module.name}." + getattr(scope.node, "name", "lambda")


def unknown_receivers(project, types):
    """.name of a value that cannot be inferred: some class of the project or of a library must have it."""
    attributes = known_attributes(project)
    for module in project.modules.values():
        for scope in module.scopes if not in_tests(module) and "torch" not in module.imported else ():
            for node in scope.nodes:
                if isinstance(node, ast.Attribute) and node.attr not in attributes:
                    if isinstance(node.ctx, ast.Load) and UNKNOWN in types.of(node.value, scope):
                        yield finding(scope, node, f"no class has an attribute {node.attr}")


def known_attributes(project):
    attributes = set(project.foreign)
    for module in project.modules.values():
        for cls in module.classes.values():
            attributes |= set(cls.scope.names) | set(cls.attributes)
        attributes |= module.options
    return attributes | library_attributes(frozenset(imported(project)))


def imported(project):
    for module in project.modules.values():
        if not in_tests(module):
            yield from (name for name in module.imported if not project.find(name.split(".")[0], module))


def names(project, types=None):
    types = types or Types(project)
    yield from bare_names(project)
    yield from imports(project)
    yield from attributes(project, types)
    yield from unknown_receivers(project, types)
