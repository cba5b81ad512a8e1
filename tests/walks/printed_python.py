"""From a printed snippet of Python to a program that a test runs."""

import ast

NAMES = {  # names that a snippet of Python uses and does not define
    "model": "from models import build_model; model = build_model('ccnet_r18', 3)",
    "optimizer": "from jittor import nn; optimizer = nn.SGD(model.parameters(), 0.01)",
    "loss": "import jittor as jt; loss = model(jt.randn(1, 3, 33, 33))[0].float32().mean()",
    "images": "import jittor as jt; images = jt.randn(1, 3, 33, 33)",
    "image": "import numpy as np; image = np.zeros((3, 40, 50), np.float32)",
    "path": "path = 'runs/demo/CS_scenes_500.npz'",
    "build_model": "from models import build_model",
    "flags": "flags = {**dict.fromkeys('model recurrence van_size drop_path stem output_stride dilate'.split()), "
    "'num_classes': 9}",
    "arrays": "from utils.weights import any_file; arrays = any_file.read(path)[0]",
}


def python_script(printed):
    """A program from a snippet: undefined names are set, and each loop ends after one round."""
    tree = ast.parse(printed.text)
    names = {node.id: type(node.ctx) for node in ast.walk(tree) if isinstance(node, ast.Name)}
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.For):
            node.body = [ast.Break()]
    head = []
    if printed.place.endswith(".py") and "import" not in printed.text:  # a docstring uses the names of its module
        module = printed.place[: -len(".py")].replace("/", ".").removesuffix(".__init__")
        head = ["from utils import runtime", "runtime.start('cpu')", f"from {module} import *"]
        head += [f"from {module.rpartition('.')[0]} import {module.rpartition('.')[2]}"] if "." in module else []
    needed = [name for name in NAMES if name in names and name not in stored]
    if "optimizer" in needed or "loss" in needed:
        needed = ["model", *[name for name in needed if name != "model"]]
    body = ast.unparse(ast.fix_missing_locations(tree)).replace("'/data/", "'data/")
    return "\n".join(head + [NAMES[name] for name in needed] + [body])
