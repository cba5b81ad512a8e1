"""Delete each function and method of the project in turn, in memory, and check whether test_nets.py would find it.

    python tests/support/deletions.py                      # all: the number found, and a list of the others
    python tests/support/deletions.py utils/weights/any_file.py     # those of one file or folder

A function that is not used is not found, and need not be; the list shows for each why it is not.
"""

import argparse
import ast
import os
import re
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from support.project import CODE, read_sources, written_functions  # noqa: E402
from support.together import findings, new_findings  # noqa: E402

from utils import runtime  # noqa: E402


def without(text, node):
    """The source without this function; line numbers stay."""
    lines = text.splitlines(keepends=True)
    first = min([node.lineno, *(part.lineno for part in node.decorator_list)]) - 1
    removed = [" " * node.col_offset + "pass\n"] + ["\n"] * (node.end_lineno - first - 1)
    return "".join(lines[:first] + removed + lines[node.end_lineno :])


def try_one(job):
    path, name, node = job
    began = time.time()
    new = new_findings({**SOURCES, path: without(SOURCES[path], node)}, KNOWN)
    return new, time.time() - began


def reason(path, name, node):
    """Why no check finds its deletion."""
    last = name.split(".")[-1]
    method = "." in name
    texts = {p: text for p, text in SOURCES.items() if p.startswith(CODE)}
    texts[path] = without(texts[path], node)
    pattern = re.compile(rf"\b{re.escape(last)}\b")
    used = [p for p, text in texts.items() if pattern.search(text)]
    if re.search(r"^ *import torch", SOURCES[path], re.M):
        return "in a file for torch, which the checks do not import"
    if last.startswith("__"):
        return "special method: a base class has it as well, or the type of the object cannot be inferred"
    if last == "main" and not method:
        return "entry point"
    if method and any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list):
        return "property of an object whose type cannot be inferred"
    if method and sum(f"def {last}(" in text for text in texts.values()):
        return "method that another class has as well (an override, or one of several alternatives)"
    if used:
        return "its name occurs in a string or with another meaning"
    tested = any(pattern.search(text) for p, text in SOURCES.items() if p.startswith("tests/"))
    return "used only by tests" if tested else "not used"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("only", nargs="*", default=list(CODE), help="files or folders (default: all of the project)")
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: %(default)s)"
    )
    args = parser.parse_args()
    jobs = [job for job in written_functions(SOURCES) if job[0].startswith(tuple(args.only))]
    with ProcessPoolExecutor(args.jobs) as pool:
        results = list(pool.map(try_one, jobs, chunksize=4))
    missed = [job for job, (new, _) in zip(jobs, results) if not new]
    by_tests = sum(bool(new) and all(finding.startswith("tests/") for finding in new) for new, _ in results)
    seconds = [seconds for _, seconds in results]
    print(
        f"{len(jobs)} functions and methods deleted, {len(jobs) - len(missed)} found ({by_tests} of them only because "
        f"a test uses them), {len(missed)} not; {sum(seconds) / len(seconds):.1f} s each, at most {max(seconds):.1f} s"
    )
    reasons = Counter()
    for path, name, node in missed:
        why = reason(path, name, node)
        reasons[why] += 1
        print(f"  {path}:{node.lineno} {name}: {why}")
    for why, count in reasons.most_common():
        print(f"{count:5} {why}")


if __name__ == "__main__":
    runtime.start("cpu")
    SOURCES = read_sources(ROOT)
    KNOWN = frozenset(findings(SOURCES))
    main()
