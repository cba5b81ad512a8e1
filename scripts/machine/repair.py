"""Repairs to the copy of Jittor 1.3.11 in this environment: what its compiler and its CUDA side need, each by name.

Used by scripts/prepare_jittor.py; the repairs themselves are in repairs.py. Whether one is applied is read from the
files themselves; applying twice changes nothing, and undoing gives back the published bytes. Nothing is written unless
every text is where it is expected.
"""

import importlib.util
import os
import re
import sys
from pathlib import Path

from scripts.machine.repairs import REPAIRS, everywhere
from utils.runtime import PREPARE, MachineError

VERSION = "1.3.11"
ASIDE = ".aside"  # Jittor compiles what ends in .cc, .h, .cu


def jittor_folder():
    """Where `import jittor` would find it. Nothing is imported."""
    spec = importlib.util.find_spec("jittor")
    if spec is None or not spec.submodule_search_locations:
        raise MachineError("Jittor is not installed. Next: python -m pip install -r requirements.txt")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def belongs_to_this_environment(folder, prefix=None, base=None):
    """Inside a virtual or conda environment of its own, not in the Python that everybody on the machine uses."""
    prefix, base = Path(prefix or sys.prefix).resolve(), Path(base or sys.base_prefix).resolve()
    own = prefix != base or (prefix.parent.name == "envs" and (prefix / "conda-meta").is_dir())
    return own and prefix in Path(folder).resolve().parents


def check_version(folder):
    found = re.search(r"^__version__ = ['\"]([^'\"]+)", (folder / "__init__.py").read_text(), re.M)
    version = found.group(1) if found else "of an unknown version"
    if not (version + ".").startswith(VERSION + "."):
        raise MachineError(
            f"the repairs are for Jittor {VERSION}, and {folder} is {version}: nothing was changed\n"
            f"  mend: {sys.executable} -m pip install jittor=={VERSION}.0"
        )


def is_applied(repair, folder):
    """True or False; an error if the files are neither as published nor as repaired."""
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
            f"repaired; nothing was changed\n  mend: {sys.executable} -m pip install --force-reinstall --no-deps "
            f"jittor=={VERSION}.0, then {PREPARE}"
        )
    return states.pop()


def read(path, name):
    try:
        return path.read_bytes().decode()  # not read_text: line ends stay as they are
    except OSError as error:
        raise MachineError(f"repair {name}: {error}; nothing was changed") from None


def bring_to(folder, wanted):
    """`wanted`: {name: applied or not}. Checks everything, then writes. -> names that changed."""
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
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(text.encode())
    os.chmod(part, path.stat().st_mode)
    os.replace(part, path)


def apply(folder, found=None, yes=False):
    """The repairs for every machine, or with `found` = {"cuda": (13, 0), "cudnn": (9, 19)} those that this CUDA needs.

    -> lines about them.
    """
    if not yes and not belongs_to_this_environment(folder):
        raise MachineError(
            f"{folder} is not in an environment of this project, and needs repairs\n  mend: make one "
            f"(python -m venv .venv, as scripts/test.sh does), or allow the changes with --yes"
        )
    wanted = {name: bool(when(found)) for name, _, when, _, _ in REPAIRS if (when is everywhere) == (not found)}
    changed = bring_to(folder, wanted)
    return [
        f"{name}: {why} ({'applied now' if name in changed else 'in place'})"
        for name, why, _, _, _ in REPAIRS
        if wanted.get(name)
    ]


def undo(folder):
    """Back to the published files. -> names of what was taken back."""
    return bring_to(folder, {repair[0]: False for repair in REPAIRS})
