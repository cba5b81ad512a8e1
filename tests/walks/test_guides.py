"""The guides of CONTRIBUTING.md, followed in a copy of the project: each block of code is written where its first line
says, and each command is run to its end.

The first line of a block of code is a comment with a path: a new file. With `above: TEXT` or `below: TEXT` the lines go
beside the one line of an existing file that starts with TEXT.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## Guides\n")[1]
GUIDES = dict(part.split("\n", 1) for part in TEXT.split("\n### ")[1:])
FIRST = re.compile(r"(?:#|//) (\S+?)(?:, (above|below): (.*))?\n")


def blocks(text):
    """-> [(language, content)]"""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.M | re.S)


def write(folder, content):
    """Put a block of code into the file that its first line names. -> the path of that file"""
    head = FIRST.match(content)
    assert head, f"the first line names no file: {content[:80]}"
    path, place, text = head.groups()
    target, body = folder / path, content[head.end() :]
    if place is None:
        assert not target.exists(), f"{path} is there already"
        target.write_text(body)
        return path
    lines = target.read_text().splitlines(keepends=True)
    matches = [number for number, line in enumerate(lines) if line.startswith(text)]
    assert len(matches) == 1, f"{len(matches)} lines of {path} start with {text!r}"
    lines.insert(matches[0] + (place == "below"), body)
    target.write_text("".join(lines))
    return path


def run(command, folder):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words, pipe = ["bash", "-c", command], {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(words, cwd=folder, env=env, timeout=600, **pipe)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"


def share_kernels(folder):
    """Jittor stores compiled kernels by the path of their source: links to these sources save compiling them again."""
    shutil.rmtree(folder / "models" / "cca")
    (folder / "models" / "cca").symlink_to(ROOT / "models" / "cca")
    for path in (ROOT / "models" / "layers").glob("*.py"):
        (folder / "models" / "layers" / path.name).unlink()
        (folder / "models" / "layers" / path.name).symlink_to(path)


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_works_as_it_is_written(name, checkout):
    share_kernels(checkout)
    (checkout / "data").mkdir()
    written = []
    for language, content in blocks(GUIDES[name]):
        if language == "bash":
            for command in content.splitlines():
                run(command, checkout)
        else:
            written.append(write(checkout, content))
    python = " ".join(path for path in written if path.endswith(".py"))
    run(f"ruff format {python} && ruff check {python}", checkout)
    for path in written:
        if path.endswith(".h"):
            run(f"clang-format --dry-run --Werror {path}", checkout)


def test_there_are_four_guides_of_ten_steps():
    assert [name.split()[-1] for name in GUIDES] == ["dataset", "backbone", "kernel", "layout"]
    for name, text in GUIDES.items():
        prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        assert re.findall(r"^(\d+)\. ", prose, re.M) == [str(number) for number in range(1, 11)], name
