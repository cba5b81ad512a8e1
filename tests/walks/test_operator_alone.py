"""The lines of README, "The operator alone", in a folder with a copy of models/cca only and an empty environment."""

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
BOTH_BACKENDS = """
import json, jittor_utils
results = {"shape": list(out.shape), "cache": jittor_utils.cache_path}
layer.gamma.assign(jt.array([0.5]))
for backend in ("reference", "fused"):
    layer.backend = backend
    y = layer(v)
    variables = [v, layer.gamma, layer.query_conv.weight, layer.key_conv.weight, layer.value_conv.weight]
    outputs = [y, criss_cross_attention(q, k, v, backend), *jt.grad((y * y).mean(), variables)]
    results[backend] = [float((x * x).sum().sqrt().item()) for x in outputs]
print("RESULTS", json.dumps(results))
"""


def run_bare(folder, *arguments):
    """Run the prepared Python with only HOME and PATH in its environment."""
    assert (bare_import.site_folder() / bare_import.PTH).is_file(), "not prepared: python scripts/prepare_jittor.py"
    env = {name: os.environ[name] for name in ("HOME", "PATH")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=900
    )


def test_a_bare_import_of_jittor(tmp_path):
    code = "import jittor as jt; print((jt.ones((2, 3)) @ jt.ones((3, 2))).sum().item()); "
    done = run_bare(tmp_path, "-c", code + "import jittor_utils; print(jittor_utils.cache_path)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["12.0", jittor_utils.cache_path]  # uses the operators that are already compiled


def test_the_lines_of_the_readme(tmp_path):
    text = (ROOT / "README.md").read_text().split("## The operator alone", 1)[1]
    lines = re.search(r"```python\n(.*?)```", text, re.S).group(1)
    assert "import jittor as jt\n" in lines and "RCCA(" in lines
    shutil.copytree(ROOT / "models" / "cca", tmp_path / "models" / "cca", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "alone.py").write_text(lines + BOTH_BACKENDS)
    done = run_bare(tmp_path, "alone.py")
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(re.search(r"^RESULTS (.*)$", done.stdout, re.M).group(1))
    assert results["shape"] == [1, 512, 33, 33] and results["cache"] == jittor_utils.cache_path
    assert all(np.isfinite(results["fused"])) and min(results["fused"]) > 0
    assert results["fused"] == pytest.approx(results["reference"], rel=1e-4)
