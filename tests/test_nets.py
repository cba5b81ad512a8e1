"""Two cheap nets over the text of the whole project: every name that is used exists, and every call is taken.

The nets are in support/; deletions.py shows what they catch. Nothing is run here.
"""

import inspect
from pathlib import Path

import pytest
from support.project import read_sources
from support.together import findings, new_findings

import datasets
from utils.options import shared

ROOT = Path(__file__).resolve().parent.parent

# What the nets report and is right all the same: a part of the finding, and why.
RIGHT = {
    "BatchNormAct.execute overrides models.layers.batch_norm.BatchNorm.execute, and does not take residual=": (
        "an entry of a Sequential, which passes x alone"
    ),
    "models/layers/packed.py:94: instance Conv2d does not take activation=": "pack() has put a PackedConv in its place",
    "tests/walks/weight_files.py:28: instance Namespace has no": "isinstance(tree, np.ndarray) stands before it",
}


@pytest.fixture(scope="module")
def sources():
    return read_sources(ROOT)


def left(found):
    return [finding for finding in found if not any(text in finding for text in RIGHT)]


@pytest.fixture(scope="module")
def whole(sources):
    return findings(sources)


def test_every_name_that_is_used_exists_and_every_call_is_taken(whole):
    assert not left(whole), "\n".join(left(whole))


def test_each_exception_is_still_one(whole):
    """A finding that is gone leaves the list."""
    assert [text for text in RIGHT if not any(text in finding for finding in whole)] == []


# Breaks that were made, or could be: (file, what stands there, what a merge leaves of it, what is found)
BREAKS = [
    (
        "utils/weights/any_file.py",
        "def start_from(",
        "def start_fro(",
        "module utils.weights.any_file has no start_from",
    ),
    ("utils/files.py", "def whole_file(", "def whole(", "utils.files has no whole_file"),
    (
        "utils/training/amp.py",
        "def run(x, *others, **options):",
        "def run(x):",
        "stands in for models.layers.batch_norm.BatchNorm.execute",
    ),
    ("models/layers/fold.py", "def fold(", "def fold_all(", "fold"),
    ("utils/weights/checkpoint.py", "def prune(", "def prune_old(", "module utils.weights.checkpoint has no prune"),
    ("models/losses.py", "def total_weight(self", "def total_weights(self", "has no total_weight"),
    ("utils/training/logger.py", "    def close(self", "    def finish(self", "has no close"),
    (
        "models/layers/batch_norm.py",
        'def execute(self, x, residual=None, activation="none")',
        "def execute(self, x, residual=None)",
        "activation",
    ),
    ("models/layers/batch_norm.py", "def activate(", "def activated(", "no activate"),
    ("datasets/reading/workers.py", "def attempt(", "def attempted(", "attempt is defined nowhere"),
    ("models/layers/batch_norm.py", "    def grad(", "    def gradient(", "has no grad"),
    ("datasets/reading/workers.py", "def close(self", "def stop(self", "has no close"),
    (
        "train.py",
        "build_network(args, info)\n    criterion",
        "build_network(args)\n    criterion",
        "called without info",
    ),
]


@pytest.mark.parametrize(
    "path, old, new, words", BREAKS, ids=[f"{path}-{new.split('(')[0]}" for path, _, new, _ in BREAKS]
)
def test_a_break_is_found(sources, whole, path, old, new, words):
    assert old in sources[path], f"{path} has changed: choose another text"
    found = new_findings({**sources, path: sources[path].replace(old, new, 1)}, whole)
    assert any(words in finding for finding in found), found


def small(**files):
    return findings({f"{name}.py": text for name, text in files.items()})


def test_the_rules_on_a_small_project():
    """Right code gives nothing; each break gives one finding where it is used."""
    a = "class Base:\n    def run(self, x, fast=False):\n        return x\n\n\ndef make():\n    return Base()\n"
    b = "from a import make\n\nthing = make()\nthing.run(1, fast=True)\n"
    assert small(a=a, b=b) == []
    assert small(a=a.replace("def run", "def go"), b=b) == ["b.py:4: instance Base has no run"]
    assert small(a=a.replace(", fast=False", ""), b=b) == ["b.py:4: method a.Base.run does not take fast="]
    assert small(a=a.replace("def make", "def build"), b=b) == ["b.py:1: a has no make"]
    assert small(a="import b\n\nb.gone()\n", b="") == ["a.py:3: module b has no gone"]
    assert small(a="def f():\n    return missing\n") == ["a.py:2: missing is defined nowhere"]
    c = "from a import Base\n\n\nclass Sub(Base):\n    def run(self, x):\n        return super().run(x)\n"
    assert small(a=a, c=c) == ["c.py:5: c.Sub.run overrides a.Base.run, and does not take fast="]
    d = "def use(thing):\n    return thing.quite_unheard_of()\n"
    assert small(d=d) == ["d.py:2: no class has an attribute quite_unheard_of"]
    e = "from a import Base\n\n\ndef patch(thing: object):\n    thing.run = lambda x: x\n\n\nBase().run(1, fast=True)\n"
    assert small(a=a, e=e) == ["e.py:5: function e.lambda stands in for a.Base.run, and does not take fast="]


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_every_dataset_takes_every_option_that_names_data(name):
    """train.py and evaluate.py pass all of options.SOURCE; build_dataset hands on what it does not use itself."""
    used = {"cache", "scene_size", *(("data_dir", "data_list") if name == "scenes" else ())}  # by build_dataset itself
    takes = set()
    for cls in datasets.dataset_class(name).__mro__:  # each hands its **options on to the next
        parameters = inspect.signature(cls.__init__).parameters
        takes |= set(parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    assert set(shared.SOURCE) <= takes | used, set(shared.SOURCE) - takes - used
