"""Makes a bare `import jittor` safe in the prepared environment: a .pth file and two modules in its site-packages."""

import sys
import sysconfig
from pathlib import Path

from scripts.machine.repair import belongs_to_this_environment
from utils.files import whole_file

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "ccnet_runtime.py": ROOT / "utils" / "machine.py",
    "ccnet_before_jittor.py": ROOT / "scripts/machine/before_jittor.py",
}
PTH, LINE = "ccnet_jittor.pth", "import ccnet_before_jittor\n"


def site_folder():
    return Path(sysconfig.get_path("purelib", vars={"base": sys.prefix, "platbase": sys.prefix}))


def install(folder=None, yes=False):
    """-> a line about it. The .pth comes last: it never names a module that is not there."""
    folder = folder or site_folder()
    if not yes and not belongs_to_this_environment(folder):
        return f"{folder} is not in an environment of this project: `import jittor` alone decides by itself (see --yes)"
    try:
        for name, text in [*((name, path.read_text()) for name, path in MODULES.items()), (PTH, LINE)]:
            if not (folder / name).is_file() or (folder / name).read_text() != text:
                with whole_file(folder / name, "w") as file:
                    file.write(text)
    except OSError as error:
        return f"`import jittor` alone decides by itself: {error}"
    return f"`import jittor` alone takes the settings above ({folder / PTH})"


def remove(folder=None):
    """-> the names that were there."""
    folder = folder or site_folder()
    found = [name for name in (PTH, *reversed(MODULES)) if (folder / name).is_file()]
    for name in found:
        (folder / name).unlink()
        for compiled in (folder / "__pycache__").glob(f"{Path(name).stem}.*.pyc"):
            compiled.unlink()
    return found
