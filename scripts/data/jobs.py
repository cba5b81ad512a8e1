"""Many small jobs over worker processes, with a progress bar, for the scripts that prepare, pack and verify data."""

import os

from tqdm import tqdm

from datasets.reading import workers
from utils.files import whole_file
from utils.machine import cpu_limit

AHEAD = 16  # jobs that each worker has waiting: short and long ones average out


def run(function, jobs, count, title):
    """function(*job) for each job, by `count` processes (0: in this one, None: one per core that may be used).

    -> results in order, [(job, text of its error)]. A job that raises ValueError or OSError has the result None; any
    other exception is a bug and is raised.
    """
    count = min(workers.cores(cpu_limit()) if count is None else count, len(jobs))
    results, errors = [], []
    answers = workers.run(lambda job: function(*job), jobs, count, ahead=AHEAD, return_errors=True, flag="--workers")
    with tqdm(total=len(jobs), desc=title, unit="file", dynamic_ncols=True, mininterval=0.5) as bar:
        for answer, job in zip(answers, jobs):
            if isinstance(answer, Exception):
                if not isinstance(answer, (ValueError, OSError)):
                    raise answer
                errors.append((job, str(answer)))
                answer = None
            results.append(answer)
            bar.update(1)
    return results, errors


def convert(function, jobs, count, title, force=False, dry_run=False):
    """function(source .., open file) for jobs (source .., target): each target is written atomically.

    Targets that exist are left alone, so an interrupted run can be continued. Prints a summary; at the end raises
    ValueError with the first errors, if there are any.
    """
    missing = [job for job in jobs if force or not os.path.exists(job[-1])]
    print(f"{title}: {len(jobs)} files, {len(jobs) - len(missing)} exist already, {len(missing)} to write")
    if dry_run or not missing:
        return

    def convert_one(*job):
        os.makedirs(os.path.dirname(job[-1]) or ".", exist_ok=True)
        with whole_file(job[-1]) as file:
            function(*job[:-1], file)

    _, errors = run(convert_one, missing, count, title)
    if errors:
        first = "; ".join(error for _, error in errors[:3])
        raise ValueError(f"{title}: {len(errors)} of {len(missing)} files failed, the others are written: {first}")
