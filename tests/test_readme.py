"""The two commands of the README."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def quick_start():
    """The commands of the first code block after "Quick start"."""
    text = (ROOT / "README.md").read_text().split("## Quick start", 1)[1]
    block = re.search(r"```bash\n(.*?)```", text, re.S).group(1)
    return [line.split("#")[0].strip() for line in block.splitlines() if line.split("#")[0].strip()]


def shell(command, folder, **env):
    """Run a command in a fresh copy of the project. It uses this environment, where Jittor is already compiled."""
    env = {**os.environ, "VENV": sys.prefix, **env}
    return subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=1200)


def test_there_are_two_commands_and_ci_runs_the_second():
    demo, test = quick_start()
    assert (demo, test) == ("scripts/demo.sh", "scripts/test.sh")
    assert f"bash {test}" in (ROOT / ".ci" / "run").read_text()


def test_the_test_command(checkout):
    """With one more argument: the whole suite would run this test again."""
    done = shell(quick_start()[1] + " --collect-only -q tests/utils/evaluation/test_confusion.py", checkout)
    assert done.returncode == 0 and "test_three_classes_by_hand" in done.stdout, done.stdout + done.stderr


def results(out, steps):
    """The result of an evaluation, in a folder that has all files of the demo."""
    for name in ("args.json", "log.csv", "loss.png", "sheet.png", "report.html"):
        assert (out / name).is_file()
    assert [path.name for path in out.glob("CS_scenes_*.npz")] == [f"CS_scenes_{steps}.npz"]
    width, height = Image.open(out / "sheet.png").size
    assert width > 700 and height > 600
    return json.loads((out / "result.json").read_text())


@pytest.mark.slow
def test_a_short_demo(checkout):
    """The demo trains for 500 steps; here 100, which is enough to see that it learns."""
    done = shell(quick_start()[0] + " 100", checkout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "mean IoU" in done.stdout and "Traceback" not in done.stderr and "Compiling" not in done.stderr
    result = results(checkout / "runs" / "demo_100", 100)
    assert result["images"] == 100 and result["miou"] >= 0.45, result


def test_the_demo_reaches_what_the_readme_promises():
    """The run that scripts/demo.sh left in this checkout; .ci/run and scripts/test.sh do not train it."""
    out = ROOT / "runs" / "demo"
    if not (out / "report.html").is_file():
        pytest.skip("scripts/demo.sh has not run in this checkout")
    result = results(out, 500)
    assert result["images"] == 100 and result["miou"] >= 0.70, result
