"""Static checks of the whole project: every name that is used exists, and every call has valid arguments.

The checks are in support/nets.py and call_net.py; support/deletions.py shows what they find. Nothing is run.
"""

import inspect
import re
from pathlib import Path

import pytest
from support.project import read_sources
from support.together import findings, new_findings

import datasets
from utils.options import shared

ROOT = Path(__file__).resolve().parent.parent

# Findings that are no errors: a pattern, and the reason.
EXCEPTIONS = {
    r"BatchNormAct.execute overrides models.layers.batch_norm.BatchNorm.execute, and does not take residual=": (
        "an entry of a Sequential, which passes only x"
    ),
    r"models/layers/packed.py:\d+: instance Conv2d does not take activation=": "pack() has replaced it by a PackedConv",
    r"utils/runtime.py:\d+: no class has an attribute set_max_workspace_ratio": "compiled on CUDA only",
    r"tests/walks/weight_files.py:\d+: instance Namespace has no": "isinstance(tree, np.ndarray) comes before it",
}


@pytest.fixture(scope="module")
def sources():
    return read_sources(ROOT)


@pytest.fixture(scope="module")
def reported(sources):
    return findings(sources)


def test_every_name_exists_and_every_call_has_valid_arguments(reported):
    errors = [finding for finding in reported if not any(re.search(text, finding) for text in EXCEPTIONS)]
    assert not errors, "\n".join(errors)


def test_each_exception_is_still_reported(reported):
    assert [text for text in EXCEPTIONS if not any(re.search(text, finding) for finding in reported)] == []


# Errors as a merge can make them: (file, text, changed text, part of the finding)
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
        "replaces models.layers.batch_norm.BatchNorm.execute",
    ),
    ("models/layers/fold.py", "def fold(", "def fold_all(", "fold"),
    ("utils/weights/checkpoint.py", "def prune(", "def prune_old(", "module utils.weights.checkpoint has no prune"),
    ("models/losses.py", "def totals(self", "def all_totals(self", "has no totals"),
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
    "path, old, new, text", BREAKS, ids=[f"{path}-{new.split('(')[0]}" for path, _, new, _ in BREAKS]
)
def test_an_error_is_found(sources, reported, path, old, new, text):
    assert old in sources[path], f"{path} has changed: choose another text"
    new = new_findings({**sources, path: sources[path].replace(old, new, 1)}, reported)
    assert any(text in finding for finding in new), new


def small(**files):
    return findings({f"{name}.py": text for name, text in files.items()})


def test_the_checks_on_a_small_project():
    """Valid code has no findings; each error has one where the name is used."""
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
    assert small(a=a, e=e) == ["e.py:5: function e.lambda replaces a.Base.run, and does not take fast="]


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_every_dataset_takes_every_option_that_names_data(name):
    """train.py and evaluate.py pass all of options.SOURCE; build_dataset passes on what it does not use itself."""
    drawn = name in datasets.GENERATED
    used = {"cache", "scene_size", *(("data_dir", "data_list") if drawn else ())}  # by build_dataset itself
    used |= {"channels", "value_range"} if name != "folder" else set()  # compared with those of the data, or refused
    used |= {"frames", "frame_stride"}  # by datasets.clip_options
    takes = set()
    for cls in datasets.dataset_class(name).__mro__:  # each passes its **options on to the next
        parameters = inspect.signature(cls.__init__).parameters
        takes |= set(parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    assert set(shared.SOURCE) <= takes | used, set(shared.SOURCE) - takes - used
