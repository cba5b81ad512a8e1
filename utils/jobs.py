"""Many small jobs over a few processes, for the scripts that prepare, pack and verify data: a progress bar, errors kept
by job, files whole or not at all."""

import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from tqdm import tqdm


def run(function, jobs, workers, title):
    """function(*job) for each job, by `workers` processes (0: here) -> results in order, and [(job, error)].

    A job that raises ValueError or OSError has the result None; anything else is a mistake in the code and is raised.
    """
    results, errors = [None] * len(jobs), []
    with tqdm(total=len(jobs), desc=title, unit="file", dynamic_ncols=True, mininterval=0.5) as bar:
        for number, value, error in answers(function, jobs, workers):
            results[number] = value
            if error is not None:
                errors.append((number, error))
            bar.update(1)
    return results, [(jobs[number], error) for number, error in sorted(errors, key=lambda pair: pair[0])]


def answers(function, jobs, workers):
    global work
    work = function  # the processes are forked from here on, and find it; so it may be any function
    if workers == 0:
        for number, job in enumerate(jobs):
            yield attempt(number, job)
        return
    chunk = max(1, min(64, len(jobs) // (8 * workers)))
    with ProcessPoolExecutor(workers, get_context("fork")) as pool:
        try:
            yield from pool.map(attempt, range(len(jobs)), jobs, chunksize=chunk)
        except BrokenProcessPool:
            raise ValueError(
                "a worker process was killed, most likely for lack of memory; run it again with fewer --workers"
            ) from None


def attempt(number, job):
    try:
        return number, work(*job), None
    except (ValueError, OSError) as error:
        return number, None, str(error)


def write_whole(path, write):
    """write(file name) under a temporary name beside `path`, then renamed: no half file ever has the name."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    part = f"{path}.{os.getpid()}.part"
    try:
        write(part)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)


def cores():
    return len(os.sched_getaffinity(0))


def convert(function, jobs, workers, title, force=False, dry_run=False):
    """function(source .., target part) for jobs (source .., target): each target is written whole, or not at all.

    Targets that exist are left alone, so a run that was stopped goes on; says what was done, and raises ValueError with
    the first of the errors at the end.
    """
    todo = [job for job in jobs if force or not os.path.exists(job[-1])]
    print(f"{title}: {len(jobs)} files, {len(jobs) - len(todo)} are there already, {len(todo)} to write")
    if dry_run or not todo:
        return

    def one(*job):
        write_whole(str(job[-1]), lambda part: function(*job[:-1], part))

    _, errors = run(one, todo, workers, title)
    if errors:
        first = "; ".join(error for _, error in errors[:3])
        raise ValueError(f"{title}: {len(errors)} of {len(todo)} files failed, the others are written: {first}")
