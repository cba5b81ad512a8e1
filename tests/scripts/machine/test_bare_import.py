"""scripts/machine/bare_import.py, installed into a temporary folder with a stand-in for Jittor."""

import json
import os
import subprocess
import sys

import pytest

from scripts.machine import bare_import
from utils import runtime

JITTOR = "import json, os; print(json.dumps(dict(os.environ)))\n"  # all that importing the stand-in does


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    (folder / "jittor").mkdir(parents=True)
    (folder / "jittor" / "__init__.py").write_text("import jittor_utils\n")
    (folder / "jittor_utils.py").write_text(JITTOR)
    assert str(folder / "ccnet_jittor.pth") in bare_import.install(folder, yes=True)
    return folder


def start(site, code, **env):
    """Run code in a Python that reads the .pth files of `site` like those of its own site-packages."""
    without_installed = (  # undo the installation in this environment
        "import sys; sys.modules.pop('ccnet_before_jittor', None); "
        "sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, '__name__', '') != 'BeforeJittor']; "
    )
    code = f"{without_installed} sys.path.insert(0, {str(site)!r}); import site; site.addsitedir({str(site)!r}); {code}"
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **env}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


def test_a_missing_compiler_is_an_error_that_names_the_fix(site, tmp_path):
    with pytest.raises(AssertionError, match="MachineError: no C\\+\\+ compiler: .*Fix: sudo apt-get install g\\+\\+"):
        start(site, "import jittor", PATH=str(tmp_path))
    assert start(site, "print(1)", PATH=str(tmp_path)) == "1\n"


def test_jittor_gets_the_environment_that_the_commands_of_the_project_set(site, monkeypatch):
    for name in [name for name in os.environ if name not in ("PATH", "HOME")]:
        monkeypatch.delenv(name)
    expected = runtime.environment(runtime.choose_device("auto")[0])
    assert {"cache_name", "mpicc_path", "nvcc_path", "log_silent"} <= set(expected)
    for code in ("import jittor", "import jittor_utils", "import json, jittor, jittor_utils"):
        env = json.loads(start(site, code))
        assert {name: env.get(name) for name in expected} == expected


def test_variables_of_the_user_are_kept(site):
    mine = {"nvcc_path": "/opt/cuda/bin/nvcc", "log_silent": "0", "OMP_NUM_THREADS": "3", "cache_name": "mine"}
    env = json.loads(start(site, "import jittor", **mine))
    assert {name: env[name] for name in mine} == mine and "mpicc_path" in env


def test_variables_that_runtime_has_set_are_not_changed(site):
    decided = {"cache_name": "default", "mpicc_path": "", "nvcc_path": ""}
    env = json.loads(start(site, "import jittor", **decided))
    assert {name: env[name] for name in decided} == decided
    assert "log_silent" not in env and "gdb_path" not in env  # runtime does not set log_silent with --verbose


def test_the_cache_is_in_the_environment_where_the_home_folder_cannot_be_written(site):
    env = json.loads(start(site, "import jittor", HOME="/proc/no-such-home"))
    assert env["HOME"] == env["JITTOR_HOME"] == f"{sys.prefix}/jittor_home"


def test_an_empty_jittor_home_is_none(site, tmp_path):
    """Jittor would make a folder with an empty name, and fail."""
    env = json.loads(start(site, "import jittor", HOME=str(tmp_path), JITTOR_HOME=""))
    assert env["HOME"] == env["JITTOR_HOME"] == str(tmp_path)


def test_starting_python_imports_one_small_module_and_changes_nothing(site):
    code = (
        "before, env = set(sys.modules), __import__('os').environ.copy(); site.addsitedir(sys.path[0]); "
        "import importlib.util; importlib.util.find_spec('jittor'); "  # as the preparation does
        "assert 'ccnet_runtime' not in sys.modules and env == __import__('os').environ; "
        "print([name for name in sys.modules if name.startswith('ccnet')])"
    )
    assert start(site, code) == "['ccnet_before_jittor']\n"
    assert start(site, "import jittor; print(any('BeforeJittor' in str(f) for f in sys.meta_path))").endswith("False\n")


def test_installing_twice_changes_nothing_and_removing_leaves_nothing(site):
    def contents():
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in site.glob("ccnet*")}

    before = contents()
    assert sorted(before) == ["ccnet_before_jittor.py", "ccnet_jittor.pth", "ccnet_runtime.py"]
    bare_import.install(site, yes=True)
    assert contents() == before
    (site / "ccnet_runtime.py").write_text("an older one")
    bare_import.install(site, yes=True)
    assert contents()["ccnet_runtime.py"][0] == before["ccnet_runtime.py"][0]
    start(site, "import jittor")  # may leave compiled files
    assert sorted(bare_import.remove(site)) == sorted(before) and bare_import.remove(site) == []
    assert not list(site.rglob("ccnet*"))
    assert "cache_name" not in json.loads(start(site, "import jittor"))


def test_another_environment_is_not_changed(tmp_path):
    assert "not in an environment of this project" in bare_import.install(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_site_folder_is_on_the_path_of_this_python():
    assert str(bare_import.site_folder()) in sys.path
