"""A Python file as a syntax tree: its scopes, classes, and what each name is bound to. Nothing is imported or run."""

import ast
import functools
from typing import NamedTuple

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Binding(NamedTuple):
    """How a name gets its value: form = value, element, with, def, class, import, from, param, star, stars, unknown."""

    form: str
    node: object
    extra: object = None


class Scope:
    """A module, a class body or a function. Comprehensions belong to the scope of their function."""

    def __init__(self, module, node, parent=None, owner=None):
        self.module, self.node, self.parent, self.owner = module, node, parent, owner
        self.names = {}
        self.children = []
        self.nodes = []  # all nodes that are evaluated in this scope
        self.returns, self.yields = [], []

    def bind(self, name, form, node, extra=None):
        self.names.setdefault(name, []).append(Binding(form, node, extra))

    @property
    def is_class(self):
        return isinstance(self.node, ast.ClassDef)

    def is_first(self, name):
        """Is `name` the `self` of this method?"""
        if not self.owner or not isinstance(self.node, FUNCTIONS) or self.has_decorator("staticmethod"):
            return False
        positional = [*self.node.args.posonlyargs, *self.node.args.args]
        return bool(positional) and positional[0].arg == name

    def has_decorator(self, *names):
        decorators = getattr(self.node, "decorator_list", ())
        return any(ast.unparse(decorator).split(".")[-1].split("(")[0] in names for decorator in decorators)

    def owner_called(self, name):
        """The class whose `self` is called `name` here, also in functions inside a method."""
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
        self.attributes = {}  # name -> [(scope, Binding)] of assignments to self
        self.dynamic = set()  # prefixes of names in setattr(self, f"block{n}", ..); "" is any name

    def __repr__(self):
        return f"{self.scope.module.name}.{self.name}"


class Module:
    def __init__(self, path, tree):
        self.path, self.tree = path, tree
        name = path[: -len(".py")].replace("/", ".")
        self.package = name.endswith("__init__") or name == "__init__"
        self.name = name[: -len(".__init__")] if name.endswith(".__init__") else name
        self.scopes, self.classes = [], {}  # classes: {ClassDef node: Class}
        self.foreign = set()  # names of attributes that are assigned to other objects than self
        self.functions = {}  # {node: Scope}
        self.options = set()  # attributes of parsed arguments, save_dir for "--save-dir"
        self.imported = set()  # names of modules
        self.scope = None  # set by enter
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
            for argument, form in ((arguments.vararg, "star"), (arguments.kwarg, "stars")):
                if argument:
                    scope.bind(argument.arg, form, argument)
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

    def assign(self, target, form, value, scope, extra=None):
        if isinstance(target, ast.Name):
            scope.bind(target.id, form, value, extra)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for number, part in enumerate(target.elts):
                place = (*(extra or ()), None if any(isinstance(p, ast.Starred) for p in target.elts) else number)
                part = part.value if isinstance(part, ast.Starred) else part
                self.assign(part, form, value, scope, place)
        elif isinstance(target, ast.Attribute):
            owner = scope.owner_called(target.value.id) if isinstance(target.value, ast.Name) else None
            if owner:
                owner.attributes.setdefault(target.attr, []).append((scope, Binding(form, value, extra)))
            else:
                self.foreign.add(target.attr)


@functools.lru_cache(maxsize=4096)
def parse(path, text):
    return Module(path, ast.parse(text, path))
