"""README, "The attention alone": its lines, in a folder that holds only a copy of models/cca, without any variable."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jittor_utils
import numpy as np
import pytest

from scripts.machine import bare_import

ROOT = Path(__file__).resolve().parent.parent.parent
BOTH_WAYS = """
import json, jittor_utils
found = {"shape": list(out.shape), "cache": jittor_utils.cache_path}
layer.gamma.assign(jt.array([0.5]))
for backend in ("reference", "fused"):
    layer.backend = backend
    y = layer(v)
    wanted = [v, layer.gamma, layer.query_conv.weight, layer.key_conv.weight, layer.value_conv.weight]
    numbers = [y, criss_cross_attention(q, k, v, backend), *jt.grad((y * y).mean(), wanted)]
    found[backend] = [float((x * x).sum().sqrt().item()) for x in numbers]
print("FOUND", json.dumps(found))
"""


def bare(folder, *arguments):
    """The prepared Python with nothing in its environment but HOME and PATH."""
    assert (bare_import.site_folder() / bare_import.PTH).is_file(), "not prepared: python scripts/prepare_jittor.py"
    env = {name: os.environ[name] for name in ("HOME", "PATH")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=900
    )


def test_a_bare_import_of_jittor(tmp_path):
    code = "import jittor as jt; print((jt.ones((2, 3)) @ jt.ones((3, 2))).sum().item()); "
    done = bare(tmp_path, "-c", code + "import jittor_utils; print(jittor_utils.cache_path)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["12.0", jittor_utils.cache_path]  # what is compiled already serves here, too


def test_the_lines_of_the_readme(tmp_path):
    text = (ROOT / "README.md").read_text().split("## The attention alone", 1)[1]
    lines = re.search(r"```python\n(.*?)```", text, re.S).group(1)
    assert "import jittor as jt\n" in lines and "RCCA(" in lines
    shutil.copytree(ROOT / "models" / "cca", tmp_path / "models" / "cca", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "alone.py").write_text(lines + BOTH_WAYS)
    done = bare(tmp_path, "alone.py")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(re.search(r"^FOUND (.*)$", done.stdout, re.M).group(1))
    assert found["shape"] == [1, 512, 33, 33] and found["cache"] == jittor_utils.cache_path
    assert all(np.isfinite(found["fused"])) and min(found["fused"]) > 0
    assert found["fused"] == pytest.approx(found["reference"], rel=1e-4)
