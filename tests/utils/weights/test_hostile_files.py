"""Damaged and hostile files of weights: each gives one error line or the right arrays, executes nothing, and uses
little memory.

A separate process reads them, limited to 1 GB above its memory at the start, under an audit hook that records every way
in which Python starts code. Damage is random, from a fixed seed.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.hostile_files import damaged, good_files, write_bombs

READER = """
import json, os, resource, sys, time
from utils import runtime
runtime.start("cpu", quiet=False)
import numpy as np
from utils.weights import any_file, names as keys
keys.layout_of = lambda arrays: "official"  # any names will do here
any_file.describe = lambda arrays, notes: {}
folder, started = sys.argv[1], []
names = sorted(os.listdir(folder))
for name in names:
    if name.startswith("good"):
        any_file.read(os.path.join(folder, name), "plain")
bad = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "exec", "pickle.find_class", "import")
sys.addaudithook(lambda event, _: started.append(event) if event in bad else None)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (1 << 30), held + (1 << 30)))
for name in names:
    del started[:]
    begun, path = time.time(), os.path.join(folder, name)
    try:
        arrays, _ = any_file.read(path, "plain")
        result = {key: [list(array.shape), float(np.nan_to_num(array).sum())] for key, array in arrays.items()}
    except (ValueError, FileNotFoundError) as error:
        result = str(error)
    print(json.dumps([name, result, started, round(time.time() - begun, 2)]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(20)
    for path in good_files(folder):
        data = path.read_bytes()
        for n in range(60):
            (folder / f"damaged_{n:02}_{path.name}").write_bytes(damaged(data, rng))
        for n, size in enumerate(range(1, len(data), max(len(data) // 20, 1))):
            (folder / f"damaged_cut{n:02}_{path.name}").write_bytes(data[:size])
    expected = write_bombs(folder)
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", READER, str(folder)], capture_output=True, text=True, cwd=root, timeout=300
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert done.returncode == 0 and len(lines) == len(list(folder.iterdir())), done.stdout[-500:] + done.stderr[-2000:]
    return folder, expected, {name: (result, started, seconds) for name, result, started, seconds in lines}


def test_over_400_files_are_read_and_the_good_ones_give_their_arrays(outcomes):
    _, _, results = outcomes
    assert sum(not name.startswith("good") for name in results) > 400
    for name in results:
        if name.startswith("good"):
            assert results[name][0] == {"head.a": [[2, 3, 4], 300.0], "head.b": [[7], 2.625]}, name


def test_nothing_is_executed(outcomes):
    folder, _, results = outcomes
    assert not (folder / "ran").exists()
    assert not {name: started for name, (_, started, _) in results.items() if started}


def test_each_ends_in_one_line_or_in_the_right_arrays(outcomes):
    folder, _, results = outcomes
    for name, (text, _, _) in results.items():
        if isinstance(text, str):
            assert text.startswith(str(folder / name)) and "\n" not in text and len(text) < 700, (name, text)
        elif name == "bomb_many.pth":
            assert len(text) == 5000
        elif "zip" in name or name.endswith(("_signed.pkl", ".npz")):  # with checksums, no damage passes
            assert text == results["good.npz"][0], (name, text)
        else:
            assert len(text) <= 2, (name, text)  # without checksums a changed number is not noticed


def test_each_hostile_file_is_refused_for_its_reason(outcomes):
    _, expected, results = outcomes
    for name, words in expected.items():
        if words:
            assert isinstance(results[name][0], str) and words in results[name][0], (name, results[name][0])


def test_no_file_takes_long(outcomes):
    _, _, results = outcomes
    slow = {name: seconds for name, (_, _, seconds) in results.items() if seconds > 20}
    assert not slow


def test_the_script_reports_it_in_one_line(outcomes, run_command, tmp_path):
    folder, _, _ = outcomes
    done = run_command("python", "scripts/convert_weights.py", folder / "bomb_system.pth", tmp_path / "a.npz")
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert (
        len(done.stderr.strip().splitlines()) == 1 and "'os.system'" in done.stderr and "Traceback" not in done.stderr
    )
