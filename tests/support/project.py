"""The Python files of this project as syntax trees.

    project = Project(read_sources(ROOT))          # {"utils/weights/any_file.py": text, ..}
    project.modules["utils.weights.any_file"].scope.names   # {"start_from": [Binding, ..], ..}

Nothing is imported or run. A source can be changed before, as deletions.py does.
"""

import ast
from pathlib import Path

from support.scopes import FUNCTIONS, parse

CODE = ("train.py", "evaluate.py", "models/", "datasets/", "utils/", "scripts/")  # all but the tests
SKIP = {"runs", "snapshots", "build"}


def read_sources(root):
    """{path relative to `root`: text} of every Python file of the project, tests included."""
    sources = {}
    for path in sorted(Path(root).rglob("*.py")):
        parts = path.relative_to(root).parts
        hidden = any(part in SKIP or part.startswith(".") for part in parts)
        if not hidden and not any((Path(root) / part / "pyvenv.cfg").exists() for part in parts):
            sources["/".join(parts)] = path.read_text()
    return sources


class Project:
    def __init__(self, sources):
        self.modules = {}
        for path, text in sources.items():
            module = parse(path, text)
            self.modules[module.name] = module
        # attributes that are assigned to instances from outside, except replaced methods and assignments in tests
        self.foreign = set().union(*(m.foreign for m in self.modules.values() if not m.path.startswith("tests/")))
        for module in self.modules.values():
            for cls in module.classes.values():
                self.foreign -= {name for name, bindings in cls.scope.names.items() if bindings[0].form == "def"}

    def find(self, name, near=None):
        """The module of this name; if there is none, one in the folder of `near`, which is on the path of a script."""
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
    """(path, name, node) of every function and method outside the tests, named Class.method. Functions inside functions
    are not listed."""
    for path, text in sources.items():
        if path.startswith(CODE):
            yield from ((path, name, node) for name, node in functions_in(ast.parse(text), ""))


def functions_in(node, prefix):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS[:2]):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from functions_in(child, f"{prefix}{child.name}.")
        elif isinstance(child, (ast.If, ast.Try)):
            yield from functions_in(child, prefix)
