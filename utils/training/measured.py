"""What is measured once on the training data: by the main rank, for all ranks, and cached until the data changes.

The cache is a folder of small JSON files, each named by a hash of what it depends on, such as sizes and times of files.
"""

import hashlib
import json
import os
from pathlib import Path

from utils import distributed
from utils.files import whole_file


def cache_folder():
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ccnet", "measured")


def cached(topic, state, measure, valid=bool):
    """-> measure(), or what an earlier run measured for the same `state`, if valid(it). Both are values of JSON."""
    path = cache_folder() / f"{hashlib.sha256(json.dumps([topic, state]).encode()).hexdigest()[:32]}.json"
    try:
        known = json.loads(path.read_text())
        if valid(known):
            print(f"{topic}: measured before, {path}", flush=True)
            return known
    except (OSError, ValueError, KeyError, TypeError):  # not measured yet, or a damaged file
        pass
    result = measure()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, "w") as file:
            json.dump(result, file)
    except OSError as error:
        print(f"{topic}: the result is not cached ({error})", flush=True)
    return result


def once(topic, state, measure, valid=bool):
    """`cached` on the main rank, for all ranks. `state()` is a value of JSON."""
    return distributed.share(cached(topic, state(), measure, valid) if distributed.is_main() else None)
