"""The Python files of this project as syntax trees: modules, scopes, classes, and what each name is bound to.

    project = Project(read_sources(ROOT))          # {"utils/weights/any_file.py": text, ..}
    project.modules["utils.weights.any_file"].scope.names   # {"start_from": [Binding, ..], ..}

Nothing is imported or run. A changed source is given instead of the one on disk, as deletions.py does.
"""

import ast
import functools
from pathlib import Path
from typing import NamedTuple

OWN = ("train.py", "evaluate.py", "models/", "datasets/", "utils/", "scripts/")  # all but the tests
SKIP = {"runs", "snapshots", "build"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def read_sources(root):
    """{path relative to `root`: text} of every Python file of the project, tests included."""
    found = {}
    for path in sorted(Path(root).rglob("*.py")):
        parts = path.relative_to(root).parts
        if not any(
            part in SKIP or part.startswith(".") or (Path(root) / part / "pyvenv.cfg").exists() for part in parts
        ):
            found["/".join(parts)] = path.read_text()
    return found


class Binding(NamedTuple):
    """How a name gets a value: how = value, element, part, with, def, class, import, from, param or unknown."""

    how: str
    node: object
    extra: object = None


class Scope:
    """A module, a class body or a function. Comprehensions share the scope of their function."""

    def __init__(self, module, node, parent=None, owner=None):
        self.module, self.node, self.parent, self.owner = module, node, parent, owner
        self.names = {}
        self.children = []
        self.nodes = []  # every node that is evaluated in this scope
        self.returns, self.yields = [], []

    def bind(self, name, how, node, extra=None):
        self.names.setdefault(name, []).append(Binding(how, node, extra))

    @property
    def is_class(self):
        return isinstance(self.node, ast.ClassDef)

    def is_first(self, name):
        """Is `name` the `self` of this method?"""
        if not self.owner or not isinstance(self.node, FUNCTIONS) or self.has_decorator("staticmethod"):
            return False
        positional = [*self.node.args.posonlyargs, *self.node.args.args]
        return bool(positional) and positional[0].arg == name

    def has_decorator(self, *wanted):
        found = {ast.unparse(part).split(".")[-1].split("(")[0] for part in getattr(self.node, "decorator_list", ())}
        return bool(found & set(wanted))

    def owner_called(self, name):
        """The class whose `self` is `name` here, also in functions inside a method."""
        scope = self
        while scope and not scope.is_class:
            if scope.is_first(name):
                return scope.owner
            if name in scope.names:
                return None
            scope = scope.parent
        return None


class Class:
    def __init__(self, scope):
        self.scope, self.node, self.name = scope, scope.node, scope.node.name
        self.attributes = {}  # name -> [(scope, Binding)] of what is assigned on self
        self.dynamic = set()  # beginnings of names given to setattr(self, f"block{n}", ..); "" is any name

    def __repr__(self):
        return f"{self.scope.module.name}.{self.name}"


class Module:
    def __init__(self, path, tree):
        self.path, self.tree = path, tree
        name = path[: -len(".py")].replace("/", ".")
        self.package = name.endswith("__init__") or name == "__init__"
        self.name = name[: -len(".__init__")] if name.endswith(".__init__") else name
        self.scopes, self.classes = [], {}  # classes: {ClassDef node: Class}
        self.foreign = set()  # names of attributes that are assigned on something else than self
        self.functions = {}  # {node: Scope}
        self.options = set()  # attributes that "--save-dir" makes of parsed arguments
        self.imported = set()  # names of modules
        self.scope = None  # enter sets it
        self.enter(tree, None, None)

    def enter(self, node, parent, owner):
        scope = Scope(self, node, parent, owner)
        self.scope = self.scope or scope
        self.scopes.append(scope)
        if parent:
            parent.children.append(scope)
        if isinstance(node, FUNCTIONS):
            self.functions[node] = scope
            arguments = node.args
            positional = [*arguments.posonlyargs, *arguments.args]
            for argument in [*positional, *arguments.kwonlyargs]:
                scope.bind(argument.arg, "param", argument)
            for argument, how in ((arguments.vararg, "star"), (arguments.kwarg, "stars")):
                if argument:
                    scope.bind(argument.arg, how, argument)
            body = [node.body] if isinstance(node, ast.Lambda) else node.body
        else:
            body = node.body
        if isinstance(node, ast.ClassDef):
            owner = self.classes[node] = Class(scope)
        if isinstance(node, ast.Lambda):
            scope.returns.append(node.body)
        for child in body:
            self.visit(child, scope, owner)
        return scope

    def visit(self, node, scope, owner):
        scope.nodes.append(node)
        if isinstance(node, FUNCTIONS):
            if not isinstance(node, ast.Lambda):
                scope.bind(node.name, "def", node)
                for part in node.decorator_list:
                    self.visit(part, scope, owner)
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                self.visit(default, scope, owner)
            self.enter(node, scope, owner if scope.is_class else None)
            return
        if isinstance(node, ast.ClassDef):
            scope.bind(node.name, "class", node)
            for part in [*node.bases, *(keyword.value for keyword in node.keywords), *node.decorator_list]:
                self.visit(part, scope, owner)
            self.enter(node, scope, None)
            return
        self.note(node, scope)
        for child in ast.iter_child_nodes(node):
            self.visit(child, scope, owner)

    def note(self, node, scope):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("--"):
            self.options.add(node.value.lstrip("-").replace("-", "_"))
        if isinstance(node, ast.Import):
            for alias in node.names:
                scope.bind(alias.asname or alias.name.split(".")[0], "import", node, (alias.name, bool(alias.asname)))
                self.imported.add(alias.name)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                folder = self.name if self.package else self.name.rpartition(".")[0]
                for _ in range(node.level - 1):
                    folder = folder.rpartition(".")[0]
                source = f"{folder}.{source}".strip(".")
            self.imported.add(source)
            for alias in node.names:
                scope.bind(alias.asname or alias.name, "from", node, (source, alias.name))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self.assign(target, "value", node.value, scope)
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)):
            self.assign(node.target, "value" if node.value is not None else "unknown", node.value, scope)
        elif isinstance(node, (ast.For, ast.comprehension)):
            self.assign(node.target, "element", node.iter, scope)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self.assign(node.optional_vars, "with", node.context_expr, scope)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            scope.bind(node.name, "unknown", node)
        elif isinstance(node, ast.Global):
            for name in node.names:
                self.scope.bind(name, "unknown", node)
        elif isinstance(node, ast.Return) and node.value is not None:
            scope.returns.append(node.value)
        elif isinstance(node, (ast.Yield, ast.YieldFrom)):
            scope.yields.append(node)

        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            self.options.update(part.value for part in node.args if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr" and node.args:
            receiver, name = node.args[0], node.args[1]
            owner = scope.owner_called(receiver.id) if isinstance(receiver, ast.Name) else None
            first = name.values[0] if isinstance(name, ast.JoinedStr) and name.values else name
            if owner:
                owner.dynamic.add(first.value if isinstance(first, ast.Constant) else "")

    def assign(self, target, how, value, scope, extra=None):
        if isinstance(target, ast.Name):
            scope.bind(target.id, how, value, extra)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for number, part in enumerate(target.elts):
                place = (*(extra or ()), None if any(isinstance(p, ast.Starred) for p in target.elts) else number)
                part = part.value if isinstance(part, ast.Starred) else part
                self.assign(part, how, value, scope, place)
        elif isinstance(target, ast.Attribute):
            owner = scope.owner_called(target.value.id) if isinstance(target.value, ast.Name) else None
            if owner:
                owner.attributes.setdefault(target.attr, []).append((scope, Binding(how, value, extra)))
            else:
                self.foreign.add(target.attr)


@functools.lru_cache(maxsize=4096)
def parse(path, text):
    return Module(path, ast.parse(text, path))


class Project:
    def __init__(self, sources):
        self.modules = {}
        for path, text in sources.items():
            module = parse(path, text)
            self.modules[module.name] = module
        # attributes that instances get from outside; what replaces a method, or stands in for it in a test, makes none
        self.foreign = set().union(*(m.foreign for m in self.modules.values() if not m.path.startswith("tests/")))
        for module in self.modules.values():
            for cls in module.classes.values():
                self.foreign -= {name for name, found in cls.scope.names.items() if found[0].how == "def"}

    def find(self, name, near=None):
        """The module of this name; one beside `near` (a script's own folder is on its path) if there is no other."""
        if name in self.modules:
            return self.modules[name]
        if near is not None:
            folder = near.name.rpartition(".")[0]
            for place in (folder, folder.rpartition(".")[0], "tests", "scripts"):
                if f"{place}.{name}" in self.modules:
                    return self.modules[f"{place}.{name}"]
        return None

    def has_package(self, name):
        return any(other.startswith(name + ".") for other in self.modules)


def written_functions(sources):
    """(path, name, node) of every function and method outside the tests, the name as Class.method. Functions inside
    functions are part of those."""
    for path, text in sources.items():
        if path.startswith(OWN):
            yield from ((path, name, node) for name, node in functions_in(ast.parse(text), ""))


def functions_in(node, prefix):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS[:2]):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from functions_in(child, f"{prefix}{child.name}.")
        elif isinstance(child, (ast.If, ast.Try)):
            yield from functions_in(child, prefix)
