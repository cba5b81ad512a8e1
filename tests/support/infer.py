"""Infers what an expression of this project can be: modules, classes, instances, functions.

    types = Types(project)
    types.of(node, scope)      # a set of values, for example {Value("instance", Class)}; UNKNOWN is one of them

Control flow is ignored: a name is everything that is assigned to it, a parameter everything that a resolved call
passes. That is enough to follow `self.head.cca.gamma` or `optimizer = build(..)` to the class.
"""

import ast
import builtins

from support.calling import Calling
from support.library import from_library, library
from support.members import Members
from support.values import NOTHING, UNKNOWN, Value

ROUNDS = 3  # how often values of arguments are passed on to parameters


class Types(Members, Calling):
    def __init__(self, project, rounds=ROUNDS):
        self.project = project
        self.made = set()  # classes of which the project makes instances
        self.parameters = {}  # {(function node, name): set of values}
        self.bases_of = {}
        for _ in range(rounds):
            self.memo, self.busy = {}, set()
            passed = {}
            for module in project.modules.values():
                for scope in module.scopes:
                    self.pass_arguments(module, scope, passed)
            settled = passed == self.parameters
            self.parameters = passed
            if settled:
                break
        self.memo, self.busy = {}, set()

    def of(self, node, scope):
        key = (node, scope)
        if key in self.memo:
            return self.memo[key]
        if key in self.busy:
            return frozenset()
        self.busy.add(key)
        rule = getattr(self, "of_" + type(node).__name__, None)
        values = rule(node, scope) if rule else NOTHING
        self.busy.discard(key)
        self.memo[key] = values
        return values

    def of_Constant(self, node, scope):
        if isinstance(node.value, str):
            return frozenset([Value("text", node.value)])
        return frozenset([Value("libinst", type(node.value))]) if node.value is not None else frozenset()

    def of_JoinedStr(self, node, scope):
        return frozenset([Value("libinst", str)])

    def of_Name(self, node, scope):
        return self.name(node.id, scope)

    def name(self, name, scope):
        first = scope
        while scope is not None:
            if name in scope.names and (scope is first or not scope.is_class):
                return self.union(self.binding(binding, scope, name) for binding in scope.names[name])
            scope = scope.parent
        return from_library(getattr(builtins, name)) if hasattr(builtins, name) else NOTHING

    @staticmethod
    def union(sets):
        return frozenset().union(*sets)

    def binding(self, binding, scope, name):
        form, node, extra = binding
        if form == "import":
            target, renamed = extra
            module = self.project.find(target if renamed else target.split(".")[0], scope.module)
            if module:
                return frozenset([Value("module", module)])
            outside = library(target if renamed else target.split(".")[0])
            return from_library(outside) if outside else NOTHING
        if form == "from":
            return self.imported(*extra, scope.module)
        if form == "def":
            return self.function_value(node, scope)
        if form == "class":
            return frozenset([Value("class", scope.module.classes[node])])
        if form == "param":
            if scope.is_first(name):
                tag = "class" if scope.has_decorator("classmethod") else "instance"
                return frozenset([Value(tag, scope.owner, "self")])
            return self.parameters.get((scope.node, name), NOTHING)
        if form == "value":
            return self.part(self.of(node, scope), extra)
        if form == "element":
            return self.part(self.elements(self.of(node, scope)), extra)
        if form == "with":
            return self.part(self.entered(self.of(node, scope)), extra)
        return NOTHING

    def function_value(self, node, scope):
        return frozenset([Value("function", scope.module.functions[node])])

    def imported(self, source, name, near):
        module = self.project.find(source, near)
        if module:
            if name in module.scope.names and module is not near:  # a package may import its own modules
                return self.name(name, module.scope)
            inner = self.project.find(f"{module.name}.{name}")
            return frozenset([Value("module", inner)]) if inner else NOTHING
        inner = self.project.find(f"{source}.{name}")
        if inner:
            return frozenset([Value("module", inner)])
        outside = library(source)
        member = getattr(outside, name, None) if outside else None
        return from_library(member if member is not None else library(f"{source}.{name}"))

    def part(self, values, places):
        """An element of nested tuples: values[places[0]][places[1]].."""
        for place in places or ():
            parts = set()
            for value in values:
                if value.tag == "tuple" and place is not None and place < len(value.what):
                    parts |= value.what[place]
                else:
                    parts |= self.elements([value])
            values = frozenset(parts)
        return values

    def elements(self, values):
        elements = set()
        for value in values:
            if value.tag == "many":
                elements |= value.what
            elif value.tag == "tuple":
                elements |= self.union(value.what)
            else:
                elements.add(UNKNOWN)
        return frozenset(elements)

    def entered(self, values):
        """The values of `with ... as`."""
        results = set()
        for value in values:
            if value.tag == "instance":
                enter = self.attribute(value, "__enter__")
                results |= self.union(self.result(v) for v in enter) if enter else {UNKNOWN}
            else:
                results |= value.what if value.tag == "many" else {value}
        return frozenset(results)

    def of_Tuple(self, node, scope):
        if any(isinstance(part, ast.Starred) for part in node.elts):
            return self.of_List(node, scope)
        return frozenset([Value("tuple", tuple(self.of(part, scope) for part in node.elts))])

    def of_List(self, node, scope):
        parts = set()
        for part in node.elts:
            inner = isinstance(part, ast.Starred)
            parts |= self.elements(self.of(part.value, scope)) if inner else self.of(part, scope)
        return frozenset([Value("many", frozenset(parts))])

    of_Set = of_List

    def of_Dict(self, node, scope):
        parts = [
            self.of(value, scope) if key else self.elements(self.of(value, scope))
            for key, value in zip(node.keys, node.values)
        ]
        return frozenset([Value("many", self.union(parts), "dict")])

    def of_comprehension(self, node, scope):
        element = node.value if isinstance(node, ast.DictComp) else node.elt
        return frozenset([Value("many", self.of(element, scope), "dict" if isinstance(node, ast.DictComp) else None)])

    of_ListComp = of_SetComp = of_DictComp = of_GeneratorExp = of_comprehension

    def of_Subscript(self, node, scope):
        values = self.of(node.value, scope)
        if isinstance(node.slice, ast.Slice):
            return values
        place = node.slice.value if isinstance(node.slice, ast.Constant) else None
        return self.part(values, (place if isinstance(place, int) and place >= 0 else None,))

    def of_IfExp(self, node, scope):
        return self.of(node.body, scope) | self.of(node.orelse, scope)

    def of_BoolOp(self, node, scope):
        return self.union(self.of(part, scope) for part in node.values)

    def of_NamedExpr(self, node, scope):
        return self.of(node.value, scope)

    def of_Starred(self, node, scope):
        return self.of(node.value, scope)

    def of_BinOp(self, node, scope):
        both = self.of(node.left, scope) | self.of(node.right, scope)
        many = [value for value in both if value.tag == "many"]
        return frozenset(many) or NOTHING

    def of_Lambda(self, node, scope):
        return self.function_value(node, scope)

    def of_Attribute(self, node, scope):
        return self.union(self.attribute(value, node.attr) or NOTHING for value in self.of(node.value, scope))
