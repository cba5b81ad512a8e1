"""The two commands of the README."""

import json
import os
import re
import shutil
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


def copy_trained_run(checkout):
    """Copy the run of scripts/demo.sh in this repository, if it is complete and newer than the code, so that the demo
    need not train again."""
    files = [ROOT / "runs" / "demo" / name for name in ("CS_scenes_500.npz", "log.csv", "args.json", "loss.png")]
    if not all(file.is_file() for file in files):
        return
    code = [path for path in checkout.rglob("*") if path.suffix in (".py", ".sh", ".h", ".cc", ".cuh", ".cu")]
    code = [ROOT / path.relative_to(checkout) for path in code if "tests" not in path.relative_to(checkout).parts]
    begun = files[2].stat().st_mtime
    if all(path.stat().st_mtime < begun for path in code):
        (checkout / "runs" / "demo").mkdir(parents=True)
        for file in files:
            shutil.copy2(file, checkout / "runs" / "demo")


@pytest.mark.slow
def test_the_demo_command(checkout):
    copy_trained_run(checkout)
    done = shell(quick_start()[0], checkout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    out = checkout / "runs" / "demo"
    result = json.loads((out / "result.json").read_text())
    assert result["images"] == 100 and result["miou"] >= 0.70, result
    assert "mean IoU" in done.stdout and "Traceback" not in done.stderr and "Compiling" not in done.stderr
    for name in ("args.json", "log.csv", "loss.png", "sheet.png", "report.html"):
        assert (out / name).is_file()
    assert len(list(out.glob("CS_scenes_*.npz"))) == 1
    width, height = Image.open(out / "sheet.png").size
    assert width > 700 and height > 600
