"""Calls for infer.py: the values that they return, and those that they pass to parameters."""

import ast

from support.values import NOTHING, Value

PASS_THROUGH = {"list", "tuple", "set", "sorted", "reversed", "iter", "next", "deque", "frozenset"}


class Calling:
    def of_Call(self, node, scope):
        function = self.of(node.func, scope)
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            owner = next((s.owner for s in self.outward(scope) if s.owner), None)
            return frozenset([Value("super", owner)]) if owner else NOTHING
        return self.union(self.called(value, node, scope) for value in function) or NOTHING

    @staticmethod
    def outward(scope):
        while scope:
            yield scope
            scope = scope.parent

    def called(self, value, node, scope):
        tag, what, of = value
        if tag == "class":
            if not scope.module.path.startswith("tests/"):
                self.made.add(what)
            return frozenset([Value("instance", what)])
        if tag in ("function", "method"):
            return self.result(value)
        if tag == "instance":
            run = self.member(value, "__call__") or NOTHING
            run = run if run != NOTHING else self.member(value, "execute") or NOTHING
            return self.union(self.result(v) for v in run)
        if tag == "container":
            inside = self.elements([what])
            return frozenset([Value("many", inside)]) if of == "values" else inside if of != "items" else NOTHING
        if tag == "lib":
            name = getattr(what, "__name__", "")
            if name == "import_module" and node.args:
                texts = [v.what for v in self.of(node.args[0], scope) if v.tag == "text"]
                modules = [self.project.find(text) for text in texts]
                return frozenset(Value("module", module) for module in modules if module) or NOTHING
            if what is getattr and len(node.args) >= 2:
                texts = [v.what for v in self.of(node.args[1], scope) if v.tag == "text"]
                pairs = [self.attribute(v, text) for v in self.of(node.args[0], scope) for text in texts]
                return self.union(pair or () for pair in pairs) or NOTHING
            if name in PASS_THROUGH and node.args:
                inside = self.of(node.args[0], scope)
                return self.elements(inside) if name == "next" else inside
            if name == "partial" and node.args:
                return self.of(node.args[0], scope)
            if isinstance(what, type):
                return frozenset([Value("libinst", what)])
        return NOTHING

    def result(self, value):
        return self.returned(value.what) if value.tag in ("function", "method") else NOTHING

    def returned(self, scope):
        if scope.yields:
            parts = [
                self.elements(self.of(y.value, scope)) if isinstance(y, ast.YieldFrom) else self.of(y.value, scope)
                for y in scope.yields
                if y.value is not None
            ]
            return frozenset([Value("many", self.union(parts))])
        if scope.has_decorator("fixture"):
            return NOTHING
        return self.union(self.of(node, scope) for node in scope.returns) or NOTHING

    def callee(self, value):
        """-> (scope of the function that runs, number of bound arguments), or None if that is unknown."""
        tag, what, _ = value
        if tag == "function":
            return what, 0
        if tag == "method":
            return what, 1
        if tag == "class":
            return self.first_method(Value("instance", what), "__init__")
        if tag == "instance":
            return self.first_method(value, "__call__") or self.first_method(value, "execute")
        return None

    def first_method(self, value, name):
        for member in self.member(value, name) or ():
            if member.tag == "method":
                return member.what, 1
        return None

    def pass_arguments(self, module, scope, passed):
        test = module.path.startswith("tests/")
        for node in scope.nodes:
            if not isinstance(node, ast.Call):
                continue
            for value in self.of(node.func, scope):
                target = self.callee(value)
                if target and (
                    not test or target[0].module.path.startswith("tests/")
                ):  # not what tests pass to the project
                    self.pass_on(node, scope, *target, passed)

    def pass_on(self, call, scope, target, bound, passed):
        arguments = target.node.args
        names = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args]][bound:]
        for name, value in zip(names, call.args):
            if isinstance(value, ast.Starred):
                break
            passed.setdefault((target.node, name), set()).update(self.of(value, scope))
        accepted = {*names, *(argument.arg for argument in arguments.kwonlyargs)}
        for keyword in call.keywords:
            if keyword.arg in accepted:
                passed.setdefault((target.node, keyword.arg), set()).update(self.of(keyword.value, scope))
