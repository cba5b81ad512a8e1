"""What the project prints for a shell or for Python, taken from the text itself: `everything()` -> [Printed].

Read are the pages (fenced blocks and inline code), docstrings of all Python files, the comment at the head of every
shell script, epilogs of --help, and published_commands.txt beside this file. CHANGELOG.md tells what was, and is left
out. What a command line is: in a block of a shell every line; elsewhere what starts as COMMAND says and has a second
word. printed_rules.py turns these into what a test can run.
"""

import ast
import re
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
FOLDERS = ("models", "datasets", "utils", "scripts", "tests")
Printed = namedtuple("Printed", "place text language")  # place: a file, or "NAME, published"; language: shell, python

COMMAND = re.compile(
    r"(?:[A-Za-z_]+=\S+ +)*(?:"
    r"(?:\S*/)?python[\d.]* +(?:-[a-zA-Z]\b|\S+\.py\b)|mpirun +-|(?:\.{0,2}/)?(?:[\w.]+/)*\w+\.sh \S"
    r"|(?:\./)?scripts/\w+\.py +-|(?:\S*/)?pip3? +(?:install|wheel)\b"
    r"|(?:source|cd|export|conda|mim|sudo|apt-get) +\S|git clone\b)"
)


def everything():
    found = []
    for path in sorted([*ROOT.glob("*.md"), *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.md"))]):
        if path.name != "CHANGELOG.md":
            found += page(name(path), path.read_text(encoding="utf-8"))
    for path in sorted([*ROOT.glob("*.py"), *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))]):
        if not path.name.startswith("printed"):
            found += module(name(path), path.read_text(encoding="utf-8"))
    for path in sorted([*ROOT.glob("*.sh"), *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.sh"))]):
        found += shell_script(name(path), path.read_text(encoding="utf-8"))
    for line in (HERE / "published_commands.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            source, command = line.split(": ", 1)
            found.append(Printed(f"{source}, published", command, "shell"))
    return found


def name(path):
    return str(path.relative_to(ROOT))


def page(place, text):
    """Of Markdown: every line of a shell's block, every block of Python, and inline code that is a command."""
    found = []

    def block(match):
        language, body = match.group(2), re.sub(f"^{match.group(1)}", "", match.group(3), flags=re.M)
        if language == "python":
            found.append(Printed(place, body, "python"))
        elif language in ("", "bash", "shell", "sh", "console"):
            lines = [line.removeprefix("$ ") if line.startswith("$ ") else line for line in joined(body)]
            commands = [uncommented(line) for line in lines]
            found.extend(Printed(place, c, "shell") for c in commands if c and (language or COMMAND.match(c)))
        return ""

    prose = re.sub(r"^( *)```(\w*) *\n(.*?)^ *```", block, text, flags=re.M | re.S)
    for code in re.findall(r"`([^`]+)`", prose):
        code = " ".join(code.split())
        if COMMAND.match(code):
            found.append(Printed(place, code, "shell"))
    return found


def module(place, text):
    """Of Python: docstrings of the module, its classes and functions, and the epilogs that --help ends with."""
    found, tree = [], ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            found += prose(place, ast.get_docstring(node) or "")
        if isinstance(node, ast.keyword) and node.arg == "epilog":
            found += prose(place, constant(node.value, tree, place))
    return found


def constant(node, tree, place):
    """The text of an epilog: a constant, or the name of one; "" for a part of __doc__, which is read anyway."""
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
    """Commands in a text without marks: a line, or what stands behind ": " or several spaces. A line that starts with
    "... " goes on with the command before it. A paragraph that is Python with a call or an import is a snippet."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        code = snippet(paragraph)
        if code:
            found.append(Printed(place, code, "python"))
            continue
        for line in joined(paragraph):
            for piece in re.split(r"\s{2,}|: +(?=\S)", line):
                command = uncommented(piece.strip()).rstrip(".") if not piece.endswith("...") else piece.strip()
                if command.startswith("... -") and found:
                    command = found[-1].text + command[len("...") :]
                if COMMAND.match(command):
                    found.append(Printed(place, command, "shell"))
    return found


def snippet(paragraph):
    """The paragraph, if it is Python that does something."""
    lines = paragraph.strip("\n").splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    code = "\n".join(line[indent:] for line in lines)
    try:
        body = ast.parse(code).body
    except SyntaxError:
        return None
    does = (ast.Call, ast.Import, ast.ImportFrom)
    return code if any(isinstance(node, does) for statement in body for node in ast.walk(statement)) else None


def joined(text):
    """Lines, a backslash at the end of one taking in the next."""
    return re.sub(r" *\\\n\s*", " ", text).splitlines()


def uncommented(line):
    return re.sub(r"(^|\s+)#(\s.*)?$", "", line.strip()).strip()


if __name__ == "__main__":
    for printed in everything():
        print(f"{printed.place}: [{printed.language}] {printed.text}")
