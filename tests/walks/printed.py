"""The commands and snippets of Python that the project prints, extracted from its texts: `everything()` -> [Printed].

Read are the pages of all folders (fenced blocks and inline code), docstrings of all Python files (in tests/ commands
alone: the snippets there use values of a test), the comment at the head of every shell script, epilogs of --help, and
published_commands.txt beside this file. Left out are CHANGELOG.md, which describes the past, and the guides of
CONTRIBUTING.md, which test_guides.py follows. In a block of a shell every line is a command; elsewhere a command is
what matches COMMAND and has a second word. printed_rules.py turns these into what a test can run.
"""

import ast
import re
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
FOLDERS = ("models", "datasets", "utils", "scripts", "tests")
GUIDES = "\n## Guides\n"
Printed = namedtuple("Printed", "place text language")  # place: a file, or "NAME, published"; language: shell, python

COMMAND = re.compile(
    r"(?:[A-Za-z_]+=\S+ +)*(?:"
    r"(?:\S*/)?python[\d.]* +(?:-[a-zA-Z]\b|\S+\.py\b)|mpirun +-|(?:\.{0,2}/)?(?:[\w.]+/)*\w+\.sh \S"
    r"|(?:\./)?scripts/(?:\w+/)*\w+\.py +-|(?:\S*/)?pip3? +(?:install|wheel)\b"
    r"|(?:source|cd|export|conda|mim|sudo|apt-get) +\S|git clone\b)"
)


def everything():
    results = []
    for path in files("md"):
        if path.name != "CHANGELOG.md":
            text = path.read_text(encoding="utf-8")
            results += page(name(path), text.split(GUIDES)[0] if path.name == "CONTRIBUTING.md" else text)
    for path in files("py"):
        if not path.name.startswith("printed"):
            texts = module(name(path), path.read_text(encoding="utf-8"))
            results += [text for text in texts if text.language == "shell" or not text.place.startswith("tests/")]
    for path in files("sh"):
        results += shell_script(name(path), path.read_text(encoding="utf-8"))
    for line in (HERE / "published_commands.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            source, command = line.split(": ", 1)
            results.append(Printed(f"{source}, published", command, "shell"))
    return results


def files(ending):
    return sorted([*ROOT.glob(f"*.{ending}"), *(p for folder in FOLDERS for p in (ROOT / folder).rglob(f"*.{ending}"))])


def name(path):
    return str(path.relative_to(ROOT))


def page(place, text):
    """Of Markdown: every line of a block of a shell, every block of Python, and inline code that is a command."""
    results = []

    def block(match):
        language, body = match.group(2), re.sub(f"^{match.group(1)}", "", match.group(3), flags=re.M)
        if language == "python":
            results.append(Printed(place, body, "python"))
        elif language in ("", "bash", "shell", "sh", "console"):
            lines = [line.removeprefix("$ ") if line.startswith("$ ") else line for line in joined(body)]
            commands = [uncommented(line) for line in lines]
            results.extend(Printed(place, c, "shell") for c in commands if c and (language or COMMAND.match(c)))
        return ""

    prose = re.sub(r"^( *)```(\w*) *\n(.*?)^ *```", block, text, flags=re.M | re.S)
    for code in re.findall(r"`([^`]+)`", prose):
        code = " ".join(code.split())
        if COMMAND.match(code):
            results.append(Printed(place, code, "shell"))
    return results


def module(place, text):
    """Of Python: docstrings of the module, its classes and functions, and the epilogs that --help ends with."""
    results, tree = [], ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            results += prose(place, ast.get_docstring(node) or "")
        if isinstance(node, ast.keyword) and node.arg == "epilog":
            results += prose(place, constant(node.value, tree, place))
    return results


def constant(node, tree, place):
    """The text of an epilog: a constant, or the name of one; "" for a part of __doc__, which is read as a docstring."""
    if isinstance(node, ast.Name):
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == node.id:
                return constant(statement.value, tree, place)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if any(getattr(part, "id", "") == "__doc__" for part in ast.walk(node)):
        return ""
    raise ValueError(f"the epilog in {place} is neither a text nor the name of one: its commands cannot be read")


def shell_script(place, text):
    """Of a shell script: the comment at its head."""
    lines = re.match(r"(?:#.*\n)*", text).group().splitlines()
    return prose(place, "\n".join(re.sub(r"^#!?", "", line) for line in lines))


def prose(place, text):
    """Commands in plain text: a line, or what follows ": " or several spaces. A line that starts with "... " continues
    the command before it. A paragraph of Python with a call or an import is a snippet."""
    results = []
    for paragraph in re.split(r"\n\s*\n", text):
        code = snippet(paragraph)
        if code:
            results.append(Printed(place, code, "python"))
            continue
        for line in joined(paragraph):
            for piece in re.split(r"\s{2,}|: +(?=\S)", line):
                command = uncommented(piece.strip()).rstrip(".") if not piece.endswith("...") else piece.strip()
                if command.startswith("... -") and results:
                    command = results[-1].text + command[len("...") :]
                if COMMAND.match(command):
                    results.append(Printed(place, command, "shell"))
    return results


def snippet(paragraph):
    """The paragraph, if it is Python with a call or an import; else None."""
    lines = paragraph.strip("\n").splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    code = "\n".join(line[indent:] for line in lines)
    try:
        body = ast.parse(code).body
    except SyntaxError:
        return None
    effective = (ast.Call, ast.Import, ast.ImportFrom)
    return code if any(isinstance(node, effective) for statement in body for node in ast.walk(statement)) else None


def joined(text):
    """The lines, each joined with the next where it ends with a backslash."""
    return re.sub(r" *\\\n\s*", " ", text).splitlines()


def uncommented(line):
    return re.sub(r"(^|\s+)#(\s.*)?$", "", line.strip()).strip()


if __name__ == "__main__":
    for printed in everything():
        print(f"{printed.place}: [{printed.language}] {printed.text}")
