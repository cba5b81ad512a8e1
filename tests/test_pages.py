"""The pages: length of the front page, links, the same content in both languages, messages that exist, and words."""

import ast
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parent.parent
IGNORED = {"runs", "snapshots", "data", "node_modules"}
TEXT = (
    ".md",
    ".py",
    ".sh",
    ".h",
    ".cc",
    ".cuh",
    ".cu",
    ".js",
    ".css",
    ".html",
    ".svg",
    ".txt",
    ".toml",
    ".yaml",
    ".yml",
)
WORDS = {  # what is not written here -> what is written instead
    r"pictures?": "image (a drawn one: figure)",
    r"data[ -]sets?": "dataset",
    r"mend(s|ed|ing)?": "fix",
    r"whole or not at all": "written atomically",
    r"told (by|from)": "detected from",
    r"numbers? that (are|is) (none|no number)": "NaN or infinity",
    r"that of its size": "default: value",
    r"a word about": "print, report, warn",
}
ALLOWED = {"tests/test_pages.py"}  # files that list these words
NAMES = {  # not in a name that the code defines -> what a name says instead
    "how": "settings, options",
    "kind": "class, dtype, dataset_name",
    "said": "output",
    "found": "what was found: files, lines",
    "own": "what it belongs to",
    "picture": "image",
}


def tracked():
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = done.stdout.splitlines() if not done.returncode else [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")]
    return sorted(n for n in names if not IGNORED & set(Path(n).parts[:1]) and (ROOT / n).is_file())


FILES = tracked()
PAGES = [name for name in FILES if name.endswith(".md") and not name.startswith(".github")]
CHINESE = [name for name in PAGES if name.endswith(".zh-CN.md")]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text):
    """-> [(language, lines without comments)] of the fenced blocks."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    return [(language, [re.sub(r"\s+#.*", "", line) for line in body.splitlines()]) for language, body in fenced]


def prose(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def headings(text):
    return re.findall(r"^(#+) (.*)$", prose(text), re.M)


def anchors(name):
    """As the common hosting services make them from headings."""
    titles = [re.sub(r"[`*]", "", title).strip().lower() for _, title in headings(read(name))]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def test_the_front_page_is_short():
    assert len(read("README.md").splitlines()) < 170


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(read(name))):
        if re.match(r"(https?|mailto):", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert file.exists(), f"{name}: {target}"
        page = str(file.relative_to(ROOT))
        assert page in FILES or file.is_dir(), f"{name}: {target} is not in the repository"
        assert not anchor or anchor in anchors(page), f"{name}: {target} has no such heading"


@pytest.mark.parametrize("name", [name for name in PAGES if name != "CHANGELOG.md"])
def test_every_file_that_a_page_names_exists(name):
    known = {part for file in FILES for part in (file, Path(file).name)} | {"Python.h"}
    for code in re.findall(r"`([^`]+)`", prose(read(name))):
        for path in re.findall(r"(?<![\w/.*<>-])[\w./-]*\w\.(?:py|sh|h|cuh|md)\b", code):
            assert path.removeprefix("./") in known or path.startswith("/"), f"{name}: {path} in {code!r}"


@pytest.mark.parametrize("name", CHINESE)
def test_both_languages_have_the_same_content(name):
    """Headings, commands, tables, links, numbers in tables and inline code."""
    chinese, english = read(name), read(name.replace(".zh-CN", ""))

    def same(collect):
        ours, theirs = collect(chinese), collect(english)
        missing = [x for x in theirs if x not in ours], [x for x in ours if x not in theirs]
        assert ours == theirs, f"only in English, only in Chinese: {missing}"

    same(lambda text: [len(marks) for marks, _ in headings(text)])
    same(blocks)
    rows = [[line for line in text.splitlines() if line.startswith("|")] for text in (chinese, english)]
    assert [row.count("|") for row in rows[0]] == [row.count("|") for row in rows[1]]
    for one, other in zip(*rows):
        numbers = [sorted(re.findall(r"\d+(?:\.\d+)?", row)) for row in (one, other)]
        assert set(numbers[0]) == set(numbers[1]), f"{one}\n{other}"
    same(lambda text: {" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(text))})
    same(lambda text: {re.sub(r"\.zh-CN|#.*", "", x) for x in re.findall(r"\]\(([^)\s]+)\)", prose(text))})


def test_every_message_of_the_troubleshooting_table_is_in_the_code():
    """The fixed parts of a message, between `...`, are texts of the programs."""
    table = read("scripts/machine/README.md").split("## Troubleshooting")[1].split("\n## ")[0]
    messages = re.findall(r"^\| `([^`]*)` \|", table.split("| message |")[1], re.M)
    code = "\n".join(read(n) for n in FILES if n.endswith((".py", ".sh")) and not n.startswith("tests"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # neighbouring parts of one text
    assert len(messages) >= 10
    for message in messages:
        for part in filter(None, (part.strip(" :") for part in message.split("..."))):
            assert part in code, f"{message!r} is printed nowhere: {part!r}"


def test_version_and_date_are_the_same_everywhere():
    version, date = re.search(r"^## (\S+) \((\S+)\)$", read("CHANGELOG.md"), re.M).groups()
    citation = read("CITATION.cff")
    assert f"version: {version}\n" in citation and f"date-released: {date}\n" in citation


def test_the_hosting_service_runs_what_a_change_must_pass():
    assert "run: .ci/run\n" in read(".github/workflows/ci.yml")
    assert "first line" in read(".github/ISSUE_TEMPLATE/bug_report.md")


@pytest.mark.parametrize("words", WORDS)
def test_the_words_of_the_field_are_used(words):
    """Also inside names: read_picture counts. Keys of report.json, a file format, stay."""
    pattern = re.compile(rf"(?<![a-z]){words}(?![a-z])", re.I)
    wrong = []
    for name in FILES:
        if name.endswith(TEXT) and name not in ALLOWED:
            lines = enumerate(re.sub(r"[\"'](grey_)?pictures[\"']", "", read(name)).splitlines(), 1)
            wrong += [f"{name}:{number}: {line.strip()[:100]}" for number, line in lines if pattern.search(line)]
    assert not wrong, f"write {WORDS[words]}:\n" + "\n".join(wrong)


def defined_names(tree):
    """-> (name, line) of each variable, parameter, keyword argument, attribute set, function and class. Names of tests
    are sentences and left out; what is only read (dtype.kind of NumPy) is defined elsewhere."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            yield getattr(node, "id", None) or node.attr, node.lineno
        elif isinstance(node, (ast.arg, ast.keyword)) and node.arg:
            yield node.arg, getattr(node, "lineno", getattr(node, "value", node).lineno)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("test_"):
            yield node.name, node.lineno


def wrong_names(text):
    parts = ((name, line, re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)) for name, line in defined_names(ast.parse(text)))
    return [(name, line) for name, line, words in parts if {w.lower().rstrip("s") for w in words} & set(NAMES)]


def test_wrong_names_are_found():
    text = "def kind_of(how, *kinds):\n    self.said = picture = 1\n    FOUND = call(own=dtype.kind)\n"
    text += "def test_is_found(): 0\n"
    assert {name for name, _ in wrong_names(text)} == {"kind_of", "how", "kinds", "said", "picture", "FOUND", "own"}


def test_names_in_code_use_the_words_of_the_field():
    wrong = [f"{name}:{line}: {x}" for name in FILES if name.endswith(".py") for x, line in wrong_names(read(name))]
    assert not wrong, f"see NAMES for better ones: {wrong}"
