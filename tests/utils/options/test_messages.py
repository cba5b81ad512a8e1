"""A message of utils/ that names an option is printed only by programs with that option."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TRAIN, EVALUATE, PREDICT = "train.py", "evaluate.py", "scripts/predict.py"
ATTENTION, BENCHMARK = "scripts/visualize_attention.py", "scripts/benchmark/evaluation.py"
CONVERT = "scripts/convert_weights.py"
PRINTED_BY = {  # module of utils -> the programs that print its messages
    "training/amp.py": (TRAIN,),
    "weights/checkpoint.py": (TRAIN,),
    "weights/names.py": (CONVERT,),
    "distributed.py": (TRAIN,),
    "options/evaluate.py": (EVALUATE,),
    "options/gpus.py": (TRAIN, EVALUATE, PREDICT),
    "evaluation/exports.py": (EVALUATE,),
    "evaluation/large.py": (PREDICT,),
    "evaluation/result_files.py": (PREDICT,),
    "weights/network.py": (TRAIN,),
    "weights/sources.py": (TRAIN,),
    "evaluation/confusion.py": (TRAIN, EVALUATE),
    "training/checks.py": (TRAIN,),
    "training/class_weights.py": (TRAIN,),
    "training/earlier_run.py": (TRAIN,),
    "training/interrupt.py": (TRAIN,),
    "training/limits.py": (TRAIN,),
    "training/memory.py": (TRAIN,),
    "training/optim.py": (TRAIN,),
    "media.py": (PREDICT,),
    "training/postmortem.py": (TRAIN,),
    "training/resume.py": (TRAIN,),
    "options/train.py": (TRAIN,),
    "weights/any_file.py": (TRAIN, EVALUATE, PREDICT, ATTENTION, BENCHMARK, CONVERT),
}
SELF_NAMED = re.compile(r"(train|evaluate|predict|convert_weights|prepare_jittor|pack)\.py|PREPARE")
NO_MESSAGES = (
    "options/shared.py",
    "training/logger.py",
    "pages/run_folder.py",
    "machine.py",
)  # the flags themselves, those of git, --device of many programs
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w:-])")  # not the variables of a style sheet


def messages(path):
    """The strings of a module that are not docstrings; each f-string as one string."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            docstrings.update(id(part) for part in node.values)
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def named(path):
    """Options in messages that do not also name the program with that option."""
    return {option for text in messages(path) if not SELF_NAMED.search(text) for option in OPTION.findall(text)}


@pytest.fixture(scope="module")
def options_of():
    known = {}

    def options(program):
        if program not in known:
            done = subprocess.run([sys.executable, program, "--help"], cwd=ROOT, capture_output=True, text=True)
            known[program] = set(OPTION.findall(done.stdout))
            assert done.returncode == 0 and known[program], program
        return known[program]

    return options


def test_every_module_with_options_in_its_messages_is_in_the_table():
    utils = ROOT / "utils"
    modules = {str(path.relative_to(utils)) for path in utils.glob("**/*.py") if named(path)} - set(NO_MESSAGES)
    assert modules <= set(PRINTED_BY)


@pytest.mark.parametrize("module", PRINTED_BY)
def test_the_program_that_prints_a_message_has_the_options_in_it(module, options_of):
    for program in PRINTED_BY[module]:
        assert not named(ROOT / "utils" / module) - options_of(program), program
