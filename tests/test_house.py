"""The layout of the project, read from its sources: sizes of files and functions, and which package imports which."""

import ast
import importlib.util
from pathlib import Path

import pytest
from support.project import Project, read_sources
from support.scopes import FUNCTIONS

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES, MOST_LINES_OF_FUNCTION = 250, 60
SCRIPTS = sorted(f"scripts/{path.name}" for path in ROOT.glob("scripts/*.py") if path.name != "predict_onnx.py")
HEAVY = {"jittor", "torch", "cv2", "PIL", "onnx", "onnxruntime"}  # not imported before options are parsed


@pytest.fixture(scope="module")
def project():
    return Project(read_sources(ROOT))


def is_of(name, package):
    return name == package or name.startswith(package + ".")


def imports(project, scopes):
    """Full names of the imported modules: `from utils import jobs` gives utils.jobs."""
    bindings = [binding for scope in scopes for several in scope.names.values() for binding in several]
    names = {binding.extra[0] for binding in bindings if binding.form == "import"}
    for source, name in (binding.extra for binding in bindings if binding.form == "from"):
        names.add(f"{source}.{name}" if f"{source}.{name}" in project.modules else source)
    return names


def imports_at_start(project, module):
    """What importing the module imports: the statements outside functions."""
    return imports(project, [scope for scope in module.scopes if not isinstance(scope.node, FUNCTIONS)])


def is_standard(name, project):
    """Is this a module of Python itself?"""
    spec = importlib.util.find_spec(name) if name not in project.modules else None
    return spec is not None and "-packages" not in str(spec.origin)


def test_no_file_is_long():
    lines = {path: text.count("\n") for path, text in read_sources(ROOT).items()}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_no_function_is_long(project):
    lines = {}
    for module in project.modules.values():
        for node in module.functions:
            if not isinstance(node, ast.Lambda):
                lines[f"{module.path}: {node.name}"] = node.end_lineno - node.lineno + 1
    assert {name: count for name, count in lines.items() if count > MOST_LINES_OF_FUNCTION} == {}


def test_models_import_jittor_numpy_and_themselves(project):
    """models/export also needs onnx. models/tables.py imports nothing."""
    wrong = []
    for module in (module for module in project.modules.values() if is_of(module.name, "models")):
        libraries = {"jittor", "jittor_utils", "numpy"} | ({"onnx"} if is_of(module.name, "models.export") else set())
        for name in imports(project, module.scopes):
            top = name.split(".")[0]
            allowed = top == "models" or top in libraries or is_standard(top, project)
            if not allowed or module.name == "models.tables":
                wrong.append(f"{module.path} imports {name}")
    assert wrong == []


RULES = [  # a package, what it must not import, exceptions
    ("models.cca", ("models", "datasets", "utils"), ("models.cca",)),
    ("datasets", ("models", "utils"), ("models.tables",)),
    ("utils", ("models", "datasets"), ("models.tables",)),
    ("", ("train", "evaluate", "scripts"), ()),
]


@pytest.mark.parametrize("package, forbidden, allowed", RULES, ids=["cca", "datasets", "utils", "everything"])
def test_packages_do_not_import_one_another(project, package, forbidden, allowed):
    """Facts and functions are passed in by the entry points. Only scripts and tests import scripts."""
    wrong = []
    for module in project.modules.values():
        inside = is_of(module.name, package) if package else module.path.split("/")[0] not in ("scripts", "tests")
        for name in imports(project, module.scopes) if inside else ():
            if any(is_of(name, other) for other in forbidden) and not any(is_of(name, other) for other in allowed):
                wrong.append(f"{module.path} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("path", ["train.py", "evaluate.py", *SCRIPTS])
def test_nothing_heavy_is_imported_before_options_are_parsed(project, path):
    """--help and errors in options are immediate."""
    waiting, seen = [project.find(path[: -len(".py")].replace("/", "."))], {}
    while waiting:
        module = waiting.pop()
        seen[module.name] = imports_at_start(project, module)
        for name in seen[module.name]:
            parents = [".".join(name.split(".")[:n]) for n in range(1, name.count(".") + 2)]
            waiting += [project.modules[part] for part in parents if part in project.modules and part not in seen]
    heavy = {f"{module} imports {name}" for module in seen for name in seen[module] if name.split(".")[0] in HEAVY}
    assert heavy == set()


def test_the_imports_of_a_small_project():
    """All forms of import statements are understood."""
    sources = {
        "a/__init__.py": "from .b import f\nfrom . import b\n",
        "a/b.py": "import os.path\n\n\ndef f():\n    from ..c import g\n    from a import b\n",
        "c.py": "from a import b as d, f\n\n\nclass C:\n    import json\n",
    }
    small = Project(sources)
    assert imports(small, small.modules["a"].scopes) == {"a.b"}
    assert imports(small, small.modules["a.b"].scopes) == {"os.path", "c", "a.b"}
    assert imports_at_start(small, small.modules["a.b"]) == {"os.path"}
    assert imports_at_start(small, small.modules["c"]) == {"a.b", "a", "json"}


def test_no_two_test_files_have_one_name():
    """pytest imports test files by their name alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
