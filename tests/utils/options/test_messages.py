"""A message of utils/ that names an option is printed by programs that have it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TRAIN, EVALUATE, PREDICT = "train.py", "evaluate.py", "scripts/predict.py"
SEES, FIGURE = "scripts/visualize_attention.py", "scripts/benchmark/evaluation.py"
CONVERT = "scripts/convert_weights.py"
PRINTED_BY = {  # module of utils -> the programs that print its messages
    "training/amp.py": (TRAIN,),
    "weights/checkpoint.py": (TRAIN,),
    "weights/names.py": (CONVERT,),
    "weights/identify.py": (TRAIN, EVALUATE, PREDICT, SEES, FIGURE, CONVERT),
    "distributed.py": (TRAIN,),
    "options/evaluate.py": (EVALUATE,),
    "evaluation/exports.py": (EVALUATE,),
    "weights/network.py": (EVALUATE, PREDICT, SEES, FIGURE),
    "evaluation/confusion.py": (TRAIN, EVALUATE),
    "weights/settle.py": (TRAIN,),
    "training/optim.py": (TRAIN,),
    "media.py": (PREDICT,),
    "training/postmortem.py": (TRAIN,),
    "training/resume.py": (TRAIN,),
    "options/train.py": (TRAIN,),
    "weights/any_file.py": (TRAIN, EVALUATE, PREDICT, SEES, FIGURE, CONVERT),
}
SELF_NAMED = re.compile(r"(train|evaluate|predict|convert_weights|prepare_jittor|pack)\.py|PREPARE")
NO_MESSAGES = (
    "options/shared.py",
    "training/logger.py",
    "pages/run_folder.py",
    "runtime.py",
)  # flags themselves, git's, ..
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w:-])")  # not the variables of a style sheet


def messages(path):
    """The strings of a module that are not docstrings, f-strings put together."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            docstrings.update(id(part) for part in node.values)
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def named(path):
    """Options in messages that do not also name the program which has them."""
    return {option for text in messages(path) if not SELF_NAMED.search(text) for option in OPTION.findall(text)}


@pytest.fixture(scope="module")
def options_of():
    found = {}

    def options(program):
        if program not in found:
            done = subprocess.run([sys.executable, program, "--help"], cwd=ROOT, capture_output=True, text=True)
            found[program] = set(OPTION.findall(done.stdout))
            assert done.returncode == 0 and found[program], program
        return found[program]

    return options


def test_every_module_with_options_in_its_messages_is_in_the_table():
    utils = ROOT / "utils"
    have = {str(path.relative_to(utils)) for path in utils.glob("**/*.py") if named(path)} - set(NO_MESSAGES)
    assert have <= set(PRINTED_BY)


@pytest.mark.parametrize("module", PRINTED_BY)
def test_the_program_that_prints_a_message_has_the_options_in_it(module, options_of):
    for program in PRINTED_BY[module]:
        assert not named(ROOT / "utils" / module) - options_of(program), program
