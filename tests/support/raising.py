"""Replace random functions by ones that raise, in a copy of the project, and report which test fails.

    python tests/support/raising.py --count 20 --seed 1       # all tests, first those that mention the function
    python tests/support/raising.py --count 3 --tests tests/utils/weights
    python tests/support/raising.py --function utils/weights/any_file.py:start_from

For each function it prints the first test that failed and whether the planted error was in its output. A function that
fails no test is either not used or not tested. test_style.py is excluded: it checks the source itself.
"""

import argparse
import ast
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]
from support.project import CODE, read_sources, written_functions  # noqa: E402

PLANTED = "planted by tests/support/raising.py"


def copy_of(folder):
    """A clone with the changes and new files of this checkout, always in the same folder: Jittor would compile kernels
    again for another path."""
    clone = folder / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    names = set(listed.stdout.splitlines())
    for name in names:
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
        else:
            (clone / name).unlink(missing_ok=True)
    return clone


def raising(text, node):
    """The source with the body of this function replaced by a raise statement."""
    lines = text.splitlines(keepends=True)
    body = node.body[0]
    raises = f'raise RuntimeError("{PLANTED}: {node.name}")\n'
    if body.lineno == node.lineno:  # def f(): return 1
        start = lines[body.lineno - 1].encode()[: body.col_offset].decode()
        return "".join([*lines[: body.lineno - 1], start + raises, *lines[node.end_lineno :]])
    first = body.lineno - 1
    return "".join([*lines[:first], " " * body.col_offset + raises, *lines[node.end_lineno :]])


def in_order(path, name, tests, sources):
    """-> (test files that mention the module, a module that imports it, or the function if few do, the likeliest and
    smallest first; all other test files)."""
    word, stem = name.split(".")[-1], stem_of(path)
    users = {stem_of(other) for other in sources if other.startswith(CODE) and imports(sources[other], stem)} - {stem}
    rare = sum(mentions(text, word) for text in tests.values()) <= 6

    def weight(text):
        return (
            4 * mentions(text, stem) + 2 * any(mentions(text, user) for user in users) + (rare and mentions(text, word))
        )

    near = sorted((test for test in tests if weight(tests[test])), key=lambda t: (-weight(tests[t]), len(tests[t])))
    return near, [test for test in sorted(tests) if test not in near]


def stem_of(path):
    return Path(path).parent.name if path.endswith("__init__.py") else Path(path).stem


def mentions(text, what):
    return bool(re.search(rf"\b{re.escape(what)}\b", text))


def imports(text, stem):
    return bool(re.search(rf"^ *(from|import) .*\b{re.escape(stem)}\b", text, re.M))


def first_failure(clone, tests, marks, args):
    """-> (the first test that fails, whether it showed the planted error), or None. `marks`: pytest's -m."""
    if not tests:
        return None
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", marks, "-p", "no:cacheprovider", *tests]
    if args.workers > 1:
        command += ["-n", str(args.workers), "--dist", "loadfile"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, cwd=clone, start_new_session=True, **pipes)
    try:
        output, _ = process.communicate(timeout=args.timeout)
    except subprocess.TimeoutExpired:
        return f"the run takes more than {args.timeout} s, it", False
    finally:  # also at Ctrl-C: leave no process behind
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode in (0, 5):
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.M)
    return failed.group(1) if failed else output[-300:], PLANTED in output


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=20, help="number of functions (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument(
        "--function",
        action="append",
        metavar="FILE:NAME",
        help="this function instead of random ones, for example a.py:Class.name",
    )
    parser.add_argument("--tests", nargs="+", metavar="FILE", help="only these test files (default: all)")
    parser.add_argument("--workers", type=int, default=1, help="processes of pytest-xdist (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=int, default=2400, metavar="SECONDS", help="limit for one run of pytest (default: 2400)"
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # runs `finally`, as Ctrl-C does
    sources = read_sources(ROOT)
    every = {f"{path}:{name}": (path, name, node) for path, name, node in written_functions(sources)}
    drawn = args.function or random.Random(args.seed).sample(sorted(every), min(args.count, len(every)))
    print(f"{len(every)} functions and methods; drawn with seed {args.seed}: {', '.join(drawn)}", flush=True)
    files = [path for path in sources if Path(path).name.startswith("test_") and path.startswith("tests/")]
    tests = {path: sources[path] for path in args.tests or files if not path.endswith("test_style.py")}
    survived = []
    clone = copy_of(ROOT / "runs" / "raising")
    for number, key in enumerate(drawn, 1):
        path, name, node = every[key]
        text = raising(sources[path], node)
        ast.parse(text)
        (clone / path).write_text(text)
        began = time.time()
        failed = None
        for group in in_order(path, name, tests, sources):
            for marks in ("not slow", "slow"):
                failed = failed or first_failure(clone, group, marks, args)
        (clone / path).write_text(sources[path])
        seconds = time.time() - began
        if failed:
            shown = "with the planted error" if failed[1] else "with another message"
            print(f"{number:3} {key}: {failed[0]} fails ({shown}; {seconds:.0f} s)", flush=True)
        else:
            survived.append(key)
            print(f"{number:3} {key}: NO TEST FAILS ({seconds:.0f} s)", flush=True)
    print(f"{len(drawn) - len(survived)} of {len(drawn)} fail a test" + "".join(f"\n  not: {key}" for key in survived))
    sys.exit(bool(survived))


if __name__ == "__main__":
    main()
