"""Applies and undoes repairs to the copy of Jittor 1.3.11 in this environment: to its compiler and its CUDA code.

Used by scripts/prepare_jittor.py; the repairs are in repairs.py. The files themselves show which repairs are applied:
applying twice changes nothing, and undoing restores the published bytes. Nothing is written unless every text to
replace is found.
"""

import importlib.util
import os
import re
import sys
from pathlib import Path

from scripts.machine.repairs import REPAIRS, everywhere
from utils.files import whole_file
from utils.runtime import PREPARE, MachineError

VERSION = "1.3.11"
ASIDE = ".aside"  # Jittor compiles files that end in .cc, .h, .cu


def jittor_folder():
    """The folder of the package that `import jittor` finds. Nothing is imported."""
    spec = importlib.util.find_spec("jittor")
    if spec is None or not spec.submodule_search_locations:
        raise MachineError("Jittor is not installed\n  Fix: python -m pip install -r requirements.txt")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def belongs_to_this_environment(folder, prefix=None, base=None):
    """Is the folder inside a virtual or conda environment, and not in the system Python or in conda's base?"""
    prefix, base = Path(prefix or sys.prefix).resolve(), Path(base or sys.base_prefix).resolve()
    separate = prefix != base or (prefix.parent.name == "envs" and (prefix / "conda-meta").is_dir())
    return separate and prefix in Path(folder).resolve().parents


def check_version(folder):
    match = re.search(r"^__version__ = ['\"]([^'\"]+)", (folder / "__init__.py").read_text(), re.M)
    version = match.group(1) if match else "of an unknown version"
    if not (version + ".").startswith(VERSION + "."):
        raise MachineError(
            f"the repairs are for Jittor {VERSION}, and {folder} is {version}: nothing was changed\n"
            f"  Fix: {sys.executable} -m pip install jittor=={VERSION}.0"
        )


def is_applied(repair, folder):
    """True or False; a MachineError if the files are neither as published nor as repaired."""
    name, _, _, edits, asides = repair
    states = set()
    for file, texts in edits:
        text = read(folder / file, name)
        for old, new, count in texts:
            states.add({(count, 0): False, (0, count): True}.get((text.count(old), text.count(new))))
    for file in asides:
        here, away = (folder / file).is_file(), (folder / (file + ASIDE)).is_file()
        states.add({(True, False): False, (False, True): True}.get((here, away)))
    if len(states) != 1 or None in states:
        raise MachineError(
            f"repair {name}: {', '.join(f for f, _ in edits) or asides[0]} in {folder} is neither as published nor as "
            f"repaired; nothing was changed\n  Fix: {sys.executable} -m pip install --force-reinstall --no-deps "
            f"jittor=={VERSION}.0, then {PREPARE}"
        )
    return states.pop()


def read(path, name):
    try:
        return path.read_bytes().decode()  # not read_text, which changes line ends
    except OSError as error:
        raise MachineError(f"repair {name}: {error}; nothing was changed") from None


def bring_to(folder, wanted):
    """`wanted`: {name of a repair: whether it is to be applied}. Checks all files, then writes. -> changed names."""
    check_version(folder)
    scope = [repair for repair in REPAIRS if repair[0] in wanted]
    changing = [repair for repair in scope if is_applied(repair, folder) != wanted[repair[0]]]
    for name, _, _, edits, asides in changing:
        for file, texts in edits:
            text = read(folder / file, name)
            for old, new, _count in texts:
                text = text.replace(old, new) if wanted[name] else text.replace(new, old)
            write(folder / file, text)
        for file in asides:
            pair = (folder / file, folder / (file + ASIDE))
            os.rename(*(pair if wanted[name] else reversed(pair)))
    return [repair[0] for repair in changing]


def write(path, text):
    with whole_file(path) as file:
        file.write(text.encode())
        os.chmod(file.name, path.stat().st_mode)


def apply(folder, versions=None, yes=False):
    """The repairs for every machine; with `versions` = {"cuda": (13, 0), "cudnn": (9, 19)} those for this CUDA.

    -> the lines to report.
    """
    if not yes and not belongs_to_this_environment(folder):
        raise MachineError(
            f"{folder} is not in an environment of this project, and needs repairs\n  Fix: make one "
            f"(python -m venv .venv, as scripts/test.sh does), or allow the changes with --yes"
        )
    wanted = {name: bool(when(versions)) for name, _, when, _, _ in REPAIRS if (when is everywhere) == (not versions)}
    changed = bring_to(folder, wanted)
    return [
        f"{name}: {why} ({'applied now' if name in changed else 'in place'})"
        for name, why, _, _, _ in REPAIRS
        if wanted.get(name)
    ]


def undo(folder):
    """Restore the published files. -> names of the repairs that were undone."""
    return bring_to(folder, {repair[0]: False for repair in REPAIRS})
