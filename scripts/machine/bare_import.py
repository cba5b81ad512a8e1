"""Files in site-packages (a .pth file and two modules) that set the environment for a bare `import jittor`."""

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
    """-> the line to report. The .pth file is written last, after the module that it names."""
    folder = folder or site_folder()
    if not yes and not belongs_to_this_environment(folder):
        return f"{folder} is not in an environment of this project: a bare `import jittor` is left as it is (see --yes)"
    try:
        for name, text in [*((name, path.read_text()) for name, path in MODULES.items()), (PTH, LINE)]:
            if not (folder / name).is_file() or (folder / name).read_text() != text:
                with whole_file(folder / name, "w") as file:
                    file.write(text)
    except OSError as error:
        return f"a bare `import jittor` is left as it is: {error}"
    return f"a bare `import jittor` uses the settings above ({folder / PTH})"


def remove(folder=None):
    """-> the names of the files that were removed."""
    folder = folder or site_folder()
    names = [name for name in (PTH, *reversed(MODULES)) if (folder / name).is_file()]
    for name in names:
        (folder / name).unlink()
        for compiled in (folder / "__pycache__").glob(f"{Path(name).stem}.*.pyc"):
            compiled.unlink()
    return names
